"""The catalogue of batches and blocks, as compaction reads and changes it.

One function a statement. Every `conn` is an asyncpg connection of the background's own; functions
that change rows of batches or blocks run in the caller's transaction.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np

from data_ingest.chassis.checked import Digest
from data_ingest.chassis.kinds import Kind
from data_ingest.errors import StoreError
from data_ingest.model import I64
from data_ingest.store.active_series import unpack_ids
from data_ingest.store.refs import BatchRef, BlockRef

LISTED_MAX = 10_000
CLOSE_TIMEOUT_S = 1.0
STATEMENT_TIMEOUT_S = 600.0
"""Ends the wait for a server that is gone without closing the connection."""

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('compact:' || $1::text, 0))"
# A batch stamped over a minute ahead of the clock was stamped before the clock was set back: it is
# due at once, since waiting for its time would hold back all that came after it.
_TENANTS_DUE = """
SELECT DISTINCT tenant_id FROM metrics.batch
 WHERE compacted_by IS NULL AND (received_at < now() - make_interval(secs => $1)
                                 OR received_at > now() + interval '1 minute')
"""
_TENANTS_WITH_BLOCKS = """
SELECT tenant_id FROM metrics.block WHERE replaced_by IS NULL AND resolution_ms = 0
 GROUP BY tenant_id HAVING count(*) > 1
"""
_BACKLOG = """
SELECT count(*) AS batches, coalesce(sum(samples), 0) AS samples,
       coalesce(extract(epoch FROM now() - min(received_at)), 0)::float8 AS oldest_s
  FROM metrics.batch WHERE compacted_by IS NULL
"""
_LIVE_BATCHES = """
SELECT batch_id, xid::text::bigint AS xid, samples, histogram_bytes,
       (extract(epoch FROM date_trunc('hour', received_at, 'UTC')) * 1000)::bigint AS hour_ms,
       received_at < now() - make_interval(secs => $2)
         OR received_at > now() + interval '1 minute' AS is_due
  FROM metrics.batch
 WHERE tenant_id = $1 AND compacted_by IS NULL AND xid < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY xid, batch_id LIMIT $3
"""
_PAYLOADS = """
SELECT batch_id, payload FROM metrics.batch
 WHERE tenant_id = $1 AND compacted_by IS NULL AND xid <= $2::text::xid8
   AND batch_id = ANY($3::bigint[])
"""
_MARK = """
UPDATE metrics.batch SET compacted_by = $3
 WHERE tenant_id = $1 AND compacted_by IS NULL AND xid <= $2::text::xid8
   AND batch_id = ANY($4::bigint[])
"""
_LIVE_BLOCKS = """
SELECT block_id, precedence, level, min_ts, max_ts, bytes, object_key, tail_sha256,
       quarantined_at IS NOT NULL AS is_quarantined,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_ms
  FROM metrics.block
 WHERE tenant_id = $1 AND replaced_by IS NULL AND resolution_ms = 0
   AND max_ts >= $2 AND min_ts <= $3
"""
_INSERT_BLOCK = """
INSERT INTO metrics.block (tenant_id, run_id, precedence, min_ts, max_ts, resolution_ms, level,
                           series, samples, bytes, object_key, tail_sha256, created_at)
VALUES ($1, $2, $3, $4, $5, $12, $6, $7, $8, $9, $10, $11, clock_timestamp())
"""
# clock_timestamp: the transaction may have begun minutes ago, and snapshots up to its commit still
# list the inputs.
_REPLACE = """
UPDATE metrics.block SET replaced_by = $3, replaced_at = clock_timestamp()
 WHERE tenant_id = $1 AND block_id = ANY($2::bigint[]) AND replaced_by IS NULL
"""
_REPLACE_ROLLUPS = """
UPDATE metrics.block SET replaced_by = $2, replaced_at = clock_timestamp()
 WHERE tenant_id = $1 AND resolution_ms > 0 AND min_ts < $3 AND replaced_by IS NULL
"""
_QUARANTINE = """
UPDATE metrics.block SET quarantined_at = clock_timestamp() WHERE tenant_id = $1 AND block_id = $2
"""
_QUARANTINED = "SELECT count(*) FROM metrics.block WHERE quarantined_at IS NOT NULL"
_REPLACED = """
SELECT block_id, object_key FROM metrics.block
 WHERE replaced_at < now() - make_interval(secs => $1) ORDER BY replaced_at LIMIT 1000
"""
_DELETE_BLOCKS = (
    "DELETE FROM metrics.block WHERE block_id = ANY($1::bigint[]) AND replaced_by IS NOT NULL"
)
_TENANTS_COMPACTED = "SELECT DISTINCT tenant_id FROM metrics.usage_hour"
_DELETED_SERIES = "SELECT series_ids FROM metrics.deleted_series WHERE tenant_id = $1"
_KNOWN_KEYS = """
SELECT object_key FROM metrics.block WHERE object_key = ANY($1::text[])
UNION ALL
SELECT object_key FROM metrics.import
 WHERE object_key = ANY($1::text[]) AND tenant_id = left(object_key, 36)::uuid
   AND finished_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class NewBlock:
    """A written and durable object that is about to be registered."""

    object_key: str
    precedence: int
    level: int
    series: int
    samples: int
    min_ts: int
    max_ts: int
    bytes: int
    tail_sha256: Digest
    resolution_ms: int = 0


class Superseded(StoreError):
    """The inputs of a compaction changed under its lock; nothing of it is kept."""

    kind = Kind.INTERNAL


async def connect(database_url: str, name: str, timeout_s: float = 5.0) -> Any:
    """A new connection in UTC; a statement on it takes at most STATEMENT_TIMEOUT_S."""
    return await asyncpg.connect(
        database_url,
        timeout=timeout_s,
        command_timeout=STATEMENT_TIMEOUT_S,
        server_settings={"application_name": f"cloudopshub-dis {name}", "timezone": "UTC"},
    )


@contextlib.asynccontextmanager
async def connected(database_url: str, name: str) -> AsyncIterator[Any]:
    """A connection while the block runs; afterwards it is closed, or cut after CLOSE_TIMEOUT_S."""
    conn = await connect(database_url, name)
    try:
        yield conn
    finally:
        await close(conn)


async def close(conn: Any) -> None:
    """The connection is closed, or cut after CLOSE_TIMEOUT_S."""
    with contextlib.suppress(Exception):
        await conn.close(timeout=CLOSE_TIMEOUT_S)
    conn.terminate()


async def lock_tenant(conn: Any, tenant: UUID) -> bool:
    """Whether this transaction is the only one that compacts the tenant until it ends."""
    return bool(await conn.fetchval(_LOCK, str(tenant)))


async def tenants_due(conn: Any, delay_s: float) -> list[UUID]:
    """Tenants with live batches older than `delay_s`, or stamped ahead of the clock."""
    return [row["tenant_id"] for row in await conn.fetch(_TENANTS_DUE, delay_s)]


async def tenants_with_blocks(conn: Any) -> list[UUID]:
    """Tenants with more than one live block."""
    return [row["tenant_id"] for row in await conn.fetch(_TENANTS_WITH_BLOCKS)]


async def backlog(conn: Any) -> tuple[int, int, float]:
    """(live batches, their samples, age of the oldest in seconds), all tenants."""
    row = await conn.fetchrow(_BACKLOG)
    return int(row["batches"]), int(row["samples"]), float(row["oldest_s"])


async def live_batches(conn: Any, tenant: UUID, delay_s: float) -> list[BatchRef]:
    """Live batches ordered by xid and batch_id; at most LISTED_MAX.

    Only batches whose xid is below every running transaction.
    """
    rows = await conn.fetch(_LIVE_BATCHES, tenant, delay_s, LISTED_MAX)
    return [BatchRef(**row) for row in rows]


async def payloads(
    conn: Any, tenant: UUID, xid_max: int, batch_ids: Sequence[int]
) -> dict[int, bytes]:
    """The payload of each of these live batches."""
    rows = await conn.fetch(_PAYLOADS, tenant, str(xid_max), list(batch_ids))
    return {row["batch_id"]: row["payload"] for row in rows}


async def next_run(conn: Any) -> int:
    """The number of a new compaction run."""
    return int(await conn.fetchval("SELECT nextval('metrics.compaction_run_seq')"))


async def register(conn: Any, tenant: UUID, run_id: int, blocks: Sequence[NewBlock]) -> None:
    """The blocks are in the catalogue once this transaction commits."""
    await conn.executemany(
        _INSERT_BLOCK,
        [
            (
                tenant,
                run_id,
                b.precedence,
                b.min_ts,
                b.max_ts,
                b.level,
                b.series,
                b.samples,
                b.bytes,
                b.object_key,
                b.tail_sha256,
                b.resolution_ms,
            )
            for b in blocks
        ],
    )


async def mark_batches(
    conn: Any, tenant: UUID, run_id: int, xid_max: int, batch_ids: Sequence[int]
) -> None:
    """The batches are not live any more; `Superseded` when one of them was not."""
    status = await conn.execute(_MARK, tenant, str(xid_max), run_id, list(batch_ids))
    if status != f"UPDATE {len(batch_ids)}":
        raise Superseded(status=status, batches=len(batch_ids))


async def live_blocks(
    conn: Any, tenant: UUID, span: tuple[int, int] = (-(2**63), 2**63 - 1)
) -> list[BlockRef]:
    """The tenant's live raw blocks that reach into `span`: ms, both ends inclusive."""
    return [BlockRef(**row) for row in await conn.fetch(_LIVE_BLOCKS, tenant, *span)]


async def replace_blocks(conn: Any, tenant: UUID, run_id: int, block_ids: Sequence[int]) -> None:
    """The blocks are not live any more; `Superseded` when one of them was not."""
    status = await conn.execute(_REPLACE, tenant, list(block_ids), run_id)
    if status != f"UPDATE {len(block_ids)}":
        raise Superseded(status=status, blocks=len(block_ids))


async def replace_rollups(conn: Any, tenant: UUID, run_id: int, before_ms: int) -> None:
    """Rollups of samples before `before_ms` are not live any more: some of those are deleted."""
    await conn.execute(_REPLACE_ROLLUPS, tenant, run_id, before_ms)


async def quarantine(conn: Any, tenant: UUID, block_id: int) -> None:
    """The block is not merged, and so neither replaced nor deleted, while its row says so."""
    await conn.execute(_QUARANTINE, tenant, block_id)


async def quarantined(conn: Any) -> int:
    """How many blocks are quarantined, all tenants."""
    return int(await conn.fetchval(_QUARANTINED))


async def replaced_blocks(conn: Any, age_s: float) -> list[tuple[int, str]]:
    """(block_id, object_key) of blocks replaced `age_s` seconds ago or earlier; at most 1,000."""
    return [(row["block_id"], row["object_key"]) for row in await conn.fetch(_REPLACED, age_s)]


async def forget_blocks(conn: Any, block_ids: Sequence[int]) -> None:
    """The rows of these replaced blocks are deleted; their objects must be deleted before."""
    await conn.execute(_DELETE_BLOCKS, list(block_ids))


async def tenants_compacted(conn: Any) -> set[str]:
    """Tenants that compaction has ever counted samples for."""
    return {str(row["tenant_id"]) for row in await conn.fetch(_TENANTS_COMPACTED)}


async def deleted_series(conn: Any, tenant: UUID) -> I64:
    """Series that were deleted and may still have samples in batches and blocks, ascending."""
    rows = await conn.fetch(_DELETED_SERIES, tenant)
    parts = [np.empty(0, np.int64), *(unpack_ids(row["series_ids"]) for row in rows)]
    return np.unique(np.concatenate(parts))


async def known_keys(conn: Any, keys: Sequence[str]) -> set[str]:
    """Which of these objects are of blocks, live or replaced, or of imports that have not ended."""
    return {row["object_key"] for row in await conn.fetch(_KNOWN_KEYS, list(keys))}


def object_key(tenant: UUID, min_ts: int, name: UUID) -> str:
    """`<tenant>/<yyyy-mm-dd>/<uuid>.parquet`, by the day of the block's first sample."""
    day = datetime.fromtimestamp(min_ts / 1000, UTC)
    return f"{tenant}/{day:%Y-%m-%d}/{name}.parquet"
