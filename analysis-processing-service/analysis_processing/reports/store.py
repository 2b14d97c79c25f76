"""A tenant's reports and their issues, in Postgres. Every statement of a caller's has the tenant.

due ──watch.claims──▶ being made ──finish: the issue, next_at──▶ due after the next period
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from analysis_processing.errors import NameTaken, ReportNotFound, TooManyReports, WrongState
from analysis_processing.jobs.claims import LeaseLost
from analysis_processing.reports.schedule import Schedule
from analysis_processing.watch.claims import Queue

CHILD = "analysis_processing.reports.child"
IDLE_S = 30.0
COUNT_MAX = 20
ISSUES_MAX = 30
SETTLE = timedelta(minutes=5)
"""A period is reported so long after its end, when its samples have come."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it stands; while it is made, `claim` fences off whoever had it before.

    next_at: when the next issue is due. asked_at: somebody wants one up to then, now.
    """

    id: UUID
    tenant_id: UUID
    name: str
    every: str
    hour: int
    timezone: str
    enabled: bool
    created_by: str
    created_at: datetime
    next_at: datetime
    asked_at: datetime | None
    ran_at: datetime | None
    error: str | None
    issues: int
    claim: UUID | None

    @classmethod
    def of(cls, row: RowMapping) -> "Report":
        """The report of a row of `analysis.report`."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    @property
    def token(self) -> UUID | None:
        """Of whoever makes it now."""
        return self.claim

    @property
    def schedule(self) -> Schedule:
        """When its periods end."""
        return Schedule(self.every, self.hour, self.timezone)


QUEUE = Queue("analysis.report", Report.of, batch=1)


def next_at(schedule: Schedule, now: datetime) -> datetime:
    """When the first period that is not due yet will be."""
    return schedule.following(now - SETTLE) + SETTLE


def schedule_of(wanted: Mapping[str, Any]) -> Schedule:
    """The schedule of a report as its owner writes it."""
    return Schedule(wanted["every"], wanted["hour"], wanted["timezone"])


def make(
    db: Connection, tenant: UUID, wanted: Mapping[str, Any], created_by: str, now: datetime
) -> Report:
    """A new report; wanted: name, every, hour, timezone, enabled, all checked.

    Raises NameTaken, TooManyReports.
    """
    lock = "SELECT pg_advisory_xact_lock(hashtextextended('report:' || :tenant, 0))"
    db.execute(text(lock), {"tenant": str(tenant)})
    if len(of_tenant(db, tenant)) >= COUNT_MAX:
        raise TooManyReports(limit=COUNT_MAX)
    query = text("""
        INSERT INTO analysis.report (tenant_id, name, every, hour, timezone, enabled,
          created_by, created_at, next_at, due_at)
        VALUES (:tenant, :name, :every, :hour, :timezone, :enabled, :by, :now, :next, :next)
        ON CONFLICT (tenant_id, name) DO NOTHING RETURNING *""")
    more = {"tenant": tenant, "by": created_by, "now": now}
    due = next_at(schedule_of(wanted), now)
    row = db.execute(query, {**wanted, **more, "next": due}).mappings().first()
    if row is None:
        raise NameTaken(name=wanted["name"])
    return Report.of(row)


def of_tenant(db: Connection, tenant: UUID) -> list[Report]:
    """The tenant's reports by name."""
    query = text("SELECT * FROM analysis.report WHERE tenant_id = :tenant ORDER BY name")
    return [Report.of(row) for row in db.execute(query, {"tenant": tenant}).mappings()]


def get(db: Connection, tenant: UUID, identity: UUID) -> Report:
    """The tenant's report of that id, locked; raises ReportNotFound."""
    query = text("SELECT * FROM analysis.report WHERE tenant_id = :tenant AND id = :id FOR UPDATE")
    row = db.execute(query, {"tenant": tenant, "id": identity}).mappings().first()
    if row is None:
        raise ReportNotFound(id=identity)
    return Report.of(row)


def change(
    db: Connection, tenant: UUID, identity: UUID, wanted: Mapping[str, Any], now: datetime
) -> Report:
    """The report is as `wanted`; what is due already stays so under an unchanged schedule.

    Raises ReportNotFound, NameTaken.
    """
    stored = get(db, tenant, identity)
    goes_on = stored.enabled and schedule_of(wanted) == stored.schedule
    due = stored.next_at if goes_on else next_at(schedule_of(wanted), now)
    query = text("""
        UPDATE analysis.report SET
          name = :name, every = :every, hour = :hour, timezone = :timezone, enabled = :enabled,
          next_at = :next, asked_at = CASE WHEN :enabled THEN asked_at END,
          due_at = least(:next, asked_at), attempts = 0, error = NULL,
          claim = NULL, claimed_by = NULL, lease_until = NULL
        WHERE id = :id AND NOT EXISTS (SELECT 1 FROM analysis.report
          WHERE tenant_id = :tenant AND name = :name AND id <> :id) RETURNING *""")
    mine = {"tenant": tenant, "id": identity, "next": due}
    row = db.execute(query, {**wanted, **mine}).mappings().first()
    if row is None:
        raise NameTaken(name=wanted["name"])
    return Report.of(row)


def delete(db: Connection, tenant: UUID, identity: UUID) -> None:
    """The report is gone with its issues."""
    get(db, tenant, identity)
    db.execute(text("DELETE FROM analysis.report WHERE id = :id"), {"id": identity})


def ask(db: Connection, tenant: UUID, identity: UUID, now: datetime) -> Report:
    """An issue up to now is due; raises ReportNotFound, WrongState when the report is disabled."""
    if not get(db, tenant, identity).enabled:
        raise WrongState(state="disabled", needed="enabled")
    query = text("""
        UPDATE analysis.report SET asked_at = :now, due_at = :now WHERE id = :id RETURNING *""")
    return Report.of(db.execute(query, {"id": identity, "now": now}).mappings().one())


def finish(
    db: Connection, report: Report, issue: Mapping[str, Any], due: datetime, now: datetime
) -> None:
    """The issue (start_at, end_at, html, pdf) is stored, the next one due. Raises LeaseLost."""
    query = text("""
        UPDATE analysis.report SET claim = NULL, lease_until = NULL, attempts = 0, error = NULL,
          ran_at = :now, issues = issues + 1, next_at = :next,
          asked_at = nullif(asked_at, :asked), due_at = least(:next, nullif(asked_at, :asked))
        WHERE id = :id AND claim = :token RETURNING issues""")
    mine = {"id": report.id, "token": report.claim, "asked": report.asked_at}
    number = db.scalar(query, {**mine, "next": due, "now": now})
    if number is None:
        raise LeaseLost
    store = text("""
        INSERT INTO analysis.report_issue (report_id, number, tenant_id, start_at, end_at, made_at,
          html, pdf)
        VALUES (:id, :number, :tenant, :start_at, :end_at, :now, :html, :pdf)""")
    more = {"id": report.id, "number": number, "tenant": report.tenant_id, "now": now}
    db.execute(store, {**issue, **more})
    old = "DELETE FROM analysis.report_issue WHERE report_id = :id AND number <= :number - :kept"
    db.execute(text(old), {**more, "kept": ISSUES_MAX})


def material(
    db: Connection, tenant: UUID, start_ms: int, end_ms: int
) -> tuple[list[tuple[str, str]], list[RowMapping], Counter[str], int]:
    """What is stored of the period: enabled watches (name, query), the largest events and how many
    there were of each kind, and the runs of analyses.
    """
    mine = {"tenant": tenant, "start": start_ms, "end": end_ms}
    watches = """
        SELECT name, query FROM analysis.watch WHERE tenant_id = :tenant AND enabled
        ORDER BY name LIMIT 50"""
    events = """
        FROM analysis.event WHERE tenant_id = :tenant AND start_ms >= :start AND start_ms < :end"""
    runs = """
        SELECT coalesce(sum(runs), 0) FROM analysis.usage_hour WHERE tenant_id = :tenant
          AND hour >= to_timestamp(:start / 1000.0) AND hour < to_timestamp(:end / 1000.0)"""
    largest = f"SELECT watch, labels, kind, start_ms, text {events} ORDER BY size DESC LIMIT 10"
    kinds = db.execute(text(f"SELECT kind, count(*) {events} GROUP BY kind"), mine)
    return (
        [(row.name, row.query) for row in db.execute(text(watches), mine)],
        list(db.execute(text(largest), mine).mappings()),
        Counter({kind: count for kind, count in kinds}),
        int(db.scalar(text(runs), mine) or 0),
    )


def issues(db: Connection, tenant: UUID, identity: UUID) -> Sequence[RowMapping]:
    """The issues of a report, the newest first, without their content; raises ReportNotFound."""
    get(db, tenant, identity)
    query = text("""
        SELECT number, start_at, end_at, made_at FROM analysis.report_issue
        WHERE report_id = :id ORDER BY number DESC""")
    return db.execute(query, {"id": identity}).mappings().all()


def issue(db: Connection, tenant: UUID, identity: UUID, number: int, form: str) -> bytes:
    """An issue as `html` or `pdf`; raises ReportNotFound."""
    assert form in {"html", "pdf"}
    query = text(f"""
        SELECT {form} FROM analysis.report_issue
        WHERE tenant_id = :tenant AND report_id = :id AND number = :number""")  # noqa: S608  two names of ours
    content = db.scalar(query, {"tenant": tenant, "id": identity, "number": number})
    if content is None:
        raise ReportNotFound(id=identity, issue=number)
    return bytes(content)
