"""Runs are counted as they end and reported to user-billing-service (ubs), hour by hour.

    a job succeeds ── same transaction ──▶ usage_hour: runs 7, delivered 5
                                             report of the whole hour: 7 ──▶ ubs ──▶ delivered 7

A job's result is stored once (its claim fences), so it is counted once. Runs of an hour only grow,
so they are also the revision of its report. Source: docs/adr/0028-usage-delivery.md.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import structlog
from prometheus_client import Counter
from sqlalchemy import Connection, Engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from analysis_processing.chassis.identity.billing import Billing
from analysis_processing.jobs.database import transaction
from analysis_processing.jobs.tables import usage_hour

PAGE: Final = 50
"""Reports in one request."""
SETTLED: Final = timedelta(minutes=2)
"""A transaction that noted a run before that has ended."""
KEPT: Final = timedelta(days=100)

log = structlog.get_logger()
REPORTS: Final = Counter(
    "cloudopshub_usage_reports_total", "Hours of usage reported to ubs, by its answer.", ["outcome"]
)


def count_run(db: Connection, tenant: UUID, now: datetime) -> None:
    """The tenant's hour has one more run."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    row = insert(usage_hour).values(tenant_id=tenant, hour=hour, runs=1, delivered=0)
    more = {"runs": usage_hour.c.runs + 1}
    db.execute(row.on_conflict_do_update(constraint=usage_hour.primary_key, set_=more))


def due(db: Connection) -> tuple[list[tuple[UUID, datetime, int]], datetime]:
    """The oldest hours that were not answered for, a page; and until when all runs are noted."""
    u = usage_hour.c
    query = select(u.tenant_id, u.hour, u.runs).where(u.delivered < u.runs)
    rows = db.execute(query.order_by(u.hour, u.tenant_id).limit(PAGE))
    complete_through: datetime = db.execute(select(func.now() - SETTLED)).scalar_one()
    return [(tenant, hour, runs) for tenant, hour, runs in rows], complete_through


def mark_delivered(db: Connection, rows: Sequence[tuple[UUID, datetime, int]]) -> None:
    """These hours were answered for at these runs; those too old to be corrected are gone."""
    u = usage_hour.c
    for tenant, hour, runs in rows:
        one = update(usage_hour).where(u.tenant_id == tenant, u.hour == hour, u.delivered < runs)
        db.execute(one.values(delivered=runs))
    db.execute(delete(usage_hour).where(u.hour < func.now() - KEPT))


async def deliver(engine: Engine, billing: Billing) -> int:
    """Every hour that is due is reported; how many. Raises IdentityUnavailable without an answer
    and DatabaseUnavailable; what was answered for until then stays so.
    """

    def read() -> tuple[list[tuple[UUID, datetime, int]], datetime]:
        with transaction(engine) as db:
            return due(db)

    def note(rows: Sequence[tuple[UUID, datetime, int]]) -> None:
        with transaction(engine) as db:
            mark_delivered(db, rows)

    delivered, is_last = 0, False
    while not is_last:
        rows, complete_through = await anyio.to_thread.run_sync(read)
        is_last = len(rows) < PAGE
        body: dict[str, Any] = {"source": "aps", "reports": [report(*row) for row in rows]}
        if is_last:
            body["complete_through"] = complete_through.isoformat()
        answer = await billing.ask("POST", "/internal/usage", json=body)
        for row, outcome in zip(rows, answer["outcomes"], strict=True):
            REPORTS.labels(outcome).inc()
            if outcome in {"conflict", "unknown"}:
                log.warning("usage_not_taken", outcome=outcome, **report(*row))
        await anyio.to_thread.run_sync(note, rows)
        delivered += len(rows)
    return delivered


def report(tenant: UUID, hour: datetime, runs: int) -> dict[str, Any]:
    """One hour of a tenant as ubs takes it."""
    return {
        "tenant": str(tenant),
        "hour": hour.isoformat(),
        "revision": runs,
        "meters": {"analysis_runs": {"quantity": str(runs)}},
    }
