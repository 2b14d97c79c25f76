"""SQL of second factors, which belong to people: in the role of the directory."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import people as t


def factor_of(session: Session, user_id: UUID) -> Row[Any] | None:
    """The person's authenticator (secret_sealed, last_step, confirmed_at), which counts once
    confirmed; locked, so that a code is used once.
    """
    query = select(t.second_factor).where(t.second_factor.c.user_id == user_id)
    return session.execute(query.with_for_update()).one_or_none()


def has_confirmed(session: Session, user_id: UUID) -> bool:
    """Whether a log-in of the person needs a code."""
    return bool(session.execute(select(_confirmed(user_id))).scalar_one())


def _confirmed(user_id: UUID | ColumnElement[UUID]) -> ColumnElement[bool]:
    f = t.second_factor.alias()
    return exists().where(f.c.user_id == user_id, f.c.confirmed_at.is_not(None))


def lacks_required(
    org: UUID | ColumnElement[UUID], user_id: UUID | ColumnElement[UUID]
) -> ColumnElement[bool]:
    """Whether the organisation requires a second factor that the person does not have."""
    o = t.organisation.alias()  # the query around it may have the table itself
    return and_(exists().where(o.c.id == org, o.c.requires_second_factor), ~_confirmed(user_id))


def must_enrol(session: Session, org: UUID, user_id: UUID) -> bool:
    """`lacks_required` of one person."""
    return bool(session.execute(select(lacks_required(org, user_id))).scalar_one())


def members_without(session: Session, org: UUID) -> list[UUID]:
    """The members who have no confirmed second factor."""
    m = t.membership
    query = select(m.c.user_id).where(m.c.org_id == org, ~_confirmed(m.c.user_id))
    return list(session.execute(query).scalars())


def begin(session: Session, user_id: UUID, sealed: bytes, now: datetime) -> bool:
    """Whether the authenticator waits for its confirmation; False: a confirmed one stands."""
    f = t.second_factor
    values = {"secret_sealed": sealed, "last_step": 0, "created_at": now}
    done = session.execute(
        upsert(f)
        .values(user_id=user_id, **values)
        .on_conflict_do_update(
            index_elements=[f.c.user_id], set_=values, where=f.c.confirmed_at.is_(None)
        )
        .returning(f.c.user_id)
    ).one_or_none()
    return done is not None


def remove(session: Session, user_id: UUID, *, since: datetime | None = None) -> None:
    """The person has no second factor and no recovery codes.

    since: one that was confirmed before that stays.
    """
    f = t.second_factor.c
    query = delete(t.second_factor).where(f.user_id == user_id)
    if since is not None:
        query = query.where(or_(f.confirmed_at.is_(None), f.confirmed_at >= since))
    session.execute(query)


def replace_recovery_codes(session: Session, user_id: UUID, hashes: Iterable[bytes]) -> None:
    """Exactly these recovery codes are valid."""
    session.execute(delete(t.recovery_code).where(t.recovery_code.c.user_id == user_id))
    rows = [{"user_id": user_id, "hash": code_hash} for code_hash in hashes]
    session.execute(insert(t.recovery_code), rows)


def spend_recovery_code(session: Session, user_id: UUID, code_hash: bytes) -> bool:
    """Whether this was a recovery code of the person; it is gone."""
    r = t.recovery_code
    spent = delete(r).where(r.c.user_id == user_id, r.c.hash == code_hash).returning(r.c.hash)
    return session.execute(spent).one_or_none() is not None


def recovery_codes_left(session: Session, user_id: UUID) -> int:
    """How many recovery codes are unused."""
    r = t.recovery_code
    query = select(func.count()).select_from(r).where(r.c.user_id == user_id)
    return int(session.execute(query).scalar_one())


def set_required(session: Session, org: UUID, required: bool) -> bool:
    """Whether this changed the organisation; its members need a second factor if `required`."""
    o = t.organisation
    done = session.execute(
        update(o)
        .where(o.c.id == org, o.c.requires_second_factor.is_not(required))
        .values(requires_second_factor=required)
        .returning(o.c.id)
    ).one_or_none()
    return done is not None


def requiring_organisations(session: Session, user_id: UUID) -> list[UUID]:
    """The person's organisations that require a second factor."""
    o, m = t.organisation, t.membership
    query = select(o.c.id).join_from(o, m, m.c.org_id == o.c.id)
    rows = session.execute(query.where(m.c.user_id == user_id, o.c.requires_second_factor))
    return list(rows.scalars())
