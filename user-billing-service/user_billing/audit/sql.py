"""SQL of the audit log inside one organisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from user_billing.audit import tables as t
from user_billing.model import AuditEvent


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Where an organisation's chain stands."""

    seq: int
    hash: bytes


def take_audit_head(session: Session, org: UUID) -> AuditHead:
    """Where the chain stands, locked: numbers have no gap and no repeat."""
    row = session.execute(
        select(t.audit_head).where(t.audit_head.c.org_id == org).with_for_update()
    ).one()
    return AuditHead(row.seq, bytes(row.hash))


def add_audit_event(session: Session, event: AuditEvent) -> None:
    """The event is the chain's new end."""
    session.execute(
        insert(t.audit_event).values(
            org_id=event.organisation_id,
            seq=event.seq,
            at=event.at,
            actor=event.actor,
            action=event.action,
            target=event.target,
            detail=event.detail,
            request_id=event.request_id,
            prev_hash=event.previous_hash,
            hash=event.hash,
        )
    )
    session.execute(
        update(t.audit_head)
        .where(t.audit_head.c.org_id == event.organisation_id)
        .values(seq=event.seq, hash=event.hash)
    )


def audit_events(
    session: Session, org: UUID, *, before: int | None, limit: int
) -> Sequence[AuditEvent]:
    """Events below `before`, newest first."""
    query = select(t.audit_event).where(t.audit_event.c.org_id == org)
    if before is not None:
        query = query.where(t.audit_event.c.seq < before)
    rows = session.execute(query.order_by(t.audit_event.c.seq.desc()).limit(limit))
    return [_event(row) for row in rows]


def audit_events_after(session: Session, org: UUID, after: int, limit: int) -> Sequence[AuditEvent]:
    """Events above `after`, oldest first."""
    e = t.audit_event
    query = select(e).where(e.c.org_id == org, e.c.seq > after).order_by(e.c.seq).limit(limit)
    return [_event(row) for row in session.execute(query)]


def audit_head(session: Session, org: UUID) -> AuditHead | None:
    """Where the chain stands, without a lock; None for no organisation."""
    row = session.execute(select(t.audit_head).where(t.audit_head.c.org_id == org)).one_or_none()
    return None if row is None else AuditHead(row.seq, bytes(row.hash))


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


def _event(r: Any) -> AuditEvent:
    return AuditEvent(
        organisation_id=r.org_id,
        seq=r.seq,
        at=r.at,
        actor=r.actor,
        action=r.action,
        target=r.target,
        detail=r.detail,
        request_id=r.request_id,
        previous_hash=bytes(r.prev_hash),
        hash=bytes(r.hash),
    )
