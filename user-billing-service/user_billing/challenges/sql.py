"""SQL of challenges, in the role of the directory. The purpose is part of what is hashed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from user_billing.db import tables as t

LIFE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Challenge:
    """What was begun. user_id: who has proved a first thing, or links an identity."""

    user_id: UUID | None
    detail: dict[str, Any]


def add(
    session: Session, token_hash: bytes, now: datetime, *, user_id: UUID | None, **detail: Any
) -> None:
    """A challenge that can be answered for LIFE."""
    session.execute(
        insert(t.challenge).values(
            token_hash=token_hash, user_id=user_id, detail=detail, expires_at=now + LIFE
        )
    )


def look_up(session: Session, token_hash: bytes, now: datetime) -> Challenge | None:
    """The challenge, unless unknown, spent or too old; it stays."""
    c = t.challenge
    query = select(c.c.user_id, c.c.detail).where(c.c.token_hash == token_hash)
    row = session.execute(query.where(c.c.expires_at > now)).one_or_none()
    return None if row is None else Challenge(row.user_id, row.detail)


def spend(session: Session, token_hash: bytes, now: datetime) -> Challenge | None:
    """The challenge, gone with this transaction: of two that ask at once one gets it."""
    c = t.challenge
    row = session.execute(
        delete(c)
        .where(c.c.token_hash == token_hash, c.c.expires_at > now)
        .returning(c.c.user_id, c.c.detail)
    ).one_or_none()
    return None if row is None else Challenge(row.user_id, row.detail)


def end_of_person(session: Session, user_id: UUID) -> None:
    """What the person began ends: their password or their second factor is another now."""
    session.execute(delete(t.challenge).where(t.challenge.c.user_id == user_id))


def sweep(session: Session, now: datetime) -> None:
    """Challenges that nobody answered are gone."""
    session.execute(delete(t.challenge).where(t.challenge.c.expires_at <= now))
