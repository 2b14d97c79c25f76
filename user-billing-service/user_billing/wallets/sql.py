"""SQL of wallets, inside one organisation but for `due`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.wallets.rules import NewGrant, Part
from user_billing.wallets.tables import wallet, wallet_draw, wallet_grant

_G, _D = wallet_grant.c, wallet_draw.c
_ORDER = (_G.priority, _G.expires_at.asc().nulls_last(), _G.granted_at, _G.id)


def lock(session: Session, org: UUID, currency: str, now: datetime) -> None:
    """The wallet is there, and until the transaction ends nobody else changes it."""
    statement = upsert(wallet).values(org_id=org, currency=currency, changed_at=now)
    session.execute(
        statement.on_conflict_do_update(
            constraint=wallet.primary_key, set_={"changed_at": statement.excluded.changed_at}
        )
    )


def add_grant(session: Session, org: UUID, grant_id: UUID, grant: NewGrant, now: datetime) -> None:
    """The grant is there, unused."""
    session.execute(
        insert(wallet_grant).values(
            org_id=org, id=grant_id, currency=grant.currency, amount=grant.amount,
            remaining=grant.amount, source=grant.source.value, reason=grant.reason,
            priority=grant.priority, granted_at=now, expires_at=grant.expires_at,
        )
    )  # fmt: skip


def grant(session: Session, org: UUID, grant_id: UUID) -> Row[Any]:
    """The grant, as it is now."""
    where = (_G.org_id == org, _G.id == grant_id)
    return session.execute(select(wallet_grant).where(*where)).one()


def usable(session: Session, org: UUID, currency: str, now: datetime) -> list[Part]:
    """What is left of each grant that has not expired, in the order of drawing."""
    rows = session.execute(
        select(_G.id, _G.remaining)
        .where(_G.org_id == org, _G.currency == currency, _G.remaining > 0)
        .where(_G.expires_at.is_(None) | (_G.expires_at > now))
        .order_by(*_ORDER)
    )
    return [Part(row.id, row.remaining) for row in rows]


def change_remaining(session: Session, org: UUID, grant_id: UUID, by: int) -> None:
    """So much more (less, when negative) is left of the grant; Postgres refuses below 0."""
    session.execute(
        update(wallet_grant)
        .where(_G.org_id == org, _G.id == grant_id)
        .values(remaining=_G.remaining + by)
    )


def extend(session: Session, org: UUID, grant_id: UUID, expires_at: datetime | None) -> None:
    """The grant ends then."""
    where = (_G.org_id == org, _G.id == grant_id)
    session.execute(update(wallet_grant).where(*where).values(expires_at=expires_at))


def add_draw(session: Session, org: UUID, key: str, parts: Sequence[Part]) -> None:
    """What the draw took from each grant."""
    rows = [
        {"org_id": org, "key": key, "grant_id": p.grant_id, "amount": p.amount, "returned": 0}
        for p in parts
    ]
    session.execute(insert(wallet_draw), rows)


def drawn(session: Session, org: UUID, key: str) -> list[Part]:
    """What the draw took from each grant and did not give back, last in drawing order first."""
    rows = session.execute(
        select(_D.grant_id, _D.amount - _D.returned)
        .join_from(wallet_draw, wallet_grant, (_G.org_id == _D.org_id) & (_G.id == _D.grant_id))
        .where(_D.org_id == org, _D.key == key)
        .order_by(_G.priority.desc(), _G.expires_at.desc().nulls_first(), _G.granted_at.desc())
    )
    return [Part(grant_id, amount) for grant_id, amount in rows]


def add_returned(session: Session, org: UUID, key: str, part: Part) -> None:
    """So much more of the draw was given back to that grant."""
    session.execute(
        update(wallet_draw)
        .where(_D.org_id == org, _D.key == key, _D.grant_id == part.grant_id)
        .values(returned=_D.returned + part.amount)
    )


def expired(
    session: Session, org: UUID, currency: str, now: datetime, limit: int
) -> Sequence[Row[Any]]:
    """Grants with something left whose time is over."""
    where = (_G.org_id == org, _G.currency == currency, _G.remaining > 0, _G.expires_at <= now)
    return session.execute(select(wallet_grant).where(*where).order_by(_G.id).limit(limit)).all()


def due(session: Session, now: datetime, limit: int) -> Sequence[tuple[UUID, str]]:
    """(organisation, currency) of wallets with something to expire; a directory transaction."""
    rows = session.execute(
        select(_G.org_id, _G.currency)
        .where(_G.remaining > 0, _G.expires_at <= now)
        .distinct()
        .order_by(_G.org_id, _G.currency)
        .limit(limit)
    )
    return [(org, currency) for org, currency in rows]


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


def grants(session: Session, org: UUID, before: UUID | None, limit: int) -> Sequence[Row[Any]]:
    """Grants with an id below `before`, newest first, used up or not."""
    query = select(wallet_grant).where(_G.org_id == org)
    if before is not None:
        query = query.where(_G.id < before)
    return session.execute(query.order_by(_G.id.desc()).limit(limit)).all()
