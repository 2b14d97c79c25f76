"""A day's samples to rollup objects, one for each resolution, in one pass over its blocks.

    blocks ── merge, piece by piece ── cut to the day ──┬─ buckets of 5 min ── Parquet
                                                        └─ buckets of 1 h ──── Parquet

Source: docs/formats/rollup.md.
"""

import contextlib
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from typing import BinaryIO, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_ingest.chassis.checked import BYTES_KEY, SUMS_KEY
from data_ingest.kernels import rollups as kernels
from data_ingest.model import I64
from data_ingest.rollups.plan import Day
from data_ingest.store import catalogue
from data_ingest.store.block import SortedSamples
from data_ingest.store.catalogue import NewBlock
from data_ingest.store.merging import merge
from data_ingest.store.objects import ObjectStore
from data_ingest.store.rewriting import pieces_of
from data_ingest.store.summed_sink import SummedSink

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


class RollupWriter:
    """Writes the buckets of one resolution to `sink`; pieces come as whole series, ascending."""

    def __init__(self, sink: BinaryIO, tenant: UUID, resolution_ms: int) -> None:
        self._sink = SummedSink(sink)
        self._resolution_ms = resolution_ms
        # Doubles are plain: decimals that come again and again are what zstd finds, whole.
        self._parquet = pq.ParquetWriter(
            self._sink,
            SCHEMA,
            compression="zstd",
            compression_level=3,
            use_dictionary=False,
            column_encoding=dict.fromkeys(_DELTAS, "DELTA_BINARY_PACKED"),
            write_statistics=["series_id", "end_ms"],
            store_schema=False,
        )
        self._parquet.add_key_value_metadata(
            {
                "cloudopshub.format": FORMAT,
                "cloudopshub.tenant": str(tenant),
                "cloudopshub.resolution_ms": str(resolution_ms),
            }
        )
        self.series = 0
        self.samples = 0

    def write(self, piece: SortedSamples) -> None:
        """The buckets of `piece` are in the object."""
        self.series += int(piece.series_ids.size)
        self.samples += len(piece)
        table = buckets(piece, self._resolution_ms)
        if table.num_rows:
            self._parquet.write_table(table, row_group_size=GROUP_ROWS)

    def close(self) -> tuple[int, bytes]:
        """The footer is written; the object's bytes and the digest of its tail."""
        sums = self._sink.end_body()
        self._parquet.add_key_value_metadata({BYTES_KEY: str(self._sink.bytes), SUMS_KEY: sums})
        self._parquet.close()
        return self._sink.bytes, self._sink.tail.digest()

    def discard(self) -> None:
        """Nothing more is written: what the sink has is no rollup."""
        self._sink.is_open = False
        with contextlib.suppress(pa.ArrowException, OSError):
            self._parquet.close()


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
        writers = [
            RollupWriter(opened.enter_context(objects.writing(key)), tenant, resolution_ms)
            for key, resolution_ms in zip(keys, resolutions_ms, strict=True)
        ]
        inputs = [
            pieces_of(opened.enter_context(objects.reading(ref.object_key)), ref, deleted)
            for ref in day.blocks
        ]
        try:
            for piece in merge(inputs):
                of_day = piece.where(
                    (piece.timestamps_ms >= day.first_ms) & (piece.timestamps_ms <= day.last_ms)
                )
                for writer in writers:
                    writer.write(of_day)
        except BaseException:
            for writer in writers:
                writer.discard()
            raise
        ends = [writer.close() for writer in writers]
    return [
        NewBlock(
            object_key=key,
            precedence=day.precedence,
            level=0,
            series=writer.series,
            samples=writer.samples,
            min_ts=day.first_ms,
            max_ts=day.last_ms,
            bytes=size,
            tail_sha256=digest,
            resolution_ms=resolution_ms,
        )
        for key, resolution_ms, writer, (size, digest) in zip(
            keys, resolutions_ms, writers, ends, strict=True
        )
    ]
