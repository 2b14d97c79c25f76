"""What queries read is counted and reported to user-billing-service (ubs), hour by hour.

    query ends ─▶ add: this process' total ── each FLUSH_S ──▶ rules.query_usage, a row a process
                                              sum over processes ── each DELIVERY_S ──▶ ubs

A process writes its total, not what was added, so a flush whose answer was lost is repeated without
harm; a process that is killed loses what it has not flushed. Totals only grow, so their sum is also
the revision of the hour's report. Source: docs/adr/0028-usage-delivery.md, 0039-metering.md.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
from prometheus_client import Counter

from data_api.chassis.clock import Clock
from data_api.chassis.database import Schema
from data_api.chassis.identity.billing import Billing
from data_api.chassis.kinds import ServiceError
from data_api.chassis.postgres_async import translating
from data_api.store.catalogue import Database

FLUSH_S: Final = 5.0
DELIVERY_S: Final = 60.0
PAGE: Final = 50
"""Reports in one request."""
HOUR_MS: Final = 3_600_000
_SCHEMA: Final = Schema("rules", "data_api.migrate")

_KEEP: Final = """
INSERT INTO rules.query_usage AS kept (tenant_id, hour, process, samples)
SELECT tenant_id, hour, $3, samples
  FROM unnest($1::uuid[], $2::timestamptz[], $4::bigint[]) AS counted (tenant_id, hour, samples)
ON CONFLICT (tenant_id, hour, process) DO UPDATE
   SET samples = greatest(kept.samples, excluded.samples)
"""
_DUE: Final = """
SELECT tenant_id, hour, sum(samples)::bigint AS samples,
       array_agg(process) AS processes, array_agg(samples) AS by_process
  FROM rules.query_usage
 WHERE (tenant_id, hour) IN (SELECT tenant_id, hour FROM rules.query_usage
                              WHERE delivered < samples GROUP BY hour, tenant_id
                              ORDER BY hour, tenant_id LIMIT $1)
 GROUP BY hour, tenant_id ORDER BY hour, tenant_id
"""
_DELIVERED: Final = """
UPDATE rules.query_usage AS kept SET delivered = told.samples
  FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::bigint[])
       AS told (tenant_id, hour, process, samples)
 WHERE kept.tenant_id = told.tenant_id AND kept.hour = told.hour
   AND kept.process = told.process AND kept.delivered < told.samples
"""
# Older hours are refused by ubs as later than any period that can be corrected.
_PRUNE: Final = "DELETE FROM rules.query_usage WHERE hour < now() - interval '100 days'"
# What was read before was flushed, unless a process cannot reach Postgres: that comes late.
_COMPLETE_THROUGH: Final = "SELECT now() - interval '2 minutes'"

log = structlog.get_logger()
REPORTS: Final = Counter(
    "cloudopshub_usage_reports_total", "Hours of usage reported to ubs, by its answer.", ["outcome"]
)


class QueryUsage:
    """The samples that this process' queries read, by tenant and hour; of one event loop."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._process = uuid4()
        self._totals: dict[tuple[UUID, int], int] = defaultdict(int)
        self._flushed: dict[tuple[UUID, int], int] = {}

    def add(self, tenant: UUID, samples: int) -> None:
        """A query that read so many samples has ended."""
        if samples:
            self._totals[tenant, self._hour_ms()] += samples

    async def flush(self) -> None:
        """What was counted is in Postgres. Raises DatabaseUnavailable; then it is tried again."""
        counted = {
            key: total for key, total in self._totals.items() if self._flushed.get(key) != total
        }
        if counted:
            tenants = [tenant for tenant, _ in counted]
            hours = [datetime.fromtimestamp(hour_ms / 1000, UTC) for _, hour_ms in counted]
            with translating(_SCHEMA):
                async with self._database.acquire() as conn:
                    await conn.execute(_KEEP, tenants, hours, self._process, [*counted.values()])
            self._flushed |= counted
        over_ms = self._hour_ms() - HOUR_MS  # the hour before stays: a clock may be set back
        for key in [key for key in self._flushed if key[1] < over_ms]:
            if self._flushed.pop(key) == self._totals[key]:
                del self._totals[key]

    async def run(self) -> None:
        """Flushed each FLUSH_S until cancelled; an outage of Postgres ends nothing."""
        await repeat(self.flush, FLUSH_S)

    def _hour_ms(self) -> int:
        now_ms = self._clock.now_ms()
        return now_ms - now_ms % HOUR_MS


async def repeat(work: Callable[[], Awaitable[object]], pause_s: float) -> None:
    """`work` is done each `pause_s` until cancelled; a service that is away is logged."""
    while True:
        await asyncio.sleep(pause_s)
        try:
            await work()
        except ServiceError as exc:
            log.warning("usage_waits", reason=str(exc))


async def deliver(database: Database, billing: Billing) -> int:
    """Every hour that is due is reported; how many. Raises IdentityUnavailable without an answer
    and DatabaseUnavailable; what was answered for until then stays so.
    """
    delivered, is_last = 0, False
    with translating(_SCHEMA):
        async with database.acquire() as conn:
            complete_through = await conn.fetchval(_COMPLETE_THROUGH)
            while not is_last:
                rows = await conn.fetch(_DUE, PAGE)
                is_last = len(rows) < PAGE
                body: dict[str, Any] = {"source": "das", "reports": [report(row) for row in rows]}
                if is_last:
                    body["complete_through"] = complete_through.isoformat()
                answer = await billing.ask("POST", "/internal/usage", json=body)
                for row, outcome in zip(rows, answer["outcomes"], strict=True):
                    REPORTS.labels(outcome).inc()
                    if outcome in {"conflict", "unknown"}:
                        log.warning("usage_not_taken", outcome=outcome, **report(row))
                delivered_rows = [
                    (row["tenant_id"], row["hour"], process, samples)
                    for row in rows
                    for process, samples in zip(row["processes"], row["by_process"], strict=True)
                ]
                columns: list[Any] = list(zip(*delivered_rows, strict=True)) or [[]] * 4
                await conn.execute(_DELIVERED, *columns)
                delivered += len(rows)
            await conn.execute(_PRUNE)
    return delivered


def report(row: Mapping[str, Any]) -> dict[str, Any]:
    """One hour of a tenant as ubs takes it."""
    return {
        "tenant": str(row["tenant_id"]),
        "hour": row["hour"].isoformat(),
        "revision": row["samples"],
        "meters": {"query_samples": {"quantity": str(row["samples"])}},
    }
