"""Series that somebody deletes: chosen by selectors, gone from answers at once, from disk later.

    select ─▶ preview: how many, which, about how much, a digest of the ids
           └▶ delete: rows of series go (`series.delete_rows`), their ids are noted
    upkeep ─▶ once no live batch is from before: each block from before is written without them

Blocks are taken from the newest down to the oldest, `block_max` being the next; what is merged or
written anew meanwhile leaves noted ids out, so it need not be looked at again.
Source: docs/adr/0024-limits-and-deletion.md.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import numpy as np
from prometheus_client import Counter

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.model import I64
from data_ingest.retention import series
from data_ingest.selectors import Matcher, selects
from data_ingest.store import catalogue, runs
from data_ingest.store.active_series import pack_ids
from data_ingest.store.block_times import BlockTimes
from data_ingest.store.objects import ObjectStore
from data_ingest.store.refs import BlockRef
from data_ingest.store.rewriting import corrupt_as

SERIES_MAX: Final = 200_000
"""Of one deletion."""
EXAMPLES_MAX: Final = 20
ROWS_AT_ONCE: Final = 5_000
BLOCKS_A_ROUND: Final = 1_000
ALL_TIME_MS: Final = 2**62

REMOVED: Final = Counter(
    "cloudopshub_deletion_blocks_total", "Blocks looked at for deleted series.", ["how"]
)

_SERIES = """
SELECT series_id, labels::text AS labels, last_ms FROM metrics.series
 WHERE tenant_id = $1 AND labels @> ANY ($2::text[]::jsonb[])
"""
_BLOCKS = """
SELECT min_ts, series, samples, bytes FROM metrics.block
 WHERE tenant_id = $1 AND replaced_by IS NULL AND resolution_ms = 0
"""
# Inside the transaction that deleted the rows, with the lock on writers.
_NOTE = """
INSERT INTO metrics.deleted_series (tenant_id, series_ids, batch_max)
SELECT $1, $2, coalesce(max(batch_id), 0) FROM metrics.batch
 WHERE tenant_id = $1 AND compacted_by IS NULL
"""
# All batches from before the deletion are in blocks: those there are now.
_BEGIN = """
UPDATE metrics.deleted_series AS noted
   SET block_max = coalesce((SELECT max(block_id) FROM metrics.block WHERE tenant_id = $1), 0)
 WHERE tenant_id = $1 AND block_max IS NULL
   AND NOT EXISTS (SELECT FROM metrics.batch WHERE tenant_id = $1 AND compacted_by IS NULL
                      AND batch_id <= noted.batch_max)
"""
_NEXT = """
SELECT block_id, min_ts, max_ts FROM metrics.block
 WHERE tenant_id = $1 AND replaced_by IS NULL AND resolution_ms = 0
   AND block_id <= (SELECT max(block_max) FROM metrics.deleted_series WHERE tenant_id = $1)
 ORDER BY block_id DESC LIMIT 1
"""
_DONE = """
UPDATE metrics.deleted_series SET block_max = $2 - 1 WHERE tenant_id = $1 AND block_max >= $2
"""
_END = """
DELETE FROM metrics.deleted_series WHERE tenant_id = $1 AND block_max IS NOT NULL
RETURNING deletion_id
"""


class TooManySeries(ServiceError):
    """The selectors select more series than one deletion may have"""

    kind = Kind.BAD_DATA


@dataclass(frozen=True, slots=True)
class Selection:
    """series_ids: ascending. examples: labels of some. samples, bytes: estimates from the share of
    each block's series that reach into it, without what is in no block yet.
    """

    series_ids: I64
    examples: Sequence[dict[str, str]]
    samples: int
    bytes: int

    @property
    def digest(self) -> str:
        """Of the ids: the same for the same series."""
        return hashlib.sha256(self.series_ids.astype("<i8").tobytes()).hexdigest()


async def select(conn: Any, tenant: UUID, selectors: Sequence[Sequence[Matcher]]) -> Selection:
    """The tenant's series that one of the selectors selects. Raises TooManySeries."""
    selected: list[tuple[int, int]] = []
    examples: list[dict[str, str]] = []

    def look(rows: Sequence[Any]) -> None:
        for row in rows:
            if selects(selectors, labels := json.loads(row["labels"])):
                selected.append((row["series_id"], row["last_ms"]))
                examples.extend([labels] if len(examples) < EXAMPLES_MAX else [])

    equal = [
        {matcher.name: matcher.value for matcher in matchers if matcher.operator == "="}
        for matchers in selectors
    ]
    wanted = [json.dumps({k: v for k, v in labels.items() if v}) for labels in equal]
    async with conn.transaction():
        cursor = await conn.cursor(_SERIES, tenant, wanted)
        while rows := await cursor.fetch(ROWS_AT_ONCE):
            await anyio.to_thread.run_sync(look, rows)
            if len(selected) > SERIES_MAX:
                raise TooManySeries(limit=SERIES_MAX)
    ids, last_ms = np.array(selected, np.int64).reshape(-1, 2).T
    last_ms, samples, size = np.sort(last_ms), 0.0, 0.0
    for block in await conn.fetch(_BLOCKS, tenant):
        reach = last_ms.size - int(np.searchsorted(last_ms, block["min_ts"]))
        share = min(1.0, reach / block["series"])
        samples, size = samples + share * block["samples"], size + share * block["bytes"]
    return Selection(np.sort(ids), examples, round(samples), round(size))


async def delete(conn: Any, tenant: UUID, series_ids: I64) -> None:
    """No reader finds these series (ascending), and no writer uses their ids again."""
    for at in range(0, series_ids.size, series.DELETED_MAX):
        ids = series_ids[at : at + series.DELETED_MAX]
        async with conn.transaction():
            await series.stop_writers(conn, tenant)
            await series.delete_rows(conn, tenant, ids)
            await conn.execute(_NOTE, tenant, pack_ids(ids))


async def remove_deleted(conn: Any, objects: ObjectStore, tenant: UUID) -> None:
    """The blocks of the tenant have no sample of deleted series, as far as this round comes."""
    for _ in range(BLOCKS_A_ROUND):
        async with conn.transaction():
            if not await catalogue.lock_tenant(conn, tenant):
                return
            deleted = await catalogue.deleted_series(conn, tenant)
            if not deleted.size:
                return
            await conn.execute(_BEGIN, tenant)
            following = await conn.fetchrow(_NEXT, tenant)
            if following is None:
                if await conn.fetch(_END, tenant):
                    await catalogue.exchange(conn, tenant, (), (), ALL_TIME_MS)
                return
            block_id, *span = following
            blocks = await catalogue.live_blocks(conn, tenant, (span[0], span[1]))
            (ref,) = [ref for ref in blocks if ref.block_id == block_id]
            has_some = await runs.unless_corrupt(conn, tenant, has_any, objects, ref, deleted)
            if has_some:
                rewritten = await runs.rewrite(conn, objects, tenant, [ref])
                if rewritten:
                    REMOVED.labels("written_anew" if rewritten[1] else "deleted").inc()
            elif has_some is False:
                REMOVED.labels("had_none").inc()
            await conn.execute(_DONE, tenant, block_id)


def has_any(objects: ObjectStore, ref: BlockRef, series_ids: I64) -> bool:
    """Whether the block has a sample of one of the series. Raises CorruptBlock."""
    with objects.reading(ref.object_key) as source, corrupt_as(ref):
        chunks = BlockTimes(source, ref.tail_sha256).chunks(ref.min_ts, ref.max_ts)
    return bool(np.isin(chunks.series_ids, series_ids).any())
