"""SQL of wallets, inside one organisation but for `due`."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from user_billing.db import rows
from user_billing.wallets.rules import Part
from user_billing.wallets.tables import wallet, wallet_draw, wallet_grant

_G, _D = wallet_grant.c, wallet_draw.c
_ORDER = (_G.priority, _G.expires_at.asc().nulls_last(), _G.granted_at, _G.id)


def lock(session: Session, org: UUID, currency: str, now: datetime) -> None:
    """The wallet is there, and until the transaction ends nobody else changes it."""
    rows.put(session, wallet, {"org_id": org, "currency": currency}, {"changed_at": now})


def grant(session: Session, org: UUID, grant_id: UUID) -> Row[Any]:
    """The grant, as it is now."""
    row = rows.one(session, wallet_grant, org, id=grant_id)
    assert row is not None, "grants are never removed"
    return row


def usable(session: Session, org: UUID, currency: str, now: datetime) -> list[Part]:
    """What is left of each grant that has not expired, in the order of drawing."""
    left = session.execute(
        select(_G.id, _G.remaining)
        .where(_G.org_id == org, _G.currency == currency, _G.remaining > 0)
        .where(_G.expires_at.is_(None) | (_G.expires_at > now))
        .order_by(*_ORDER)
    )
    return [Part(*row) for row in left]


def change_remaining(session: Session, org: UUID, grant_id: UUID, by: int, **values: Any) -> None:
    """So much more (less, when negative) is left of the grant; Postgres refuses below 0."""
    values["remaining"] = _G.remaining + by
    rows.change(session, wallet_grant, {"org_id": org, "id": grant_id}, **values)


def add_draw(session: Session, org: UUID, key: str, parts: Sequence[Part]) -> None:
    """What the draw took from each grant."""
    of_grants = [{"key": key, "returned": 0, **asdict(part)} for part in parts]
    rows.add(session, wallet_draw, org, of_grants)


def drawn(session: Session, org: UUID, key: str) -> list[Part]:
    """What the draw took from each grant and did not give back, last in drawing order first."""
    left = session.execute(
        select(_D.grant_id, _D.amount - _D.returned)
        .join_from(wallet_draw, wallet_grant, (_G.org_id == _D.org_id) & (_G.id == _D.grant_id))
        .where(_D.org_id == org, _D.key == key)
        .order_by(*_ORDER)
    )
    return [Part(*row) for row in left][::-1]


def add_returned(session: Session, org: UUID, key: str, part: Part) -> None:
    """So much more of the draw was given back to that grant."""
    where = {"org_id": org, "key": key, "grant_id": part.grant_id}
    rows.change(session, wallet_draw, where, returned=_D.returned + part.amount)


def expired(
    session: Session, org: UUID, currency: str, now: datetime, limit: int
) -> Sequence[Row[Any]]:
    """Grants with something left whose time is over."""
    where = (_G.org_id == org, _G.currency == currency, _G.remaining > 0, _G.expires_at <= now)
    return session.execute(select(wallet_grant).where(*where).order_by(_G.id).limit(limit)).all()


def due(session: Session, now: datetime, limit: int) -> Sequence[tuple[UUID, str]]:
    """(organisation, currency) of wallets with something to expire; a directory transaction."""
    ended = session.execute(
        select(_G.org_id, _G.currency)
        .where(_G.remaining > 0, _G.expires_at <= now)
        .distinct()
        .order_by(_G.org_id, _G.currency)
        .limit(limit)
    )
    return [(org, currency) for org, currency in ended]


def wallets(session: Session, org: UUID) -> Sequence[Row[Any]]:
    """Of each currency (currency, balance, grants, next_expiry); grants: those with credit."""
    has_credit = _G.remaining > 0
    return session.execute(
        select(
            _G.currency,
            func.sum(_G.remaining).label("balance"),
            func.count().filter(has_credit).label("grants"),
            func.min(_G.expires_at).filter(has_credit).label("next_expiry"),
        )
        .where(_G.org_id == org)
        .group_by(_G.currency)
        .order_by(_G.currency)
    ).all()
