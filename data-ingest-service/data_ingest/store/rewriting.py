"""Blocks written to the object store: from sorted pieces, or from other blocks."""

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any, Final
from uuid import UUID

import numpy as np

from data_ingest.errors import BadPayload
from data_ingest.model import I64
from data_ingest.store import block, catalogue
from data_ingest.store.block import SortedSamples
from data_ingest.store.catalogue import ALWAYS_MS, NewBlock
from data_ingest.store.objects import ObjectStore
from data_ingest.store.refs import BlockRef
from data_ingest.store.sorting import merge

LEVEL_MAX: Final = 32_767


class CorruptBlock(BadPayload):
    """A block is not what was written"""


def write_merged(
    objects: ObjectStore,
    tenant: UUID,
    group: Sequence[BlockRef],
    deleted: I64,
    since_ms: int = ALWAYS_MS,
) -> list[NewBlock]:
    """One durable block with the samples of `group` from `since_ms` on, but for those of series
    that are `deleted` (ascending); none where nothing is left.

    group: in order of precedence; later ones win. Raises CorruptBlock, with the `block_id`, when
    one of them is not what was written; no object is left then.
    """
    with ExitStack() as opened:
        inputs = [
            pieces_of(opened.enter_context(objects.reading(ref.object_key)), ref, deleted, since_ms)
            for ref in group
        ]
        return write_block(
            objects,
            tenant,
            merge(inputs),
            precedence=group[-1].precedence,
            level=min(max(ref.level for ref in group) + (len(group) > 1), LEVEL_MAX),
            at_ms=max(group[0].min_ts, since_ms),
        )


def pieces_of(
    source: Any, ref: BlockRef, deleted: I64, since_ms: int = ALWAYS_MS
) -> Iterator[SortedSamples]:
    """The samples of a block as `write_merged` takes them, row group by row group.

    Raises CorruptBlock, with the `block_id`.
    """
    with corrupt_as(ref):
        for piece in block.read(source, ref.tail_sha256):
            stays = piece.timestamps_ms >= since_ms
            gone = np.isin(piece.series_ids, deleted)
            if gone.any():
                stays &= np.repeat(~gone, np.diff(piece.starts))
            left = piece if stays.all() else piece.where(stays)
            if len(left):
                yield left


@contextlib.contextmanager
def corrupt_as(ref: BlockRef) -> Iterator[None]:
    """What does not decode in the `with` block leaves it as CorruptBlock, with the `block_id`."""
    try:
        yield
    except BadPayload as exc:
        facts = {**exc.facts, "object": ref.object_key, "block_id": ref.block_id}
        raise CorruptBlock(**facts) from exc


def write_block(
    objects: ObjectStore,
    tenant: UUID,
    pieces: Iterable[SortedSamples],
    *,
    precedence: int,
    level: int,
    at_ms: int,
) -> list[NewBlock]:
    """One durable block of these pieces, none where they have no sample; no object is left when one
    of them raises.
    """
    pieces = filter(len, pieces)
    if (first := next(pieces, None)) is None:
        return []
    key = catalogue.object_key(tenant, at_ms, uuid.uuid4())
    with objects.writing(key) as sink, block.BlockWriter(sink, tenant) as writer:
        for piece in chain([first], pieces):
            writer.write(piece)
        return [NewBlock(key, precedence, level, 0, *writer.close())]
