"""A tenant's reports in Postgres; their issues are jobs. Statements of callers have the tenant."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, RowMapping, select, text

from analysis_processing.errors import ReportNotFound, TooManyReports
from analysis_processing.jobs.repository import SETTLED
from analysis_processing.jobs.tables import job, to_job
from analysis_processing.model import Job
from analysis_processing.reports.schedule import period

COUNT_MAX = 20
# What is late stays so under an unchanged schedule.
PUT = text("""
INSERT INTO analysis.report AS r
VALUES (:id, :tenant, :name, :every, :hour, :enabled, :by, :now, :next)
ON CONFLICT (id) DO UPDATE SET name = :name, every = :every, hour = :hour, enabled = :enabled,
  next_at = CASE WHEN r.enabled AND (r.every, r.hour) = (:every, :hour)
    THEN r.next_at ELSE :next END
RETURNING *
""")


def next_at(report: Mapping[str, Any] | RowMapping, now: datetime) -> datetime:
    """When the samples of the first period have come that was not due yet."""
    return period(report["every"], report["hour"], now - SETTLED)[2] + SETTLED


def put(
    db: Connection,
    tenant: UUID,
    identity: UUID | None,
    wanted: Mapping[str, Any],
    *,
    by: str,
    now: datetime,
) -> RowMapping:
    """The report, a new one without `identity`, is as `wanted` (name, every, hour, enabled).

    Raises ReportNotFound, TooManyReports.
    """
    lock = "SELECT pg_advisory_xact_lock(hashtextextended('report:' || :tenant, 0))"
    db.execute(text(lock), {"tenant": str(tenant)})
    if identity is not None:
        get(db, tenant, identity)
    elif len(of_tenant(db, tenant)) >= COUNT_MAX:
        raise TooManyReports(limit=COUNT_MAX)
    more = {"id": identity or uuid4(), "tenant": tenant, "by": by, "now": now}
    return db.execute(PUT, {**wanted, **more, "next": next_at(wanted, now)}).mappings().one()


def of_tenant(db: Connection, tenant: UUID) -> Sequence[RowMapping]:
    """The tenant's reports by name."""
    query = text("SELECT * FROM analysis.report WHERE tenant_id = :tenant ORDER BY name, id")
    return db.execute(query, {"tenant": tenant}).mappings().all()


def get(
    db: Connection, tenant: UUID, identity: UUID, act: str = "SELECT *", end: str = ""
) -> RowMapping:
    """The tenant's report of that id; raises ReportNotFound."""
    query = f"{act} FROM analysis.report WHERE tenant_id = :tenant AND id = :id {end}"
    row = db.execute(text(query), {"tenant": tenant, "id": identity}).mappings().first()
    if row is None:
        raise ReportNotFound(id=identity)
    return row


def delete(db: Connection, tenant: UUID, identity: UUID) -> None:
    """The report is gone; its issues stay jobs. Raises ReportNotFound."""
    get(db, tenant, identity, "DELETE", "RETURNING id")


def due(db: Connection, now: datetime) -> Sequence[RowMapping]:
    """Reports of all tenants that are due, the longest first."""
    query = text("""
        SELECT * FROM analysis.report WHERE enabled AND next_at <= :now
        ORDER BY next_at LIMIT 500""")
    return db.execute(query, {"now": now}).mappings().all()


def move_on(db: Connection, report: RowMapping, now: datetime) -> bool:
    """Whether the report was still due as it was read; now it is due after its next period."""
    query = text("""
        UPDATE analysis.report SET next_at = :next WHERE id = :id AND enabled AND next_at = :was""")
    moved = {"id": report["id"], "was": report["next_at"], "next": next_at(report, now)}
    return db.execute(query, moved).rowcount == 1


def watches(db: Connection, tenant: UUID) -> list[tuple[str, str]]:
    """Name and query of the tenant's watches that work."""
    query = text("""
        SELECT name, query FROM analysis.watch
        WHERE tenant_id = :tenant AND enabled AND error IS NULL ORDER BY name LIMIT 50""")
    return [(row.name, row.query) for row in db.execute(query, {"tenant": tenant})]


def issues(db: Connection, tenant: UUID, identity: UUID) -> list[Job]:
    """The newest issues of a report; raises ReportNotFound."""
    get(db, tenant, identity)
    mine = (job.c.tenant_id == tenant, job.c.params["report"].astext == str(identity))
    query = select(job).where(job.c.kind == "report", *mine)
    return [to_job(row) for row in db.execute(query.order_by(job.c.created_at.desc()).limit(50))]


def period_of(issue: Job) -> tuple[datetime, datetime]:
    """Start and end of what an issue reports: the second half of its job's range."""
    request = issue.request
    end = datetime.fromtimestamp(request.end_ms / 1000, UTC)
    return end - timedelta(milliseconds=request.steps // 2 * request.step_ms), end


def events(db: Connection, issue: Job) -> tuple[Sequence[RowMapping], list[Any]]:
    """The ten largest events of an issue's period, and (kind, number of events), most first."""
    start, end = (round(at.timestamp() * 1000) for at in period_of(issue))
    bounds = {"tenant": issue.tenant, "start": start, "end": end}
    began = (
        "FROM analysis.event WHERE tenant_id = :tenant AND start_ms >= :start AND start_ms < :end"
    )
    largest = text(f"SELECT * {began} ORDER BY size DESC, id LIMIT 10")
    kinds = text(f"SELECT kind, count(*) {began} GROUP BY kind ORDER BY 2 DESC, 1")
    return db.execute(largest, bounds).mappings().all(), list(db.execute(kinds, bounds))
