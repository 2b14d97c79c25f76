"""SQL of events and backfills inside one organisation, in the role `cloudopshub_billing_app`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, delete, func, select, text, update
from sqlalchemy.orm import Session

from user_billing.errors import NotFound
from user_billing.usage.events import Event, Key, Place, Stored
from user_billing.usage.tables import usage_backfill, usage_event

_B, _E = usage_backfill.c, usage_event.c
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('usage ' || :org, 0))")
_STORED: Final = text("""
SELECT e.source, e.id, e.meter, e.at, e.value, CASE WHEN b.ended_at IS NULL THEN e.backfill END
  FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[])) AS given (source, id)
  JOIN billing.usage_event e ON e.org_id = :org AND e.source = given.source AND e.id = given.id
  LEFT JOIN billing.usage_backfill b ON b.org_id = e.org_id AND b.id = e.backfill
""")
_ADD: Final = text("""
INSERT INTO billing.usage_event (org_id, source, id, meter, at, value, backfill, received_at)
SELECT :org, source, id, meter, at, value, :backfill, :now
  FROM unnest(CAST(:c0 AS text[]), CAST(:c1 AS text[]), CAST(:c2 AS text[]),
              CAST(:c3 AS timestamptz[]), CAST(:c4 AS text[])) AS e (source, id, meter, at, value)
""")
_VALUES: Final = text("""
SELECT v.meter, v.hour, v.value
  FROM unnest(CAST(:meters AS text[]), CAST(:hours AS timestamptz[]), CAST(:values AS text[]))
       AS given (meter, hour, value)
  JOIN billing.usage_value v ON v.org_id = :org AND v.meter = given.meter
       AND v.hour = given.hour AND v.value = given.value
""")
_ADD_VALUES: Final = text("""
INSERT INTO billing.usage_value (org_id, meter, hour, value)
SELECT :org, * FROM unnest(CAST(:meters AS text[]), CAST(:hours AS timestamptz[]),
                           CAST(:values AS text[]))
""")


def lock(session: Session, org: UUID) -> None:
    """No other transaction changes the organisation's events, meters or backfills until the end."""
    session.execute(_LOCK, {"org": str(org)})


def stored(session: Session, org: UUID, keys: Collection[Key]) -> dict[Key, Stored]:
    """Those events that are there."""
    sources, ids = [source for source, _ in keys], [id_ for _, id_ in keys]
    rows = session.execute(_STORED, {"org": org, "sources": sources, "ids": ids})
    return {(row[0], row[1]): Stored(Event(*row[:5]), row[5]) for row in rows}


def add(
    session: Session, org: UUID, events: Sequence[Event], backfill: UUID | None, now: datetime
) -> None:
    """These events, none of which is there, are."""
    rows = [(event.source, event.id, event.meter, event.at, event.value) for event in events]
    columns = {f"c{n}": list(column) for n, column in enumerate(zip(*rows, strict=True))}
    session.execute(_ADD, {**columns, "org": org, "backfill": backfill, "now": now})


def _columns(values: Iterable[tuple[Place, str]]) -> dict[str, list[Any]]:
    rows = sorted((meter, hour, value) for (meter, hour), value in values)
    names = ("meters", "hours", "values")
    return {name: [row[n] for row in rows] for n, name in enumerate(names)}


def known_values(
    session: Session, org: UUID, values: Collection[tuple[Place, str]]
) -> dict[Place, set[str]]:
    """Of each place the values among these that are there."""
    known: dict[Place, set[str]] = defaultdict(set)
    if values:
        for row in session.execute(_VALUES, {"org": org, **_columns(values)}):
            known[row.meter, row.hour].add(row.value)
    return known


def add_values(session: Session, org: UUID, values: Collection[tuple[Place, str]]) -> None:
    """These distinct values, none of which is there, are."""
    if values:
        session.execute(_ADD_VALUES, {"org": org, **_columns(values)})


def sweep(session: Session, org: UUID, before: datetime) -> None:
    """Events used before that time are gone; what they counted stays in their hours."""
    session.execute(delete(usage_event).where(_E.org_id == org, _E.at < before))


# Backfills


def add_backfill(
    session: Session, org: UUID, backfill: UUID, *, by: str, now: datetime, ends: datetime
) -> None:
    """A backfill is open until `ends`."""
    row = {"id": backfill, "opened_at": now, "opened_by": by, "expires_at": ends}
    session.execute(usage_backfill.insert(), {"org_id": org, **row})


_WITH_EVENTS = select(
    usage_backfill,
    select(func.count())
    .where(_E.org_id == _B.org_id, _E.backfill == _B.id)
    .scalar_subquery()
    .label("events"),
)


def backfills(session: Session, org: UUID, limit: int) -> Sequence[Row[Any]]:
    """The latest, with how many events each has."""
    query = _WITH_EVENTS.where(_B.org_id == org).order_by(_B.opened_at.desc(), _B.id.desc())
    return session.execute(query.limit(limit)).all()


def backfill(session: Session, org: UUID, id_: UUID) -> Row[Any]:
    """One of them, with how many events it has. Raises NotFound."""
    row = session.execute(_WITH_EVENTS.where(_B.org_id == org, _B.id == id_)).one_or_none()
    if row is None:
        raise NotFound(backfill=str(id_))
    return row


def open_backfills(session: Session, org: UUID) -> Sequence[Row[Any]]:
    """Those that nobody ended, also when their time is over."""
    query = select(usage_backfill).where(_B.org_id == org, _B.ended_at.is_(None))
    return session.execute(query).all()


def events_of(session: Session, org: UUID, backfill: UUID) -> list[Event]:
    """The events of a backfill."""
    columns = select(_E.source, _E.id, _E.meter, _E.at, _E.value)
    rows = session.execute(columns.where(_E.org_id == org, _E.backfill == backfill))
    return [Event(*row) for row in rows]


def end_backfill(session: Session, org: UUID, id_: UUID, outcome: str, now: datetime) -> None:
    """It is over; the events of one that was reverted are gone."""
    if outcome == "reverted":
        session.execute(delete(usage_event).where(_E.org_id == org, _E.backfill == id_))
    session.execute(
        update(usage_backfill)
        .where(_B.org_id == org, _B.id == id_)
        .values(ended_at=now, outcome=outcome)
    )
