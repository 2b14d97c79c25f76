"""One round over all tenants: what was deleted goes, then what is past by the plan's days."""

import asyncio
from typing import Any, Final
from uuid import UUID

import structlog
from prometheus_client import Counter

from data_ingest.retention import blocks, deletion, plan, series
from data_ingest.store.objects import ObjectStore

TENANT_TIMEOUT_S: Final = 900.0
REWRITES_A_ROUND: Final = 4
SERIES_ROUNDS_MAX: Final = 100
"""Transactions of one tenant in a round, so that the others have their turn."""

log = structlog.get_logger()
FAILURES: Final = Counter(
    "cloudopshub_retention_failures_total", "Tenants whose round of retention failed."
)

# A tenant whose plan no writer has seen is in the table all the same, so that its series go after
# its last block has gone.
_ENTER = """
INSERT INTO metrics.tenant (tenant_id) SELECT DISTINCT tenant_id FROM metrics.block
ON CONFLICT DO NOTHING
"""
_TENANTS = """
SELECT tenant_id, retention_days, EXISTS (SELECT FROM metrics.deleted_series AS noted
                                           WHERE noted.tenant_id = tenant.tenant_id) AS has_deleted
  FROM metrics.tenant ORDER BY tenant_id
"""


async def keep_retention(
    conn: Any, objects: ObjectStore, default_days: int | None, now_ms: int
) -> None:
    """What is past is on its way out; one tenant's failure is its own.

    default_days: for tenants whose plan is not known; None keeps all. conn: outside of a
    transaction.
    """
    await conn.execute(_ENTER)
    for row in await conn.fetch(_TENANTS):
        cutoff = plan.cutoff_ms(now_ms, row["retention_days"], default_days)
        try:
            async with asyncio.timeout(TENANT_TIMEOUT_S):
                if cutoff is not None:
                    await _keep(conn, objects, row["tenant_id"], cutoff)
                if row["has_deleted"]:
                    await deletion.remove_deleted(conn, objects, row["tenant_id"])
        except Exception:
            FAILURES.inc()
            if conn.is_closed():
                raise
            log.exception("retention_failed", tenant=str(row["tenant_id"]))


async def _keep(conn: Any, objects: ObjectStore, tenant: UUID, cutoff: int) -> None:
    await blocks.delete_past(conn, tenant, cutoff)
    for _ in range(REWRITES_A_ROUND):
        if not await blocks.rewrite_mostly_past(conn, objects, tenant, cutoff):
            break
    for _ in range(SERIES_ROUNDS_MAX):
        if await series.delete_past(conn, tenant, cutoff) < series.DELETED_MAX:
            break
