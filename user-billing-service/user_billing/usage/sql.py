"""SQL of usage inside one organisation, in the role `cloudopshub_billing_app`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.usage import tables as t
from user_billing.usage.rules import Reading, Report, Step

_BY_STEP = text("""
WITH hours AS (
  SELECT date_trunc(:step, hour, 'UTC') AS start, meter, quantity, minutes
    FROM billing.usage_hour WHERE org_id = :org AND hour >= :start AND hour < :end),
by_hour AS (
  SELECT start, meter, sum(quantity) AS sum, max(quantity) AS max, avg(quantity) AS mean
    FROM hours GROUP BY start, meter),
by_minute AS (
  SELECT start, meter, percentile_disc(0.95) WITHIN GROUP (ORDER BY number) AS p95
    FROM hours, unnest(minutes) AS number GROUP BY start, meter)
SELECT start, meter, sum, max, mean, p95
  FROM by_hour LEFT JOIN by_minute USING (start, meter) ORDER BY start, meter
""")


def put(session: Session, source: str, reports: Sequence[Report], now: datetime) -> None:
    """Each reading stands, unless the hour has one of the same or a later revision."""
    rows = [
        {
            "org_id": report.organisation_id, "source": source, "hour": report.hour,
            "meter": meter, "revision": report.revision, "quantity": reading.quantity,
            "minutes": list(reading.minutes), "received_at": now,
        }
        for report in reports
        for meter, reading in report.readings.items()
    ]  # fmt: skip
    statement = upsert(t.usage_hour)
    given = {
        name: statement.excluded[name]
        for name in ("revision", "quantity", "minutes", "received_at")
    }
    session.execute(
        statement.on_conflict_do_update(
            constraint=t.usage_hour.primary_key,
            set_=given,
            where=t.usage_hour.c.revision < statement.excluded.revision,
        ),
        rows,
    )


def stored(
    session: Session, org: UUID, source: str, hours: Sequence[datetime]
) -> dict[tuple[datetime, str], tuple[int, Reading]]:
    """(hour, meter) → its revision and reading."""
    u = t.usage_hour.c
    rows = session.execute(
        select(u.hour, u.meter, u.revision, u.quantity, u.minutes).where(
            u.org_id == org, u.source == source, tuple_(u.hour).in_([(hour,) for hour in hours])
        )
    )
    return {
        (row.hour, row.meter): (row.revision, Reading(row.quantity, tuple(row.minutes)))
        for row in rows
    }


def by_step(
    session: Session, org: UUID, start: datetime, end: datetime, step: Step
) -> Sequence[Row[Any]]:
    """Of each step and meter (start, meter, sum, max, mean, p95): over hours, p95 over minutes."""
    given = {"org": org, "start": start, "end": end, "step": step.value}
    return session.execute(_BY_STEP, given).all()


def put_watermark(session: Session, source: str, complete_through: datetime) -> None:
    """Whatever `source` counted before that time was reported; it never goes back."""
    statement = upsert(t.usage_watermark).values(source=source, complete_through=complete_through)
    session.execute(
        statement.on_conflict_do_update(
            constraint=t.usage_watermark.primary_key,
            set_={"complete_through": statement.excluded.complete_through},
            where=t.usage_watermark.c.complete_through < statement.excluded.complete_through,
        )
    )


def complete_through(session: Session) -> datetime | None:
    """Until when all sources reported; None before the first did."""
    earliest: datetime | None = session.scalar(
        select(func.min(t.usage_watermark.c.complete_through))
    )
    return earliest
