"""SQL of webhooks, inside one organisation but for `due` and `sweep`."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, case, delete, func, literal, select, text
from sqlalchemy.orm import Session

from user_billing.db import rows
from user_billing.webhooks.rules import QUEUE_MAX, State
from user_billing.webhooks.tables import webhook_delivery, webhook_endpoint, webhook_event

_E, _V, _D = webhook_endpoint.c, webhook_event.c, webhook_delivery.c
_DUE = text("""
SELECT org_id, endpoint_id, event_id FROM (
  SELECT DISTINCT ON (org_id, endpoint_id) org_id, endpoint_id, event_id, next_at
    FROM billing.webhook_delivery
   WHERE state = 'pending' AND next_at <= :now AND endpoint_id <> ALL(CAST(:busy AS uuid[]))
   ORDER BY org_id, endpoint_id, next_at, event_id) AS first
 ORDER BY next_at LIMIT :limit
""")


def listeners(session: Session, org: UUID, type_: str) -> list[UUID]:
    """Endpoints that want events of this type, and stay on until the transaction ends."""
    wants = (func.cardinality(_E.event_types) == 0) | _E.event_types.contains([type_])
    query = select(_E.id).where(_E.org_id == org, _E.disabled_at.is_(None), wants)
    return list(session.scalars(query.with_for_update(read=True, key_share=True)))


def add_delivery(
    session: Session, org: UUID, endpoint_id: UUID, event_id: UUID, now: datetime
) -> None:
    """The event waits for the endpoint, or has failed at once because too many wait already."""
    where = (_D.org_id == org, _D.endpoint_id == endpoint_id, _D.state == State.PENDING.value)
    waiting = select(_D.event_id).where(*where).limit(QUEUE_MAX).subquery()
    is_full = select(func.count()).select_from(waiting).scalar_subquery() >= QUEUE_MAX
    rows.add_one(
        session, webhook_delivery, org, endpoint_id=endpoint_id, event_id=event_id, attempts=0,
        queued_at=now, next_at=now,
        state=case((is_full, State.FAILED.value), else_=State.PENDING.value),
        error=case((is_full, f"{QUEUE_MAX} deliveries wait already"), else_=""),
    )  # fmt: skip


def deliveries(
    session: Session, org: UUID, endpoint_id: UUID,
    *, state: State | None, before: UUID | None, limit: int,
) -> Sequence[Row[Any]]:  # fmt: skip
    """Deliveries with the type of their event, newest event first."""
    of_event = (_V.org_id == _D.org_id) & (_V.id == _D.event_id)
    query = (
        select(webhook_delivery, _V.type)
        .join_from(webhook_delivery, webhook_event, of_event)
        .where(_D.org_id == org, _D.endpoint_id == endpoint_id)
    )
    if state is not None:
        query = query.where(_D.state == state.value)
    if before is not None:
        query = query.where(_D.event_id < before)
    return session.execute(query.order_by(_D.event_id.desc()).limit(limit)).all()


def requeue(
    session: Session, org: UUID, endpoint_id: UUID, now: datetime,
    *, event_id: UUID | None = None, failed_since: datetime | None = None,
) -> int:  # fmt: skip
    """How many deliveries wait again: that one whatever became of it, or those that failed."""
    where = [_D.org_id == org, _D.endpoint_id == endpoint_id, _D.state != State.PENDING.value]
    if event_id is not None:
        where.append(_D.event_id == event_id)
    if failed_since is not None:
        where += [_D.queued_at >= failed_since, _D.state == State.FAILED.value]
    chosen = select(_D.event_id).where(*where).order_by(_D.event_id).limit(QUEUE_MAX)
    again = {"state": State.PENDING.value, "attempts": 0, "queued_at": now, "next_at": now}
    key = {"endpoint_id": endpoint_id}
    return len(rows.changed(session, webhook_delivery, org, key, _D.event_id.in_(chosen), **again))


def due(
    session: Session, now: datetime, busy: Collection[UUID], limit: int
) -> Sequence[tuple[UUID, UUID, UUID]]:
    """(organisation, endpoint, event): the longest due delivery of each endpoint not busy."""
    given = {"now": now, "busy": [str(one) for one in busy], "limit": limit}
    return [(org, endpoint, event) for org, endpoint, event in session.execute(_DUE, given)]


def claim(
    session: Session, org: UUID, endpoint_id: UUID, event_id: UUID, *, now: datetime, end: datetime
) -> Row[Any] | None:
    """The delivery with its endpoint and event, this caller's until then; None: another's."""
    key = {"endpoint_id": endpoint_id, "event_id": event_id, "state": State.PENDING.value}
    mine = rows.changed(
        session, webhook_delivery, org, key, _D.next_at <= now,
        attempts=_D.attempts + 1, next_at=end, sent_at=now, status=None, duration_ms=None, error="",
    )  # fmt: skip
    if not mine:
        return None
    return session.execute(
        select(
            webhook_endpoint, _V.id.label("event_id"), _V.body,
            literal(mine[0].attempts).label("attempts"),
            literal(mine[0].queued_at).label("queued_at"),
        )
        .join_from(webhook_endpoint, webhook_event, _V.org_id == _E.org_id)
        .where(_E.org_id == org, _E.id == endpoint_id, _V.id == event_id)
    ).one()  # fmt: skip


def fail_pending(session: Session, org: UUID, endpoint_id: UUID, error: str) -> None:
    """Nothing waits for the endpoint any more."""
    key = {"endpoint_id": endpoint_id, "state": State.PENDING.value}
    rows.changed(session, webhook_delivery, org, key, state=State.FAILED.value, error=error)


def sweep(session: Session, before: datetime) -> None:
    """Events of an earlier time and their deliveries are gone; a directory transaction."""
    session.execute(delete(webhook_event).where(_V.at < before))
