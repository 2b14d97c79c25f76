"""One round of rollups over all tenants: days that are due are written, then registered.

    lock tenant ─▶ list ─▶ plan ─▶ load, roll up, write objects ─▶ register + replace ─▶ commit
    └──────────────────────────────── one transaction ─────────────────────────────────────────┘

As in compaction, whose lock it takes: a kill leaves the old state and perhaps an orphan.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import structlog
from prometheus_client import Counter

from data_ingest.retention.plan import cutoff_ms
from data_ingest.rollups.plan import RollupRef, days_due
from data_ingest.rollups.writing import write_rollups
from data_ingest.store import catalogue
from data_ingest.store.objects import ObjectStore
from data_ingest.store.rewriting import CorruptBlock

RUN_TIMEOUT_S: Final = 900.0
DAYS_A_ROUND: Final = 16
"""Of one tenant, so that others have their turn."""
COMPACTION_LATE: Final = timedelta(minutes=3)
"""Age of a batch that compaction has not come to: then rollups leave the tenant to it."""

log = structlog.get_logger()
DAYS: Final = Counter("cloudopshub_rollup_days_total", "Days rolled up, by outcome.", ["outcome"])

_TENANTS = """
SELECT tenant_id, (SELECT retention_days FROM metrics.tenant AS t WHERE t.tenant_id = b.tenant_id)
  FROM metrics.block AS b WHERE replaced_by IS NULL GROUP BY tenant_id ORDER BY tenant_id
"""
# Compaction takes the same lock, and only tries: it must find it free.
_WAITS = """
SELECT EXISTS (SELECT FROM metrics.batch WHERE tenant_id = $1 AND compacted_by IS NULL
                  AND received_at < now() - $2::interval)
"""
_LIVE = """
SELECT block_id, resolution_ms, precedence, max_ts FROM metrics.block
 WHERE tenant_id = $1 AND replaced_by IS NULL AND resolution_ms > 0
"""


async def roll_up_due(
    conn: Any,
    objects: ObjectStore,
    resolutions_ms: Sequence[int],
    default_days: int | None,
    now_ms: int,
) -> bool:
    """Up to DAYS_A_ROUND days of each tenant are rolled up; whether more may be due.

    One tenant's failure is its own. default_days: the retention of tenants whose plan is not known.
    conn: outside of a transaction.
    """
    is_behind = False
    for row in await conn.fetch(_TENANTS):
        tenant = row["tenant_id"]
        cutoff = cutoff_ms(now_ms, row["retention_days"], default_days)
        try:
            for _ in range(DAYS_A_ROUND):
                async with asyncio.timeout(RUN_TIMEOUT_S):
                    if not await _roll_up(conn, objects, tenant, resolutions_ms, now_ms, cutoff):
                        break
            else:
                is_behind = True
        except Exception:
            DAYS.labels("failed").inc()
            if conn.is_closed():
                raise
            log.exception("rollup_failed", tenant=str(tenant))
    return is_behind


async def _roll_up(  # noqa: PLR0917 - as the round has them
    conn: Any,
    objects: ObjectStore,
    tenant: UUID,
    resolutions_ms: Sequence[int],
    now_ms: int,
    cutoff: int | None,
) -> bool:
    """The newest day that is due is rolled up, or a block of it that is corrupt quarantined.

    False when none is due, batches of the tenant wait for compaction, or another process compacts.
    """
    async with conn.transaction():
        if await conn.fetchval(_WAITS, tenant, COMPACTION_LATE):
            return False
        if not await catalogue.lock_tenant(conn, tenant):
            return False
        blocks = await catalogue.live_blocks(conn, tenant)
        rollups = [RollupRef(**row) for row in await conn.fetch(_LIVE, tenant)]
        due = days_due(blocks, rollups, resolutions_ms, now_ms, cutoff)
        if not due:
            return False
        try:
            made = await anyio.to_thread.run_sync(
                write_rollups,
                objects,
                tenant,
                due[0],
                resolutions_ms,
                await catalogue.deleted_series(conn, tenant),
                abandon_on_cancel=True,
            )
        except CorruptBlock as corrupt:
            await catalogue.quarantine(conn, tenant, corrupt.facts["block_id"])
            log.error("block_quarantined", tenant=str(tenant), reason=str(corrupt), **corrupt.facts)  # noqa: TRY400 - our own error
            return True
        run_id = await catalogue.next_run(conn)
        await catalogue.register(conn, tenant, run_id, made)
        await catalogue.replace_blocks(conn, tenant, run_id, due[0].replaced)
    DAYS.labels("committed").inc()
    log.info(
        "rolled_up",
        tenant=str(tenant),
        run_id=run_id,
        blocks=len(due[0].blocks),
        samples=made[0].samples,
        bytes=sum(one.bytes for one in made),
    )
    return True
