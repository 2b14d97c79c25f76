"""SQL of the audit log inside one organisation."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from user_billing.audit.chain import Link
from user_billing.db import people as t
from user_billing.model import AuditEvent


def head(session: Session, org: UUID, *, lock: bool = False) -> Link | None:
    """Where the chain stands; None for no organisation. lock: numbers have no gap and no repeat."""
    query = select(t.audit_head.c.seq, t.audit_head.c.hash).where(t.audit_head.c.org_id == org)
    row = session.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else Link(*row)


def add_audit_event(session: Session, event: AuditEvent) -> None:
    """The event is the chain's new end."""
    h = t.audit_head
    session.execute(insert(t.audit_event).values(astuple(event)))
    moved = update(h).where(h.c.org_id == event.organisation_id)
    session.execute(moved.values(seq=event.seq, hash=event.hash))


def audit_events(
    session: Session, org: UUID, *, before: int | None, limit: int
) -> Sequence[AuditEvent]:
    """Events below `before`, newest first."""
    e = t.audit_event
    query = select(e).where(e.c.org_id == org).order_by(e.c.seq.desc()).limit(limit)
    rows = session.execute(query if before is None else query.where(e.c.seq < before))
    return [AuditEvent(*row) for row in rows]  # the table's columns are the event's fields


def audit_events_after(session: Session, org: UUID, after: int, limit: int) -> Sequence[AuditEvent]:
    """Events above `after`, oldest first."""
    e = t.audit_event
    query = select(e).where(e.c.org_id == org, e.c.seq > after).order_by(e.c.seq).limit(limit)
    return [AuditEvent(*row) for row in session.execute(query)]


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers of events, both ends included; empty when last < first."""

    first: int
    last: int


def audit_span(session: Session, org: UUID, start: datetime | None, end: datetime | None) -> Span:
    """From the first to the last event of [start, end); None: from the beginning, to the end."""
    e = t.audit_event
    query = select(func.min(e.c.seq), func.max(e.c.seq)).where(e.c.org_id == org)
    if start is not None:
        query = query.where(e.c.at >= start)
    if end is not None:
        query = query.where(e.c.at < end)
    first, last = session.execute(query).one()
    return Span(1, 0) if first is None else Span(first, last)
