"""SQL of the first start, in the role of the directory."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.setup import tables as t


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
    query = select(t.setup)
    row = session.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        return None
    return SetUp(bytes(row.nonce), row.home_org, row.announced_at, row.completed_at)


def mark_announced(session: Session, now: datetime) -> None:
    """The set-up link has been shown."""
    session.execute(update(t.setup).values(announced_at=now))


def mark_home(session: Session, organisation_id: UUID) -> None:
    """The first organisation is `organisation_id`."""
    session.execute(update(t.setup).values(home_org=organisation_id))


def mark_set_up(session: Session, now: datetime) -> None:
    """The installation has an owner: the set-up link is spent."""
    session.execute(update(t.setup).values(completed_at=now))
