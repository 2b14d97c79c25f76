"""Makes one issue of a report, in a child of the worker.

    what is stored, what das answers ─▶ sections ─▶ page and PDF ─▶ ONE transaction: issue, next_at

Killed before the transaction, nothing happened. A report that is late by several periods has one
issue, of the last of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

import anyio.to_thread
import structlog
from sqlalchemy import Connection, Engine

from analysis_processing.chassis.kinds import ServiceError
from analysis_processing.clients.http import Door
from analysis_processing.jobs.claims import LeaseLost, TimeOf
from analysis_processing.jobs.database import transaction
from analysis_processing.reports import content, document, store
from analysis_processing.reports.schedule import SPANS
from analysis_processing.reports.store import SETTLE, Report
from analysis_processing.watch import claims

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes what is claimed. das: a tenant's door."""

    engine: Engine
    clock: TimeOf
    das: Callable[[UUID], Door]

    async def run(self, report: Report) -> None:
        """The issue is stored, or waits for another attempt.

        Raises LeaseLost when somebody else has the report, DatabaseUnavailable.
        """
        try:
            await self._run(report)
        except LeaseLost:
            raise
        except Exception as error:
            reason = f"an unexpected {type(error).__name__}; the log has it"
            if isinstance(error, ServiceError):
                reason = str(error)
            log.exception("report_waits", report=str(report.id))
            again = partial(claims.try_again, token=report.claim, error=reason, queue=store.QUEUE)
            await self._in_transaction(lambda db, now: again(db, now=now))

    async def _run(self, report: Report) -> None:
        now = await self._in_transaction(lambda _db, now: now)
        due, end = report.next_at, report.asked_at
        if end is None:
            due = store.next_at(report.schedule, now)
            end = report.schedule.latest(now - SETTLE)
            start = report.schedule.latest(end - timedelta(microseconds=1))
        else:
            start = end - SPANS[report.every]
        period = content.Period(*(round(at.timestamp()) // 60 * 60_000 for at in (start, end)))
        stored = await self._in_transaction(
            lambda db, _now: store.material(db, report.tenant_id, period.start_ms, period.end_ms)
        )
        sections = await content.sections(self.das(report.tenant_id), period, stored)
        words = f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, made {now:%Y-%m-%d %H:%M} UTC"
        made = document.Document(report.name, words, sections)
        html = await anyio.to_thread.run_sync(document.html, made)
        pdf = await anyio.to_thread.run_sync(document.pdf, made)
        issue = {"start_at": start, "end_at": end, "html": html, "pdf": pdf}
        await self._in_transaction(lambda db, now: store.finish(db, report, issue, due, now))
        log.info("report_made", report=str(report.id), html_bytes=len(html), pdf_bytes=len(pdf))

    async def _in_transaction(self, act: Callable[[Connection, datetime], T]) -> T:
        def work() -> T:
            with transaction(self.engine) as db:
                return act(db, self.clock(db))

        return await anyio.to_thread.run_sync(work)
