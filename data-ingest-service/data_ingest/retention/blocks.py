"""Blocks that are past leave the catalogue; their objects go a grace later (`upkeep`).

A query that began before still reads them; every later snapshot does not list them.
"""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import numpy as np
import structlog
from prometheus_client import Counter

from data_ingest.retention import plan
from data_ingest.store import catalogue
from data_ingest.store.block import SortedSamples
from data_ingest.store.catalogue import NewBlock
from data_ingest.store.objects import ObjectStore
from data_ingest.store.refs import BlockRef
from data_ingest.store.rewriting import CorruptBlock, pieces_of, write_block

log = structlog.get_logger()
BLOCKS: Final = Counter(
    "cloudopshub_retention_blocks_total", "Blocks deleted or written anew by retention.", ["how"]
)


async def delete_past(conn: Any, tenant: UUID, cutoff: int) -> int:
    """Blocks with nothing to keep are not live any more; how many.

    0 also while another process compacts the tenant: the next round comes.
    """
    async with conn.transaction():
        if not await catalogue.lock_tenant(conn, tenant):
            return 0
        gone = plan.past(await catalogue.live_blocks(conn, tenant), cutoff)
        if gone:
            run_id = await catalogue.next_run(conn)
            await catalogue.replace_blocks(conn, tenant, run_id, [ref.block_id for ref in gone])
            await catalogue.replace_rollups(conn, tenant, run_id, cutoff)
    if gone:
        BLOCKS.labels("deleted").inc(len(gone))
        log.info("blocks_past_retention", tenant=str(tenant), blocks=len(gone), before_ms=cutoff)
    return len(gone)


async def rewrite_mostly_past(conn: Any, objects: ObjectStore, tenant: UUID, cutoff: int) -> bool:
    """One block that is mostly past is written anew without that; whether one was due."""
    async with conn.transaction():
        if not await catalogue.lock_tenant(conn, tenant):
            return False
        ref = plan.mostly_past(await catalogue.live_blocks(conn, tenant), cutoff)
        if ref is None:
            return False
        try:
            left = await anyio.to_thread.run_sync(
                write_since, objects, tenant, ref, cutoff, abandon_on_cancel=True
            )
        except CorruptBlock as corrupt:
            await catalogue.quarantine(conn, tenant, ref.block_id)
            log.error("block_quarantined", tenant=str(tenant), reason=str(corrupt), **corrupt.facts)  # noqa: TRY400 - our own error
            return True
        run_id = await catalogue.next_run(conn)
        await catalogue.register(conn, tenant, run_id, [left])
        await catalogue.replace_blocks(conn, tenant, run_id, [ref.block_id])
        await catalogue.replace_rollups(conn, tenant, run_id, cutoff)
    BLOCKS.labels("written_anew").inc()
    log.info("block_without_its_past", tenant=str(tenant), bytes=left.bytes, before=ref.bytes)
    return True


def write_since(objects: ObjectStore, tenant: UUID, ref: BlockRef, cutoff: int) -> NewBlock:
    """A durable block of the samples of `ref` from `cutoff` on, of its precedence and level."""
    with objects.reading(ref.object_key) as source:
        return write_block(
            objects,
            tenant,
            samples_between(pieces_of(source, ref), cutoff, ref.max_ts),
            precedence=ref.precedence,
            level=ref.level,
            at_ms=cutoff,
        )


def samples_between(
    pieces: Iterator[SortedSamples], first_ms: int, last_ms: int
) -> Iterator[SortedSamples]:
    """The samples in [first_ms, last_ms], piece by piece; a series without one is left out."""
    for piece in pieces:
        is_kept = (piece.timestamps_ms >= first_ms) & (piece.timestamps_ms <= last_ms)
        starts = np.concatenate(([0], np.cumsum(is_kept)))[piece.starts]
        has_any = np.flatnonzero(np.diff(starts))
        yield SortedSamples(
            piece.series_ids[has_any],
            np.append(starts[has_any], starts[-1]),
            piece.timestamps_ms[is_kept],
            piece.values[is_kept],
        )
