"""Upkeep of the store: partitions of `batch` made and dropped, objects without use deleted.

    partition ── all compacted, 15 minutes past its end ── DETACH CONCURRENTLY ── checked ── DROP
    block ────── replaced 15 minutes ago ─── object deleted ── row deleted
    object ───── in no row, an hour old, no run under way ──── deleted
    exemplar ─── not among a tenant's newest, or too old ───── deleted

Detaching concurrently waits for every transaction that may still read the partition and holds up
nobody meanwhile; a plain DROP would block the writers while it waits.
Source: docs/contracts.md, section 3; PostgreSQL manual, ALTER TABLE.
"""

from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import anyio
import asyncpg
import structlog

from data_ingest.limits import DAY_MS
from data_ingest.store import catalogue, tables
from data_ingest.store.objects import TEMPORARY_PREFIX, ObjectStore
from data_ingest.store.partitions import attach, ensure_partitions, partitions_needed, span_of

GRACE: Final = timedelta(minutes=15)
"""Longer than any query runs, so no snapshot lists what is deleted."""
ORPHAN_AGE_MS: Final = 3_600_000
"""Longer than any compaction run (`runs.RUN_TIMEOUT_S`).

Age alone proves nothing (a machine may sleep in the middle of a run), so the sweep holds the
tenant's compaction lock as well.
"""
TENANT_CHARACTERS: Final = 36
DETACH_TIMEOUT_S: Final = 60
EXEMPLARS_MAX: Final = 100_000
EXEMPLAR_DAYS: Final = 30

log = structlog.get_logger()

_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended('metrics upkeep', 0))"
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended('metrics upkeep', 0))"
# Every partition that is attached, half detached, or detached and not yet dropped.
_PARTITIONS: Final = """
SELECT c.relname AS name, i.inhrelid IS NOT NULL AS is_attached,
       coalesce(i.inhdetachpending, false) AS is_pending
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'metrics.batch'::regclass
 WHERE n.nspname = 'metrics' AND c.relkind = 'r' AND c.relname ~ '^batch_[0-9]{12}$'
 ORDER BY c.relname
"""
_REPLACED: Final = """
SELECT block_id, object_key FROM metrics.block
 WHERE replaced_at < now() - $1::interval ORDER BY replaced_at LIMIT 1000
"""
_DELETE_BLOCKS: Final = (
    "DELETE FROM metrics.block WHERE block_id = ANY($1::bigint[]) AND replaced_by IS NOT NULL"
)
_TENANTS_COMPACTED: Final = "SELECT DISTINCT tenant_id FROM metrics.usage_hour"
# Of blocks, live or replaced, and of imports that have not ended.
_OBJECTS: Final = """
SELECT object_key FROM metrics.block WHERE tenant_id = $1
UNION ALL
SELECT object_key FROM metrics.import WHERE tenant_id = $1 AND finished_at IS NULL
"""


async def keep_partitions(conn: Any, now: datetime) -> list[str]:
    """The partitions of the next hours exist; those that are past and compacted are dropped.

    Returns the names of the dropped ones. conn: outside of a transaction.
    """
    await ensure_partitions(conn, now)
    if not await conn.fetchval(_LOCK):
        return []
    try:
        dropped = []
        needed = set(partitions_needed(now))
        for row in await conn.fetch(_PARTITIONS):
            is_past = span_of(row["name"])[1] + GRACE <= now and row["name"] not in needed
            try:
                if is_past and await _drop(conn, *row):
                    dropped.append(row["name"])
            except asyncpg.QueryCanceledError:
                # A reader takes longer than the timeout. Postgres allows one half detached
                # partition, so the others wait with it until the next round. A query still sees
                # everything: all rows of this one are in blocks.
                log.warning("partition_still_read", partition=row["name"])
                break
        return dropped
    finally:
        await conn.fetchval(_UNLOCK)


async def _drop(conn: Any, name: str, is_attached: bool, is_pending: bool) -> bool:
    if is_attached and not is_pending and await _has_live(conn, name):
        return False
    await conn.execute(f"SET statement_timeout = '{DETACH_TIMEOUT_S}s'")
    try:
        if is_attached:
            how = "FINALIZE" if is_pending else "CONCURRENTLY"
            await conn.execute(f"ALTER TABLE metrics.batch DETACH PARTITION metrics.{name} {how}")
    finally:
        await conn.execute("RESET statement_timeout")
    # A transaction as old as the partition may have committed just before it was detached.
    if await _has_live(conn, name):
        await attach(conn, name)
        return False
    await conn.execute(f"DROP TABLE metrics.{name}")
    log.info("partition_dropped", partition=name)
    return True


async def _has_live(conn: Any, name: str) -> bool:
    live = f"SELECT EXISTS (SELECT FROM metrics.{name} WHERE compacted_by IS NULL)"  # noqa: S608 - a name of ours
    return bool(await conn.fetchval(live))


async def delete_replaced(conn: Any, objects: ObjectStore) -> int:
    """Objects of blocks replaced over GRACE ago are deleted, then their rows; how many."""
    deleted = 0
    while rows := await conn.fetch(_REPLACED, GRACE):
        for row in rows:
            await anyio.to_thread.run_sync(objects.delete, row["object_key"])
        await conn.execute(_DELETE_BLOCKS, [row["block_id"] for row in rows])
        deleted += len(rows)
    return deleted


async def sweep_orphans(conn: Any, objects: ObjectStore, now_ms: int) -> int:
    """Objects that no row names and that are over ORPHAN_AGE_MS old are deleted; how many."""
    deleted = 0
    tenants = {str(tenant) for (tenant,) in await conn.fetch(_TENANTS_COMPACTED)}
    old = await anyio.to_thread.run_sync(_old, objects, now_ms, tenants)
    for tenant, keys in groupby(old, key=lambda key: key[:TENANT_CHARACTERS]):
        deleted += await _sweep(conn, objects, UUID(tenant), set(keys))
    if deleted:
        log.info("orphans_swept", objects=deleted)
    return deleted


async def _sweep(conn: Any, objects: ObjectStore, tenant: UUID, keys: set[str]) -> int:
    """Those of `keys` that no row names are deleted, unless a compaction runs; how many."""
    async with conn.transaction():
        if not await catalogue.lock_tenant(conn, tenant):
            return 0
        orphans = keys.difference(key for (key,) in await conn.fetch(_OBJECTS, tenant))
        for key in orphans:
            await anyio.to_thread.run_sync(objects.delete, key)
        return len(orphans)


def _old(objects: ObjectStore, now_ms: int, tenants: set[str]) -> list[str]:
    """Keys, ascending, of objects, finished or not, that this database's dis wrote over
    ORPHAN_AGE_MS ago.

    A bucket may hold other files, and other databases' blocks.
    """
    keys = []
    for facts in objects.list():
        name = facts.key.rpartition("/")[2]
        is_ours = facts.key[:TENANT_CHARACTERS] in tenants and (
            name.endswith((".parquet", ".upload")) or name.startswith(TEMPORARY_PREFIX)
        )
        if is_ours and facts.modified_ms < now_ms - ORPHAN_AGE_MS:
            keys.append(facts.key)
    return sorted(keys)


async def trim_exemplars(conn: Any, now_ms: int, exemplars_max: int = EXEMPLARS_MAX) -> None:
    """Each tenant has its newest `exemplars_max`, none older than EXEMPLAR_DAYS or its plan.

    What fails for one tenant is logged, and tried again in the next round.
    """
    for tenant, plan_days in await conn.fetch(tables.TENANTS_WITH_EXEMPLARS):
        min_ms = now_ms - min(plan_days or EXEMPLAR_DAYS, EXEMPLAR_DAYS) * DAY_MS
        try:
            await conn.execute(tables.TRIM_EXEMPLARS, tenant, exemplars_max, min_ms)
        except (asyncpg.PostgresError, TimeoutError) as exc:
            log.warning("exemplars_not_trimmed", tenant=str(tenant), error=str(exc))
