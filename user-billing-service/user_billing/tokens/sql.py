"""SQL of the keys that tokens are signed with, in the role of the directory."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, text, update
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.model import KeyState


def lock_signing_keys(session: Session) -> None:
    """Until the transaction ends nobody else changes signing keys."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('billing.signing_key'))"))


def signing_keys(session: Session) -> Sequence[Row[Any]]:
    """Every signing key, oldest first, with all columns of its table."""
    return session.execute(select(t.signing_key).order_by(t.signing_key.c.created_at)).all()


def add_signing_key(session: Session, **facts: Any) -> None:
    """One more signing key, which waits to sign."""
    session.execute(insert(t.signing_key).values(state=KeyState.NEXT, **facts))


def signing_key_ids(session: Session) -> list[str]:
    """The `kid` of every signing key."""
    return list(session.execute(select(t.signing_key.c.kid)).scalars())


def move_signing_key(session: Session, kid: str, state: KeyState, now: datetime) -> None:
    """The key is in `state` since `now`."""
    moment = {KeyState.ACTIVE: "activated_at", KeyState.RETIRED: "retired_at"}[state]
    query = update(t.signing_key).where(t.signing_key.c.kid == kid)
    session.execute(query.values({"state": state, moment: now}))
