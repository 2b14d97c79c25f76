"""SQL of challenges, in the role of the directory. The purpose is part of what is hashed."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, insert, select
from sqlalchemy.orm import Session

from user_billing.db import people as t

LIFE = timedelta(minutes=5)


def add(
    session: Session, token_hash: bytes, now: datetime, *, user_id: UUID | None, **detail: Any
) -> None:
    """A challenge that can be answered for LIFE."""
    values = {"token_hash": token_hash, "user_id": user_id, "detail": detail}
    session.execute(insert(t.challenge).values(**values, expires_at=now + LIFE))


def look_up(session: Session, token_hash: bytes, now: datetime) -> Row[Any, Any] | None:
    """The challenge (user_id, detail), unless unknown, spent or too old; it stays.

    user_id: who has proved a first thing; None for one that links an identity.
    """
    c = t.challenge.c
    query = select(c.user_id, c.detail).where(c.token_hash == token_hash, c.expires_at > now)
    return session.execute(query).one_or_none()


def spend(session: Session, token_hash: bytes, now: datetime) -> Row[Any, Any] | None:
    """As `look_up`, gone with this transaction: of two that ask at once one gets it."""
    c = t.challenge.c
    query = delete(t.challenge).where(c.token_hash == token_hash, c.expires_at > now)
    return session.execute(query.returning(c.user_id, c.detail)).one_or_none()
