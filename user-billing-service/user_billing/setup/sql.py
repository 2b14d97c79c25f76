"""SQL of the first start, in the role of the directory."""

from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import people as t


def ensure_set_up(session: Session, nonce: bytes) -> None:
    """The row of the first start exists; whoever comes first chooses the nonce."""
    session.execute(upsert(t.setup).values(only=True, nonce=nonce).on_conflict_do_nothing())


def set_up(session: Session, *, lock: bool = False) -> Row[Any] | None:
    """The state of the first start (nonce, home_org, announced_at, completed_at).

    None before the service has ever run. lock: for update.
    """
    query = select(t.setup)
    return session.execute(query.with_for_update() if lock else query).one_or_none()
