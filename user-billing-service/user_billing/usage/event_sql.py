"""SQL of events and backfills inside one organisation, in the role `cloudopshub_billing_app`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, delete, func, select, text
from sqlalchemy.orm import Session

from user_billing.usage.arrays import columns
from user_billing.usage.events import Event, Key, Place, Stored
from user_billing.usage.tables import usage_backfill, usage_event

_B, _E = usage_backfill.c, usage_event.c
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('usage ' || :org, 0))")
# LATERAL with LIMIT: a look-up in the primary key for each, also before the table has statistics;
# joined plainly, Postgres reads all events of the organisation.
_STORED: Final = text("""
SELECT e.*, CASE WHEN b.ended_at IS NULL THEN e.backfill END
  FROM unnest(CAST(:c0 AS text[]), CAST(:c1 AS text[])) AS given (source, id)
 CROSS JOIN LATERAL (
       SELECT source, id, meter, at, value, backfill FROM billing.usage_event
        WHERE org_id = :org AND source = given.source AND id = given.id LIMIT 1) e
  LEFT JOIN billing.usage_backfill b ON b.org_id = :org AND b.id = e.backfill
""")
_ADD: Final = text("""
INSERT INTO billing.usage_event (org_id, source, id, meter, at, value, backfill, received_at)
SELECT :org, source, id, meter, at, value, :backfill, :now
  FROM unnest(CAST(:c0 AS text[]), CAST(:c1 AS text[]), CAST(:c2 AS text[]),
              CAST(:c3 AS timestamptz[]), CAST(:c4 AS text[])) AS e (source, id, meter, at, value)
""")
_VALUES: Final = text("""
SELECT given.meter, given.hour, given.value
  FROM unnest(CAST(:c0 AS text[]), CAST(:c1 AS timestamptz[]), CAST(:c2 AS text[]))
       AS given (meter, hour, value)
 CROSS JOIN LATERAL (
       SELECT FROM billing.usage_value v WHERE v.org_id = :org AND v.meter = given.meter
          AND v.hour = given.hour AND v.value = given.value LIMIT 1) known
""")
_ADD_VALUES: Final = text("""
INSERT INTO billing.usage_value (org_id, meter, hour, value)
SELECT :org, * FROM unnest(CAST(:c0 AS text[]), CAST(:c1 AS timestamptz[]),
                           CAST(:c2 AS text[]))
""")


def lock(session: Session, org: UUID) -> None:
    """No other transaction changes the organisation's events, meters or backfills until the end."""
    session.execute(_LOCK, {"org": str(org)})


def stored(session: Session, org: UUID, keys: Collection[Key]) -> dict[Key, Stored]:
    """Those events that are there."""
    rows = session.execute(_STORED, {"org": org, **columns(keys)}) if keys else ()
    return {(row[0], row[1]): (Event(*row[:5]), row[6]) for row in rows}


def add(
    session: Session, org: UUID, events: Sequence[Event], backfill: UUID | None, now: datetime
) -> None:
    """These events, none of which is there, are."""
    rows = [(event.source, event.id, event.meter, event.at, event.value) for event in events]
    session.execute(_ADD, {**columns(rows), "org": org, "backfill": backfill, "now": now})


def _columns(values: Iterable[tuple[Place, str]]) -> dict[str, str]:
    return columns(sorted((meter, hour, value) for (meter, hour), value in values))


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
    """Events received before that time are gone; what they counted stays in their hours."""
    session.execute(delete(usage_event).where(_E.org_id == org, _E.received_at < before))


_BACKFILLS = select(
    usage_backfill,
    select(func.count())
    .where(_E.org_id == _B.org_id, _E.backfill == _B.id)
    .scalar_subquery()
    .label("events"),
).order_by(_B.opened_at.desc(), _B.id.desc())


def backfills(session: Session, org: UUID, limit: int) -> Sequence[Row[Any]]:
    """The latest, with how many events each has."""
    return session.execute(_BACKFILLS.where(_B.org_id == org).limit(limit)).all()


def backfill(session: Session, org: UUID, id_: UUID) -> Row[Any]:
    """One that is there, with how many events it has."""
    return session.execute(_BACKFILLS.where(_B.org_id == org, _B.id == id_)).one()


def events_of(session: Session, org: UUID, backfill: UUID) -> list[Event]:
    """The events of a backfill."""
    query = select(_E.source, _E.id, _E.meter, _E.at, _E.value)
    rows = session.execute(query.where(_E.org_id == org, _E.backfill == backfill))
    return [Event(*row) for row in rows]
