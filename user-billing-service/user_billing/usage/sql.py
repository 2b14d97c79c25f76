"""SQL of usage inside one organisation, in the role `cloudopshub_billing_app`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import CursorResult, Row, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import people as organisations_t
from user_billing.meters.rules import Totals, of_period
from user_billing.meters.sql import every_meter
from user_billing.model import SERVICES, Audience
from user_billing.rating.model import MeterUsage
from user_billing.usage import tables as t
from user_billing.usage.arrays import columns
from user_billing.usage.events import Event, Key, Place, Stored
from user_billing.usage.rules import Reading, Report, Step

_BY_STEP = text("""
WITH hours AS (
  SELECT date_trunc(:step, hour, 'UTC') AS start, meter, quantity / readings AS quantity, minutes,
         received_at
    FROM billing.usage_hour WHERE org_id = :org AND hour >= :start AND hour < :end),
by_hour AS (
  SELECT start, meter, sum(quantity) AS sum, max(quantity) AS max, avg(quantity) AS mean,
         max(received_at) AS received_at
    FROM hours GROUP BY start, meter),
by_minute AS (
  SELECT start, meter, percentile_disc(0.95) WITHIN GROUP (ORDER BY number) AS p95
    FROM hours, unnest(minutes) AS number GROUP BY start, meter)
SELECT start, meter, sum, max, mean, p95, received_at
  FROM by_hour LEFT JOIN by_minute USING (start, meter) ORDER BY start, meter
""")

_PUT = text("""
INSERT INTO billing.usage_hour AS kept (org_id, hour, meter, revision, quantity, minutes, readings,
                                        latest_at, source, received_at)
SELECT DISTINCT ON (org_id, meter, hour) org_id, hour, meter, revision, quantity,
       minutes::integer[], readings, latest_at, :source, :now
  FROM unnest(CAST(:c0 AS uuid[]), CAST(:c1 AS timestamptz[]), CAST(:c2 AS text[]),
              CAST(:c3 AS bigint[]), CAST(:c4 AS numeric[]), CAST(:c5 AS text[]),
              CAST(:c6 AS bigint[]), CAST(:c7 AS timestamptz[])) WITH ORDINALITY
       AS given (org_id, hour, meter, revision, quantity, minutes, readings, latest_at, place)
 ORDER BY org_id, meter, hour, revision DESC, place
ON CONFLICT (org_id, meter, hour, source) DO UPDATE
   SET revision = excluded.revision, quantity = excluded.quantity, minutes = excluded.minutes,
       readings = excluded.readings, latest_at = excluded.latest_at,
       received_at = excluded.received_at
 WHERE kept.revision < excluded.revision
""")
_LINES: Final = """
WITH hours AS (
  SELECT meter, hour, source, quantity, minutes, readings, received_at,
         round(quantity / readings, 9) AS mean
    FROM billing.usage_hour WHERE org_id = :org AND hour >= :start AND hour < :end),
texts AS (
  SELECT meter, hour, value
    FROM billing.usage_value WHERE org_id = :org AND hour >= :start AND hour < :end),
lines AS (
  SELECT h.*, concat_ws(' ', extract(epoch FROM hour)::bigint, source, quantity, readings,
                        array_to_string(minutes, ','), v.digest) AS line
    FROM hours h LEFT JOIN (
      SELECT meter, hour, sha256(convert_to(string_agg(value, E'\\n' ORDER BY value), 'UTF8'))
             AS digest FROM texts GROUP BY meter, hour) v USING (meter, hour))"""
_TOTALS = text(f"""{_LINES},
by_minute AS (
  SELECT meter, percentile_disc(0.95) WITHIN GROUP (ORDER BY number) AS p95
    FROM hours, unnest(minutes) AS number GROUP BY meter),
by_value AS (
  SELECT meter, count(DISTINCT value) AS distinct_values FROM texts GROUP BY meter),
by_hour AS (
  SELECT meter, sum(quantity) AS sum, max(quantity) AS max, sum(mean) AS mean,
         (array_agg(quantity ORDER BY hour DESC, source COLLATE "C"))[1] AS latest,
         count(*) AS rows,
         encode(sha256(convert_to(
           string_agg(line, E'\\n' ORDER BY hour, source COLLATE "C"), 'UTF8')), 'hex') AS digest
    FROM lines GROUP BY meter)
SELECT meter, sum, max, latest, mean, coalesce(p95, 0) AS p95,
       coalesce(distinct_values, 0) AS distinct_values, rows, digest
  FROM by_hour LEFT JOIN by_minute USING (meter) LEFT JOIN by_value USING (meter)
""")  # noqa: S608 # joined from constants
_HOURS = text(f"""{_LINES}
SELECT meter, string_agg(line, E'\\n' ORDER BY hour, source COLLATE "C") AS hours
  FROM lines WHERE received_at >= :since GROUP BY meter
""")  # noqa: S608 # joined from constants
_COUNT_SEATS = text("""
INSERT INTO billing.usage_hour AS kept (org_id, meter, hour, source, revision, quantity, minutes,
                                        received_at)
SELECT :org, 'seats', date_trunc('hour', CAST(:now AS timestamptz), 'UTC'), 'ubs', 1, count(*),
       '{}', :now
  FROM billing.membership WHERE org_id = :org
ON CONFLICT (org_id, meter, hour, source) DO UPDATE
   SET revision = kept.revision + 1, quantity = excluded.quantity,
       received_at = excluded.received_at
 WHERE kept.quantity < excluded.quantity
""")
_EVER: Final = datetime.min.replace(tzinfo=UTC)
_NO_ROWS: Final = sha256(b"").hexdigest()


def period_usage(
    session: Session, org: UUID, start: datetime, end: datetime
) -> dict[str, MeterUsage]:
    """Of every meter of the organisation, by code, what the hours that begin in [start, end) hold.

    A meter without hourly rows has quantity 0 of 0 hours. digest: SHA-256, as hex, of the rows by
    hour and source, a line each: hour in s since the epoch, source, quantity, readings, numbers by
    minute, SHA-256 of the distinct values by line.
    """
    given = {"org": org, "start": start, "end": end}
    totals = {row.meter: Totals(*row) for row in session.execute(_TOTALS, given)}
    return {
        meter.code: MeterUsage(of_period(meter, of, start, end), of.rows, of.digest)
        if (of := totals.get(meter.counted_as))
        else MeterUsage(Decimal(0), 0, _NO_ROWS)
        for meter in every_meter(session, org)
    }


def organisations(session: Session, ids: Collection[UUID]) -> set[UUID]:
    """Those of these organisations that there are; in the role `cloudopshub_billing_directory`."""
    id_ = organisations_t.organisation.c.id
    return set(session.scalars(select(id_).where(id_.in_(ids))))


def units(session: Session, org: UUID) -> dict[str, str]:
    """Meter, by code → its unit."""
    return {meter.code: meter.unit for meter in every_meter(session, org)}


def period_hours(
    session: Session, org: UUID, start: datetime, end: datetime, since: datetime = _EVER
) -> dict[str, str]:
    """Of each meter with hourly rows, by its name in them, the text that `digest` is of.

    since: only the lines of rows that were received at that time or later.
    """
    rows = session.execute(_HOURS, {"org": org, "start": start, "end": end, "since": since})
    return {row.meter: row.hours for row in rows}


def put(session: Session, source: str, reports: Sequence[Report], now: datetime) -> int:
    """Each reading stands, unless the hour has one of the same or a later revision; how many do
    that did not stand before.
    """
    rows = [
        (
            report.organisation_id, report.hour, meter, report.revision, reading.quantity,
            "{" + ",".join(map(str, reading.minutes)) + "}", reading.readings, reading.latest_at,
        )
        for report in reports
        for meter, reading in report.readings.items()
    ]  # fmt: skip
    if not rows:
        return 0
    result = session.execute(_PUT, {**columns(rows), "source": source, "now": now})
    return cast("CursorResult[Any]", result).rowcount


def stored(
    session: Session, org: UUID, source: str, places: Collection[tuple[str, datetime]]
) -> dict[tuple[str, datetime], tuple[int, Reading]]:
    """(meter, hour) → its revision and reading."""
    u = t.usage_hour.c
    rows = session.execute(
        select(u.hour, u.meter, u.revision, u.quantity, u.minutes, u.readings, u.latest_at).where(
            u.org_id == org,
            u.meter.in_({meter for meter, _ in places}),
            u.hour.in_({hour for _, hour in places}),
            u.source == source,
        )
    )
    return {
        (meter, hour): (revision, Reading(quantity, tuple(minutes), readings, latest_at))
        for hour, meter, revision, quantity, minutes, readings, latest_at in rows
    }


def by_step(
    session: Session, org: UUID, start: datetime, end: datetime, step: Step
) -> Sequence[Row[Any]]:
    """Of each step and meter (start, meter, sum, max, mean, p95): over hours, p95 over minutes."""
    given = {"org": org, "start": start, "end": end, "step": step.value}
    return session.execute(_BY_STEP, given).all()


def put_watermark(session: Session, source: str, complete_through: datetime) -> None:
    """Whatever `source` counted before that time was reported; it never goes back."""
    w, new = t.usage_watermark, upsert(t.usage_watermark)
    new = new.values(source=source, complete_through=complete_through)
    later = {"complete_through": func.greatest(w.c.complete_through, complete_through)}
    session.execute(new.on_conflict_do_update(constraint=w.primary_key, set_=later))


def watermarks(session: Session) -> dict[Audience, datetime | None]:
    """Until when each service reported all that it counted; None for one that never did."""
    w = t.usage_watermark.c
    stored = {row.source: row.complete_through for row in session.execute(select(*w))}
    return {source: stored.get(source) for source in sorted(SERVICES)}


def count_seats(session: Session, org: UUID, now: datetime) -> None:
    """This hour's seats are the members there are now, unless there were more earlier in it."""
    session.execute(_COUNT_SEATS, {"org": org, "now": now})


# Events of organisations' own meters, and backfills of them

_B, _E = t.usage_backfill.c, t.usage_event.c
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


def stored_events(session: Session, org: UUID, keys: Collection[Key]) -> dict[Key, Stored]:
    """Those events that are there."""
    rows = session.execute(_STORED, {"org": org, **columns(keys)}) if keys else ()
    return {(row[0], row[1]): (Event(*row[:5]), row[6]) for row in rows}


def add_events(
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
    session.execute(delete(t.usage_event).where(_E.org_id == org, _E.received_at < before))


_BACKFILLS = select(
    t.usage_backfill,
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
