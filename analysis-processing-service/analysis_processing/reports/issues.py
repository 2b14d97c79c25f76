"""Whoever has issues of reports made: each a job of kind `report`, queued once.

    due ─▶ watches ─▶ one query ─▶ ONE transaction: next_at moves on, the job is queued

Runs in any replica of the web process, in a worker thread. A report that is late by several periods
has one issue, of the last of them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import anyio.from_thread
import anyio.to_thread
import structlog
from sqlalchemy import Engine

from analysis_processing.analyses import resolved_params
from analysis_processing.analyses.report import SECTION
from analysis_processing.chassis.kinds import ServiceError
from analysis_processing.clients.http import Door
from analysis_processing.errors import Refused
from analysis_processing.jobs import repository
from analysis_processing.jobs.claims import TimeOf
from analysis_processing.jobs.database import transaction
from analysis_processing.model import Job, Request
from analysis_processing.reports import store
from analysis_processing.reports.store import LENGTHS, Report, period
from analysis_processing.settings import Settings
from analysis_processing.watch.defaults import DEFAULTS, instant

STEPS_MS = {"day": 600_000, "week": 3_600_000, "month": 14_400_000}
QUERY_MAX = 16_000
ROOM = ("host: memory available", "host: disk available")
log = structlog.get_logger()


def question(every: str, watches: list[tuple[str, str]]) -> str:
    """PromQL: the series of all sections; as many watches as there is room for."""
    step = f"{STEPS_MS[every] // 1000}s"
    parts = [
        marked("vector(1)", SECTION, "none"),  # a report without data is one, too
        marked(f"avg by (job, service) (avg_over_time(up[{step}]))", SECTION, "availability"),
        marked(f"sum(sum_over_time(scrape_samples_scraped[{step}]))", SECTION, "usage"),
    ]
    for one in DEFAULTS:
        if one.name in ROOM:
            room = marked(one.query.format(metric=one.pattern), "of", one.name)
            parts.append(marked(room, SECTION, "capacity"))
    for name, query in watches:
        part = marked(query, "watch", name)
        if len(" or ".join([*parts, part])) <= QUERY_MAX:
            parts.append(part)
    return " or ".join(parts)


def marked(query: str, label: str, value: str) -> str:
    """The query, its series with one more label."""
    text = json.dumps(value.replace("$", "$$"), ensure_ascii=False)
    return f'label_replace({query}, "{label}", {text}, "", "")'


def request_of(report: Report, query: str, now: datetime) -> Request:
    """The job of an issue: its period is the second half of the range, which has whole steps."""
    every, step_ms = report.every, STEPS_MS[report.every]
    start, end, _ = period(every, report.hour, now - repository.SETTLED)
    if report.next_at is None:
        start, end = now - LENGTHS[every], now
    end_ms = int(end.timestamp()) // 60 * 60_000
    steps = round((end - start).total_seconds()) * 1000 // step_ms
    params = resolved_params("report", {"title": f"Report of the {every}"}, step_ms)
    return Request("report", query, end_ms - (2 * steps - 1) * step_ms, end_ms, step_ms, params)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Queues issues. das: a tenant's door."""

    engine: Engine
    clock: TimeOf
    das: Callable[[UUID], Door]
    settings: Settings

    def round(self) -> None:
        """Each report that was due is queued, unless das is away or the tenant's queue is full."""
        with transaction(self.engine) as db:
            reports = store.due(db, self.clock(db))
        for report in reports:
            try:
                self.make(report)
            except ServiceError as error:
                log.warning("report_waits", tenant=str(report.tenant_id), reason=str(error))

    def make(self, report: Report) -> Job | None:
        """The job of an issue; None when it was not due any more.

        Where das refuses the query of a watch, it is about no watch. Raises TooManyJobs,
        Unreachable.
        """
        every, tenant = report.every, report.tenant_id
        with transaction(self.engine) as db:
            query = question(every, store.watches(db, tenant))
        try:
            anyio.from_thread.run(instant, self.das(tenant), query)
        except Refused as error:
            log.warning("report_without_watches", tenant=str(tenant), reason=str(error))
            query = question(every, [])
        most = self.settings.unfinished_jobs_max
        with transaction(self.engine) as db:
            now = self.clock(db)
            if report.next_at is not None and not store.move_on(db, report, now):
                return None
            request = request_of(report, query, now)
            return repository.submit(
                db, tenant, request, "service:aps", now=now, unfinished_max=most
            )[0]
