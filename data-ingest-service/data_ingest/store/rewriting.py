"""Blocks written to the object store: from sorted pieces, or from other blocks."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any
from uuid import UUID

import numpy as np

from data_ingest.errors import BadPayload
from data_ingest.model import I64
from data_ingest.store import block, catalogue
from data_ingest.store.block import SortedSamples
from data_ingest.store.catalogue import NewBlock
from data_ingest.store.merging import merge
from data_ingest.store.objects import ObjectStore
from data_ingest.store.refs import BlockRef


class CorruptBlock(BadPayload):
    """A block is not what was written"""


def write_merged(
    objects: ObjectStore, tenant: UUID, group: Sequence[BlockRef], deleted: I64
) -> list[NewBlock]:
    """One durable block with the samples of `group`, in order of precedence; later ones win. None
    where all are of series that are `deleted` (ascending).

    Raises CorruptBlock, with the `block_id`, when one of them is not what was written; no object is
    left then.
    """
    with ExitStack() as opened:
        inputs = [
            pieces_of(opened.enter_context(objects.reading(ref.object_key)), ref, deleted)
            for ref in group
        ]
        return write_block(
            objects,
            tenant,
            merge(inputs),
            precedence=group[-1].precedence,
            level=min(max(ref.level for ref in group) + (len(group) > 1), 32_767),
            at_ms=group[0].min_ts,
        )


def pieces_of(source: Any, ref: BlockRef, deleted: I64) -> Iterator[SortedSamples]:
    """The samples of a block but for those of series that are `deleted`, row group by row group.

    Raises CorruptBlock, with the `block_id`.
    """
    try:
        for piece in block.read(source, ref.tail_sha256):
            gone = np.isin(piece.series_ids, deleted)
            left = piece.where(np.repeat(~gone, np.diff(piece.starts))) if gone.any() else piece
            if len(left):
                yield left
    except BadPayload as exc:
        facts = {**exc.facts, "object": ref.object_key, "block_id": ref.block_id}
        raise CorruptBlock(**facts) from exc


def write_block(
    objects: ObjectStore, tenant: UUID, pieces: Any, *, precedence: int, level: int, at_ms: int
) -> list[NewBlock]:
    """One durable block of these pieces, none where they have no sample; no object is left when one
    of them raises.
    """
    pieces = filter(len, pieces)
    if (first := next(pieces, None)) is None:
        return []
    key = catalogue.object_key(tenant, at_ms, uuid.uuid4())
    with objects.writing(key) as sink:
        writer = block.BlockWriter(sink, tenant)
        try:
            for piece in chain([first], pieces):
                writer.write(piece)
        except BaseException:
            writer.discard()
            raise
        facts = writer.close()
    made = NewBlock(
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
    return [made]
