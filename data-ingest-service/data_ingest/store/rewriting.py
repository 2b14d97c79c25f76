"""Blocks written to the object store: from sorted pieces, or from other blocks."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from uuid import UUID

from data_ingest.errors import BadPayload
from data_ingest.store import block, catalogue
from data_ingest.store.block import SortedSamples
from data_ingest.store.catalogue import NewBlock
from data_ingest.store.merging import merge
from data_ingest.store.objects import ObjectStore
from data_ingest.store.refs import BlockRef


class CorruptBlock(BadPayload):
    """A block is not what was written"""


def write_merged(objects: ObjectStore, tenant: UUID, group: Sequence[BlockRef]) -> NewBlock:
    """One durable block with the samples of `group`, in order of precedence; later ones win.

    Raises CorruptBlock, with the `block_id`, when one of them is not what was written; no object is
    left then.
    """
    with ExitStack() as opened:
        inputs = [
            pieces_of(opened.enter_context(objects.reading(ref.object_key)), ref) for ref in group
        ]
        return write_block(
            objects,
            tenant,
            merge(inputs),
            precedence=group[-1].precedence,
            level=min(max(ref.level for ref in group) + 1, 32_767),
            at_ms=group[0].min_ts,
        )


def pieces_of(source: Any, ref: BlockRef) -> Iterator[SortedSamples]:
    """The samples of a block, row group by row group. Raises CorruptBlock, with the `block_id`."""
    try:
        yield from block.read(source, ref.tail_sha256)
    except BadPayload as exc:
        facts = {**exc.facts, "object": ref.object_key, "block_id": ref.block_id}
        raise CorruptBlock(**facts) from exc


def write_block(
    objects: ObjectStore, tenant: UUID, pieces: Any, *, precedence: int, level: int, at_ms: int
) -> NewBlock:
    """One durable block of these pieces; no object is left when one of them raises."""
    key = catalogue.object_key(tenant, at_ms, uuid.uuid4())
    with objects.writing(key) as sink:
        writer = block.BlockWriter(sink, tenant)
        try:
            for piece in pieces:
                writer.write(piece)
        except BaseException:
            writer.discard()
            raise
        facts = writer.close()
    return NewBlock(
        object_key=key,
        precedence=precedence,
        level=level,
        series=facts.series,
        samples=facts.samples,
        min_ts=facts.min_ts,
        max_ts=facts.max_ts,
        bytes=facts.bytes,
        tail_sha256=facts.tail_sha256,
    )
