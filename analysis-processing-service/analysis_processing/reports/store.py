"""A tenant's reports in Postgres: one every day, week and month at most. Their issues are jobs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from analysis_processing.jobs.repository import SETTLED
from analysis_processing.model import Request

LENGTHS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31)}
"""Of a month at most."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report of each day, week or month that ends at `hour` UTC.

    next_at: when its next issue is due; None: somebody wants one up to now.
    """

    tenant_id: UUID
    every: str
    hour: int
    next_at: datetime | None


def period(every: str, hour: int, now: datetime) -> tuple[datetime, datetime, datetime]:
    """Start and end of the last period that is over, and the end of the one that goes on.

    They end at `hour` UTC of each day, of Mondays, or of the first of a month.
    """

    def first(day: datetime) -> datetime:
        back = {"day": 0, "week": day.weekday(), "month": day.day - 1}[every]
        return day - timedelta(days=back)

    offset = timedelta(hours=hour)
    end = first((now - offset).replace(hour=0, minute=0, second=0, microsecond=0))
    ends = first(end - timedelta(days=1)), end, first(end + LENGTHS[every])
    return ends[0] + offset, ends[1] + offset, ends[2] + offset


def next_at(every: str, hour: int, now: datetime) -> datetime:
    """When the samples of the first period have come that was not due yet."""
    return period(every, hour, now - SETTLED)[2] + SETTLED


def put(db: Connection, tenant: UUID, every: str, hour: int, now: datetime) -> None:
    """The report is made `every` period at `hour`; what is late under the same hour stays late."""
    query = text("""
        INSERT INTO analysis.report AS r VALUES (:tenant, :every, :hour, :next)
        ON CONFLICT (tenant_id, every) DO UPDATE SET hour = :hour, next_at = :next
        WHERE r.hour <> :hour""")
    mine = {"tenant": tenant, "every": every, "hour": hour}
    db.execute(query, {**mine, "next": next_at(every, hour, now)})


def of_tenant(db: Connection, tenant: UUID) -> list[Report]:
    """The tenant's reports."""
    query = text("SELECT * FROM analysis.report WHERE tenant_id = :tenant ORDER BY every")
    return [Report(*row) for row in db.execute(query, {"tenant": tenant})]


def delete(db: Connection, tenant: UUID, every: str) -> None:
    """The report is made no more."""
    query = text("DELETE FROM analysis.report WHERE tenant_id = :tenant AND every = :every")
    db.execute(query, {"tenant": tenant, "every": every})


def due(db: Connection, now: datetime) -> list[Report]:
    """Reports of all tenants that are due, the longest first."""
    query = text("SELECT * FROM analysis.report WHERE next_at <= :now ORDER BY next_at LIMIT 500")
    return [Report(*row) for row in db.execute(query, {"now": now})]


def move_on(db: Connection, report: Report, now: datetime) -> bool:
    """Whether the report was still due as it was read; now it is due after its next period."""
    query = text("""
        UPDATE analysis.report SET next_at = :next
        WHERE tenant_id = :tenant_id AND every = :every AND hour = :hour AND next_at = :next_at""")
    following = next_at(report.every, report.hour, now)
    return db.execute(query, {**asdict(report), "next": following}).rowcount == 1


def watches(db: Connection, tenant: UUID) -> list[tuple[str, str]]:
    """Name and query of the tenant's watches that work."""
    query = text("""
        SELECT name, query FROM analysis.watch
        WHERE tenant_id = :tenant AND enabled AND error IS NULL ORDER BY name LIMIT 50""")
    return [(row.name, row.query) for row in db.execute(query, {"tenant": tenant})]


def events(
    db: Connection, tenant: UUID, request: Request
) -> tuple[Sequence[RowMapping], list[Any]]:
    """The ten largest events of an issue's period, and (kind, number of events), most first."""
    start_ms = request.end_ms - request.steps // 2 * request.step_ms
    bounds = {"tenant": tenant, "start": start_ms, "end": request.end_ms}
    began = (
        "FROM analysis.event WHERE tenant_id = :tenant AND start_ms >= :start AND start_ms < :end"
    )
    largest = text(f"SELECT * {began} ORDER BY size DESC, id LIMIT 10")
    kinds = text(f"SELECT kind, count(*) {began} GROUP BY kind ORDER BY 2 DESC, 1")
    return db.execute(largest, bounds).mappings().all(), list(db.execute(kinds, bounds))
