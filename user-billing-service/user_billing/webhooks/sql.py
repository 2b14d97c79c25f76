"""SQL of webhooks, inside one organisation but for `due` and `sweep`."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, case, delete, func, insert, literal, select, text, update
from sqlalchemy.orm import Session

from user_billing.webhooks.rules import QUEUE_MAX, State
from user_billing.webhooks.tables import webhook_delivery, webhook_endpoint, webhook_event

_E, _V, _D = webhook_endpoint.c, webhook_event.c, webhook_delivery.c
_IS_PENDING = _D.state == State.PENDING.value
_DUE = text("""
SELECT org_id, endpoint_id, event_id FROM (
  SELECT DISTINCT ON (org_id, endpoint_id) org_id, endpoint_id, event_id, next_at
    FROM billing.webhook_delivery
   WHERE state = 'pending' AND next_at <= :now AND endpoint_id <> ALL(CAST(:busy AS uuid[]))
   ORDER BY org_id, endpoint_id, next_at, event_id) AS first
 ORDER BY next_at LIMIT :limit
""")


# Endpoints


def endpoints(session: Session, org: UUID) -> Sequence[Row[Any]]:
    """All, newest first."""
    query = select(webhook_endpoint).where(_E.org_id == org).order_by(_E.id.desc())
    return session.execute(query).all()


def endpoint(session: Session, org: UUID, endpoint_id: UUID) -> Row[Any] | None:
    """The endpoint; until the transaction ends nobody else changes it."""
    where = (_E.org_id == org, _E.id == endpoint_id)
    query = select(webhook_endpoint).where(*where).with_for_update()
    return session.execute(query).one_or_none()


def add_endpoint(session: Session, **values: object) -> None:
    """The endpoint is there."""
    session.execute(insert(webhook_endpoint).values(**values))


def change_endpoint(session: Session, org: UUID, endpoint_id: UUID, **values: object) -> None:
    """The endpoint has these values."""
    where = (_E.org_id == org, _E.id == endpoint_id)
    session.execute(update(webhook_endpoint).where(*where).values(**values))


def remove_endpoint(session: Session, org: UUID, endpoint_id: UUID) -> None:
    """The endpoint and its deliveries are gone."""
    where = (_E.org_id == org, _E.id == endpoint_id)
    session.execute(delete(webhook_endpoint).where(*where))


# Events and deliveries


def listeners(session: Session, org: UUID, type_: str) -> list[UUID]:
    """Endpoints that want events of this type, and stay on until the transaction ends."""
    wants = (func.cardinality(_E.event_types) == 0) | _E.event_types.contains([type_])
    query = select(_E.id).where(_E.org_id == org, _E.disabled_at.is_(None), wants)
    return list(session.scalars(query.with_for_update(read=True, key_share=True)))


def add_event(
    session: Session, org: UUID, event_id: UUID, *, type_: str, body: str, now: datetime
) -> None:
    """The event is there."""
    values = {"org_id": org, "id": event_id, "type": type_, "body": body, "at": now}
    session.execute(insert(webhook_event).values(**values))


def add_delivery(
    session: Session, org: UUID, endpoint_id: UUID, event_id: UUID, now: datetime
) -> None:
    """The event waits for the endpoint, or has failed at once because too many wait already."""
    where = (_D.org_id == org, _D.endpoint_id == endpoint_id, _IS_PENDING)
    waiting = select(_D.event_id).where(*where).limit(QUEUE_MAX).subquery()
    is_full = select(func.count()).select_from(waiting).scalar_subquery() >= QUEUE_MAX
    session.execute(
        insert(webhook_delivery).values(
            org_id=org, endpoint_id=endpoint_id, event_id=event_id, attempts=0,
            queued_at=now, next_at=now,
            state=case((is_full, State.FAILED.value), else_=State.PENDING.value),
            error=case((is_full, f"{QUEUE_MAX} deliveries wait already"), else_=""),
        )
    )  # fmt: skip


def deliveries(
    session: Session, org: UUID, endpoint_id: UUID,
    *, state: State | None, before: UUID | None, limit: int,
) -> Sequence[Row[Any]]:  # fmt: skip
    """Deliveries with the type of their event, newest event first."""
    query = (
        select(webhook_delivery, _V.type)
        .join_from(
            webhook_delivery, webhook_event, (_V.org_id == _D.org_id) & (_V.id == _D.event_id)
        )
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
    where = [_D.org_id == org, _D.endpoint_id == endpoint_id, ~_IS_PENDING]
    if event_id is not None:
        where.append(_D.event_id == event_id)
    if failed_since is not None:
        where += [_D.queued_at >= failed_since, _D.state == State.FAILED.value]
    chosen = select(_D.event_id).where(*where).order_by(_D.event_id).limit(QUEUE_MAX)
    again = {"state": State.PENDING.value, "attempts": 0, "queued_at": now, "next_at": now}
    done = session.execute(
        update(webhook_delivery)
        .where(_D.org_id == org, _D.endpoint_id == endpoint_id, _D.event_id.in_(chosen))
        .values(**again)
        .returning(_D.event_id)
    )
    return len(done.all())


# Work


def due(
    session: Session, now: datetime, busy: Collection[UUID], limit: int
) -> Sequence[tuple[UUID, UUID, UUID]]:
    """(organisation, endpoint, event): the longest due delivery of each endpoint not busy."""
    given = {"now": now, "busy": [str(one) for one in busy], "limit": limit}
    rows = session.execute(_DUE, given)
    return [(row.org_id, row.endpoint_id, row.event_id) for row in rows]


def claim(
    session: Session, org: UUID, endpoint_id: UUID, event_id: UUID, *, now: datetime, end: datetime
) -> Row[Any] | None:
    """The delivery with its endpoint and event, this caller's until then; None: another's."""
    mine = session.execute(
        update(webhook_delivery)
        .where(_D.org_id == org, _D.endpoint_id == endpoint_id, _D.event_id == event_id)
        .where(_IS_PENDING, _D.next_at <= now)
        .values(attempts=_D.attempts + 1, next_at=end, sent_at=now)
        .returning(_D.attempts, _D.queued_at)
    ).one_or_none()
    if mine is None:
        return None
    return session.execute(
        select(
            webhook_endpoint, _V.id.label("event_id"), _V.body,
            literal(mine.attempts).label("attempts"), literal(mine.queued_at).label("queued_at"),
        )
        .join_from(webhook_endpoint, webhook_event, _V.org_id == _E.org_id)
        .where(_E.org_id == org, _E.id == endpoint_id, _V.id == event_id)
    ).one()  # fmt: skip


def record(
    session: Session, org: UUID, endpoint_id: UUID, event_id: UUID, attempts: int, **values: object
) -> bool:
    """Whether the outcome stands; False when the attempt was made again by another meanwhile."""
    done = session.execute(
        update(webhook_delivery)
        .where(_D.org_id == org, _D.endpoint_id == endpoint_id, _D.event_id == event_id)
        .where(_IS_PENDING, _D.attempts == attempts)
        .values(**values)
        .returning(_D.event_id)
    )
    return done.one_or_none() is not None


def fail_pending(session: Session, org: UUID, endpoint_id: UUID, error: str) -> None:
    """Nothing waits for the endpoint any more."""
    session.execute(
        update(webhook_delivery)
        .where(_D.org_id == org, _D.endpoint_id == endpoint_id, _IS_PENDING)
        .values(state=State.FAILED.value, error=error)
    )


def sweep(session: Session, before: datetime) -> None:
    """Events of an earlier time and their deliveries are gone; a directory transaction."""
    session.execute(delete(webhook_event).where(_V.at < before))
