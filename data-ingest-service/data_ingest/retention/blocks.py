"""Blocks that are past leave the catalogue; their objects go a grace later (`upkeep`).

A query that began before still reads them; every later snapshot does not list them.
"""

from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import structlog
from prometheus_client import Counter

from data_ingest.model import I64
from data_ingest.retention import plan
from data_ingest.store import catalogue
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
        deleted = await catalogue.deleted_series(conn, tenant)
        try:
            left = await anyio.to_thread.run_sync(
                write_since, objects, tenant, ref, cutoff, deleted, abandon_on_cancel=True
            )
        except CorruptBlock as corrupt:
            await catalogue.quarantine(conn, tenant, ref.block_id)
            log.error("block_quarantined", tenant=str(tenant), reason=str(corrupt), **corrupt.facts)  # noqa: TRY400 - our own error
            return True
        run_id = await catalogue.next_run(conn)
        await catalogue.register(conn, tenant, run_id, left)
        await catalogue.replace_blocks(conn, tenant, run_id, [ref.block_id])
        await catalogue.replace_rollups(conn, tenant, run_id, cutoff)
    BLOCKS.labels("written_anew").inc()
    left_bytes = sum(made.bytes for made in left)
    log.info("block_without_its_past", tenant=str(tenant), bytes=left_bytes, before=ref.bytes)
    return True


def write_since(
    objects: ObjectStore, tenant: UUID, ref: BlockRef, cutoff: int, deleted: I64
) -> list[NewBlock]:
    """A durable block of the samples of `ref` from `cutoff` on, but for series that are `deleted`:
    of its precedence and level, none where nothing is left.
    """
    with objects.reading(ref.object_key) as source:
        pieces = pieces_of(source, ref, deleted)
        return write_block(
            objects,
            tenant,
            (piece.where(piece.timestamps_ms >= cutoff) for piece in pieces),
            precedence=ref.precedence,
            level=ref.level,
            at_ms=cutoff,
        )
