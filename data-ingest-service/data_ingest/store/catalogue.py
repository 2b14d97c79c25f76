"""The catalogue of blocks, as all that writes blocks reads and changes it.

Every `conn` is an asyncpg connection of the background's own; functions that change rows run in
the caller's transaction, under the tenant's lock.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import numpy as np

from data_ingest.chassis.checked import Digest
from data_ingest.chassis.kinds import Kind
from data_ingest.errors import StoreError
from data_ingest.model import I64
from data_ingest.store.active_series import unpack_ids
from data_ingest.store.refs import BlockRef

ALWAYS_MS = -(2**63)
CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0
STATEMENT_TIMEOUT_S = 600.0
"""Ends the wait for a server that is gone without closing the connection."""

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('compact:' || $1::text, 0))"
_LIVE_BLOCKS = """
SELECT block_id, precedence, level, min_ts, max_ts, bytes, object_key, tail_sha256,
       quarantined_at IS NOT NULL AS is_quarantined, resolution_ms,
       (extract(epoch FROM created_at) * 1000)::bigint AS created_ms
  FROM metrics.block
 WHERE tenant_id = $1 AND replaced_by IS NULL AND (resolution_ms > 0) = $4
   AND max_ts >= $2 AND min_ts <= $3
"""
_NEXT_RUN = "SELECT nextval('metrics.compaction_run_seq')"
# clock_timestamp: the transaction may have begun minutes ago, and snapshots up to its commit still
# list the inputs.
_INSERT_BLOCK = """
INSERT INTO metrics.block (tenant_id, run_id, object_key, precedence, level, resolution_ms, series,
                           samples, min_ts, max_ts, bytes, tail_sha256, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp())
"""
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
_DELETED_SERIES = "SELECT series_ids FROM metrics.deleted_series WHERE tenant_id = $1"


class NewBlock(NamedTuple):
    """A written and durable object that is about to be registered."""

    object_key: str
    precedence: int
    level: int
    resolution_ms: int
    series: int
    samples: int
    min_ts: int
    max_ts: int
    bytes: int
    tail_sha256: Digest


class Superseded(StoreError):
    """The inputs of a compaction changed under its lock; nothing of it is kept."""

    kind = Kind.INTERNAL


async def connect(database_url: str, name: str) -> Any:
    """A new connection in UTC; a statement on it takes at most STATEMENT_TIMEOUT_S."""
    return await asyncpg.connect(
        database_url,
        timeout=CONNECT_TIMEOUT_S,
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


async def live_blocks(
    conn: Any,
    tenant: UUID,
    span: tuple[int, int] = (ALWAYS_MS, 2**63 - 1),
    *,
    rollups: bool = False,
) -> list[BlockRef]:
    """The tenant's live raw blocks, or its rollups, that reach into `span`: ms, both inclusive."""
    return [BlockRef(**row) for row in await conn.fetch(_LIVE_BLOCKS, tenant, *span, rollups)]


async def exchange(
    conn: Any,
    tenant: UUID,
    made: Sequence[NewBlock],
    replaced: Sequence[int],
    rollups_before_ms: int = ALWAYS_MS,
) -> int:
    """The blocks `made` are in the catalogue, and those with the ids `replaced` are not live any
    more, once this transaction commits; the number of the run that it is.

    rollups_before_ms: neither are rollups of samples before it, some of which are deleted. Raises
    `Superseded` when one of `replaced` was not live.
    """
    run_id = int(await conn.fetchval(_NEXT_RUN))
    if made:
        await conn.executemany(_INSERT_BLOCK, [(tenant, run_id, *block) for block in made])
    if replaced:
        changed(await conn.execute(_REPLACE, tenant, list(replaced), run_id), len(replaced))
    if rollups_before_ms != ALWAYS_MS:
        await conn.execute(_REPLACE_ROLLUPS, tenant, run_id, rollups_before_ms)
    return run_id


def changed(status: str, rows: int) -> None:
    """Raises `Superseded` unless the UPDATE of this status changed so many rows."""
    if status != f"UPDATE {rows}":
        raise Superseded(status=status, rows=rows)


async def quarantine(conn: Any, tenant: UUID, block_id: int) -> None:
    """The block is not merged, and so neither replaced nor deleted, while its row says so."""
    await conn.execute(_QUARANTINE, tenant, block_id)


async def deleted_series(conn: Any, tenant: UUID) -> I64:
    """Series that were deleted and may still have samples in batches and blocks, ascending."""
    rows = await conn.fetch(_DELETED_SERIES, tenant)
    parts = [np.empty(0, np.int64), *(unpack_ids(row["series_ids"]) for row in rows)]
    return np.unique(np.concatenate(parts))


def object_key(tenant: UUID, min_ts: int, name: UUID) -> str:
    """`<tenant>/<yyyy-mm-dd>/<uuid>.parquet`, by the day of the block's first sample."""
    day = datetime.fromtimestamp(min_ts / 1000, UTC)
    return f"{tenant}/{day:%Y-%m-%d}/{name}.parquet"
