"""A day's samples to rollup objects, one for each resolution, in one pass over its blocks.

    blocks ── merge, piece by piece ── cut to the day ──┬─ buckets of 5 min ── Parquet
                                                        └─ buckets of 1 h ──── Parquet

Source: docs/formats/rollup.md.
"""

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from typing import BinaryIO, Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from data_ingest.kernels import rollups as kernels
from data_ingest.model import I64
from data_ingest.rollups.plan import Day
from data_ingest.store import catalogue
from data_ingest.store.block import SortedSamples
from data_ingest.store.catalogue import NewBlock
from data_ingest.store.checked_parquet import CheckedParquet
from data_ingest.store.objects import ObjectStore
from data_ingest.store.rewriting import pieces_of
from data_ingest.store.sorting import merge

FORMAT: Final = "rollup/1"
GROUP_ROWS: Final = 16_384
_KINDS: Final = {
    "series_id": pa.int64(),
    "end_ms": pa.int64(),
    "count": pa.int32(),
    "first_ms": pa.int64(),
    "last_ms": pa.int64(),
    "resets": pa.int32(),
    "lowest_bit": pa.int32(),
    "is_stale": pa.bool_(),
    **dict.fromkeys(("min", "max", "sum", "sum_rest", "first", "last", "reset_sum"), pa.float64()),
}
"""In the order of the kernel's rows: the whole numbers, then the real ones."""
SCHEMA: Final = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _KINDS.items()])
_DELTAS: Final = "series_id", "end_ms", "count", "first_ms", "last_ms", "resets", "lowest_bit"


class RollupWriter(CheckedParquet):
    """Writes the buckets of one resolution to `sink`; pieces come as whole series, ascending."""

    def __init__(self, sink: BinaryIO, tenant: UUID, resolution_ms: int) -> None:
        # Doubles are plain: decimals that come again and again are what zstd finds, whole.
        super().__init__(
            sink, tenant, resolution_ms, FORMAT, SCHEMA,
            dict.fromkeys(_DELTAS, "DELTA_BINARY_PACKED"), ("series_id", "end_ms"),
        )  # fmt: skip
        self._resolution_ms = resolution_ms
        self.series = 0
        self.samples = 0

    def write(self, piece: SortedSamples) -> None:
        """The buckets of `piece` are in the object."""
        self.series += int(piece.series_ids.size)
        self.samples += len(piece)
        table = buckets(piece, self._resolution_ms)
        if table.num_rows:
            self.write_table(table, GROUP_ROWS)


def buckets(piece: SortedSamples, resolution_ms: int) -> pa.Table:
    """The buckets of whole series, by series, then time; columns as `SCHEMA`."""
    room = kernels.count_buckets(piece.starts, piece.timestamps_ms, resolution_ms)
    whole, real = np.zeros((8, room), np.int64), np.zeros((7, room))
    values = np.ascontiguousarray(piece.values)
    bits = values.view(np.uint64)
    rows = kernels.roll_up(
        piece.starts, piece.timestamps_ms, bits, values, resolution_ms, whole, real
    )
    whole, real = whole[:, :rows], real[:, :rows]
    whole[kernels.SERIES] = piece.series_ids[whole[kernels.SERIES]]
    columns = [pa.array(row) for row in (*whole, *real)]
    return pa.Table.from_arrays(columns, names=SCHEMA.names).cast(SCHEMA)


def write_rollups(
    objects: ObjectStore, tenant: UUID, day: Day, resolutions_ms: Sequence[int], deleted: I64
) -> list[NewBlock]:
    """One durable object of the day for each resolution, without series that are `deleted`.

    Raises CorruptBlock, with the `block_id`, when a block is not what was written; no object is
    left then.
    """
    keys = [catalogue.object_key(tenant, day.first_ms, uuid.uuid4()) for _ in resolutions_ms]
    with ExitStack() as opened:
        writers = []
        for key, resolution_ms in zip(keys, resolutions_ms, strict=True):
            sink = opened.enter_context(objects.writing(key))
            writers.append(opened.enter_context(RollupWriter(sink, tenant, resolution_ms)))
        inputs = [
            pieces_of(
                opened.enter_context(objects.reading(ref.object_key)), ref, deleted, day.first_ms
            )
            for ref in day.blocks
        ]
        for piece in merge(inputs):
            of_day = piece.where(piece.timestamps_ms <= day.last_ms)
            for writer in writers:
                writer.write(of_day)
        return [
            NewBlock(
                key,
                day.precedence,
                0,
                resolution_ms,
                writer.series,
                writer.samples,
                day.first_ms,
                day.last_ms,
                *writer.end(),
            )
            for key, resolution_ms, writer in zip(keys, resolutions_ms, writers, strict=True)
        ]
