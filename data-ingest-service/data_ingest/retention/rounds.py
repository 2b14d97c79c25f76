"""One round over all tenants: what is past by the plan's days goes, and what was deleted.

Blocks leave the catalogue at once, their objects a grace later (`upkeep`): a query that began
before still reads them, every later snapshot does not list them.
"""

from typing import Any, Final
from uuid import UUID

import structlog
from prometheus_client import Counter

from data_ingest.retention import deletion, plan, series
from data_ingest.store import catalogue, runs
from data_ingest.store.objects import ObjectStore

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
    for tenant, plan_days, has_deleted in await conn.fetch(_TENANTS):
        cutoff = plan.cutoff_ms(now_ms, plan_days, default_days)
        async with runs.contained(conn, tenant, "retention_failed", FAILURES):
            if cutoff is not None:
                await _keep(conn, objects, tenant, cutoff)
            if has_deleted:
                await deletion.remove_deleted(conn, objects, tenant)


async def _keep(conn: Any, objects: ObjectStore, tenant: UUID, cutoff: int) -> None:
    await delete_past_blocks(conn, tenant, cutoff)
    for _ in range(REWRITES_A_ROUND):
        if not await rewrite_mostly_past(conn, objects, tenant, cutoff):
            break
    for _ in range(SERIES_ROUNDS_MAX):
        if await series.delete_past(conn, tenant, cutoff) < series.DELETED_MAX:
            break


async def delete_past_blocks(conn: Any, tenant: UUID, cutoff: int) -> None:
    """Blocks with nothing to keep are not live any more.

    Not while another process compacts the tenant: the next round comes.
    """
    async with conn.transaction():
        if not await catalogue.lock_tenant(conn, tenant):
            return
        blocks = await catalogue.live_blocks(conn, tenant)
        gone = [block.block_id for block in blocks if block.max_ts < cutoff]
        if not gone:
            return
        await catalogue.exchange(conn, tenant, (), gone, cutoff)
    log.info("blocks_past_retention", tenant=str(tenant), blocks=len(gone), before_ms=cutoff)


async def rewrite_mostly_past(conn: Any, objects: ObjectStore, tenant: UUID, cutoff: int) -> bool:
    """One block that is mostly past is written anew without that; whether one was due."""
    async with conn.transaction():
        if not await catalogue.lock_tenant(conn, tenant):
            return False
        ref = plan.mostly_past(await catalogue.live_blocks(conn, tenant), cutoff)
        if ref is None:
            return False
        rewritten = await runs.rewrite(conn, objects, tenant, [ref], cutoff)
        if rewritten is None:
            return True
    left_bytes = sum(made.bytes for made in rewritten[1])
    log.info("block_without_its_past", tenant=str(tenant), bytes=left_bytes, before=ref.bytes)
    return True
