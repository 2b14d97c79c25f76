"""Series without samples lose their row, and no writer uses their ids again.

    candidates: `last_ms` is past ── minus those in live batches ─┐
    ┌─ nobody commits a batch of the tenant ──────────────────────┘
    │  minus those in batches committed meanwhile ── delete, count the deletion
    └─ writers go on: their batches fail where ids were looked up before the deletion

`last_ms` is at or after each sample that blocks have of a series (`Reach`); what no block has yet,
live batches have. Source: docs/adr/0018-usage-and-retention.md.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import asyncpg
import numpy as np
import structlog

from data_ingest import batch
from data_ingest.limits import DAY_MS
from data_ingest.model import I64
from data_ingest.store import catalogue

DELETED_MAX: Final = 10_000
"""Series in one transaction, during which no batch of the tenant commits."""
BATCHES_AT_ONCE: Final = 64
WRITERS_TIMEOUT_S: Final = 2
"""How long it waits for writers, who wait behind it."""
REACH_IDS_MAX: Final = 16_000_000

log = structlog.get_logger()

_CANDIDATES = """
SELECT series_id FROM metrics.series WHERE tenant_id = $1 AND last_ms < $2 ORDER BY last_ms LIMIT $3
"""
_LIVE_BATCHES = """
SELECT batch_id FROM metrics.batch WHERE tenant_id = $1 AND compacted_by IS NULL
"""
_PAYLOADS = """
SELECT payload FROM metrics.batch
 WHERE tenant_id = $1 AND compacted_by IS NULL AND batch_id = ANY($2::bigint[])
"""
# The row first: a writer that changes it holds no batch yet, so neither waits for the other.
_COUNT_DELETION = """
INSERT INTO metrics.tenant AS kept (tenant_id, series_deletions) VALUES ($1, 1)
ON CONFLICT (tenant_id) DO UPDATE SET series_deletions = kept.series_deletions + 1
"""
_WAIT_FOR_WRITERS = "SELECT pg_advisory_xact_lock(hashtextextended('series:' || $1::text, 0))"
_DELETE = "DELETE FROM metrics.series WHERE tenant_id = $1 AND series_id = ANY($2::bigint[])"
_EXTEND = """
UPDATE metrics.series SET last_ms = $3
 WHERE tenant_id = $1 AND series_id = ANY($2::bigint[]) AND last_ms < $3
"""


async def delete_past(conn: Any, tenant: UUID, cutoff: int) -> int:
    """Up to DELETED_MAX series without a sample from `cutoff` on have no row; how many.

    0 also while another process compacts the tenant, or a writer takes long: the next round comes.
    """
    try:
        async with conn.transaction():
            if not await catalogue.lock_tenant(conn, tenant):
                return 0
            rows = await conn.fetch(_CANDIDATES, tenant, cutoff, DELETED_MAX)
            ids = np.array(sorted(row["series_id"] for row in rows), np.int64)
            seen: set[int] = set()
            ids = await _without_live(conn, tenant, ids, seen)
            if not ids.size:
                return 0
            await stop_writers(conn, tenant)
            ids = await _without_live(conn, tenant, ids, seen)
            await delete_rows(conn, tenant, ids)
    except asyncpg.LockNotAvailableError:
        log.info("series_kept_for_now", tenant=str(tenant), reason="a writer takes long")
        return 0
    log.info("series_past_retention", tenant=str(tenant), series=ids.size, before_ms=cutoff)
    return int(ids.size)


async def stop_writers(conn: Any, tenant: UUID) -> None:
    """No batch of the tenant commits until this transaction ends, nor later one with ids that were
    looked up before. Raises LockNotAvailableError when a writer takes over WRITERS_TIMEOUT_S.
    """
    await conn.execute(f"SET LOCAL lock_timeout = '{WRITERS_TIMEOUT_S}s'")
    await conn.execute(_COUNT_DELETION, tenant)
    await conn.execute(_WAIT_FOR_WRITERS, str(tenant))


async def delete_rows(conn: Any, tenant: UUID, series_ids: I64) -> None:
    """These series have no row any more. conn: after `stop_writers`."""
    await conn.execute(_DELETE, tenant, series_ids.tolist())


async def _without_live(conn: Any, tenant: UUID, ids: I64, seen: set[int]) -> I64:
    """Those of `ids` (ascending) that no live batch has, those in `seen` aside; they are all seen
    from here on.
    """
    if not ids.size:
        return ids
    live = [row["batch_id"] for row in await conn.fetch(_LIVE_BATCHES, tenant)]
    new = [batch_id for batch_id in live if batch_id not in seen]
    for at in range(0, len(new), BATCHES_AT_ONCE):
        rows = await conn.fetch(_PAYLOADS, tenant, new[at : at + BATCHES_AT_ONCE])
        payloads = [row["payload"] for row in rows]
        ids = await anyio.to_thread.run_sync(_without, ids, payloads)
    seen.update(new)
    return ids


def _without(ids: I64, payloads: Iterable[bytes]) -> I64:
    for payload in payloads:
        ids = np.setdiff1d(ids, batch.unpack(payload).series_ids)
    return ids


class Reach:
    """Moves `last_ms` of series on, to the end of a day, so each at most once a day.

    One for each connection: another server may not have what this one was told.
    """

    def __init__(self) -> None:
        self._reached: dict[UUID, tuple[int, I64]] = {}

    async def extend(
        self, conn: Any, tenant: UUID, series_ids: I64, max_ms: int
    ) -> Callable[[], None]:
        """`last_ms` of these series (ascending) is at or after `max_ms`, once the caller's
        transaction commits; what is returned is to be called then.
        """
        last_ms = max_ms - max_ms % DAY_MS + DAY_MS - 1
        reached_ms, reached = self._reached.get(tenant, (0, series_ids[:0]))
        if reached_ms >= last_ms:
            series_ids = np.setdiff1d(series_ids, reached, assume_unique=True)
        if series_ids.size:
            await conn.execute(_EXTEND, tenant, series_ids.tolist(), last_ms)

        def remember() -> None:
            if last_ms > reached_ms:
                self._reached[tenant] = last_ms, series_ids
            elif last_ms == reached_ms and series_ids.size:
                self._reached[tenant] = last_ms, np.union1d(reached, series_ids)
            if sum(ids.size for _, ids in self._reached.values()) > REACH_IDS_MAX:
                self._reached.clear()

        return remember
