"""SQL of the first start, in the role of the directory."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import tables as t


@dataclass(frozen=True, slots=True)
class SetUp:
    """The state of the first start."""

    nonce: bytes
    home_organisation_id: UUID | None
    announced_at: datetime | None
    completed_at: datetime | None


def ensure_set_up(session: Session, nonce: bytes) -> None:
    """The row of the first start exists; whoever comes first chooses the nonce."""
    session.execute(upsert(t.setup).values(only=True, nonce=nonce).on_conflict_do_nothing())


def set_up(session: Session, *, lock: bool = False) -> SetUp | None:
    """The state of the first start; None before the service has ever run. lock: for update."""
    s = t.setup.c
    query = select(s.nonce, s.home_org, s.announced_at, s.completed_at)
    row = session.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else SetUp(*row)


def change(session: Session, **values: Any) -> None:
    """The first start has these values: announced_at (the link was shown), home_org (the first
    organisation), completed_at (there is an owner, the link is spent).
    """
    session.execute(update(t.setup).values(**values))
