"""One round of rollups over all tenants: days that are due are written, then registered.

A day is one transaction, as in compaction, whose lock it takes (`store.runs`).
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from prometheus_client import Counter

from data_ingest.retention.plan import cutoff_ms
from data_ingest.rollups.plan import days_due
from data_ingest.rollups.writing import write_rollups
from data_ingest.store import catalogue, runs
from data_ingest.store.objects import ObjectStore

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
    for tenant, plan_days in await conn.fetch(_TENANTS):
        cutoff = cutoff_ms(now_ms, plan_days, default_days)
        for _ in range(DAYS_A_ROUND):
            made = False
            async with runs.contained(conn, tenant, "rollup_failed", DAYS.labels("failed")):
                made = await _roll_up(conn, objects, tenant, resolutions_ms, now_ms, cutoff)
            if not made:
                break
        else:
            is_behind = True
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
        rollups = await catalogue.live_blocks(conn, tenant, rollups=True)
        due = days_due(blocks, rollups, resolutions_ms, now_ms, cutoff)
        if not due:
            return False
        day = due[0]
        deleted = await catalogue.deleted_series(conn, tenant)
        made = await runs.unless_corrupt(
            conn, tenant, write_rollups, objects, tenant, day, resolutions_ms, deleted
        )
        if made is None:
            return True
        run_id = await catalogue.exchange(conn, tenant, made, day.replaced)
    DAYS.labels("committed").inc()
    log.info(
        "rolled_up", tenant=str(tenant), run_id=run_id, blocks=len(day.blocks),
        samples=made[0].samples, bytes=sum(one.bytes for one in made),
    )  # fmt: skip
    return True
