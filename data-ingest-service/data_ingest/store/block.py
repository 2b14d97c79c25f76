"""Blocks as Parquet: columns of sorted samples to bytes and back.

    SortedSamples (series, times, values) ── chunks ── row groups ── Parquet

A writer takes samples piece by piece and a reader gives them back row group by row group, so
neither holds a whole block in memory. What is written is summed before it leaves the process, and
what is read is checked before it is decoded. Source: docs/formats/block.md, version 1.
"""

import contextlib
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_ingest.chassis.checked import (
    BYTES_KEY,
    SEGMENT_BYTES,
    SUMS_KEY,
    CorruptObject,
    Digest,
    parquet_file,
    read_tail,
)
from data_ingest.errors import BadPayload
from data_ingest.kernels import chunks
from data_ingest.model import F64, I64

CHUNK_SAMPLES_MAX: Final = 8_192
GROUP_CHUNKS_MAX: Final = 512
GROUP_SAMPLES_MAX: Final = 262_144
"""Bounds what a reader must decode at once, where chunks are long."""
FORMAT: Final = "block/1"
SCHEMA: Final = pa.schema(
    [
        pa.field("series_id", pa.int64(), nullable=False),
        pa.field("min_ts", pa.int64(), nullable=False),
        pa.field("max_ts", pa.int64(), nullable=False),
        pa.field(
            "timestamps", pa.list_(pa.field("element", pa.int64(), nullable=False)), nullable=False
        ),
        pa.field("scale", pa.int8()),
        pa.field("deltas", pa.list_(pa.field("element", pa.int64(), nullable=False))),
        pa.field("values", pa.list_(pa.field("element", pa.float64(), nullable=False))),
    ]
)
_ENCODINGS: Final = {
    "series_id": "DELTA_BINARY_PACKED",
    "min_ts": "DELTA_BINARY_PACKED",
    "max_ts": "DELTA_BINARY_PACKED",
    "timestamps.list.element": "DELTA_BINARY_PACKED",
    "deltas.list.element": "DELTA_BINARY_PACKED",
    "values.list.element": "BYTE_STREAM_SPLIT",
}


@dataclass(frozen=True, slots=True)
class SortedSamples:
    """Samples by series, then time.

    series_ids: (s,) int64, strictly ascending.
    starts: (s + 1,) int64, where each series starts; starts[-1] = n.
    timestamps_ms: (n,) int64, strictly ascending within a series.
    values: (n,) float64, bits kept.
    """

    series_ids: I64
    starts: I64
    timestamps_ms: I64
    values: F64

    def __len__(self) -> int:
        return int(self.timestamps_ms.size)


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """What the catalogue records of a written block; both times inclusive.

    tail_sha256: of the footer, its length and the magic, which end the object.
    """

    series: int
    samples: int
    min_ts: int
    max_ts: int
    bytes: int
    tail_sha256: Digest


class BlockWriter:
    """Writes one block to `sink`.

    Pieces come in order of series; a series may go on in the next piece, later in time.
    """

    def __init__(self, sink: BinaryIO, tenant: UUID, resolution_ms: int = 0) -> None:
        metadata = {
            "cloudopshub.format": FORMAT,
            "cloudopshub.tenant": str(tenant),
            "cloudopshub.resolution_ms": str(resolution_ms),
        }
        self._sink = SummedSink(sink)
        self._parquet = pq.ParquetWriter(
            self._sink,
            SCHEMA,
            compression="zstd",
            compression_level=3,
            use_dictionary=False,
            column_encoding=_ENCODINGS,
            write_statistics=["series_id", "min_ts", "max_ts"],
            store_schema=False,
        )
        self._parquet.add_key_value_metadata(metadata)
        self._last_series: int | None = None
        self._last_ms = 0
        self._series = 0
        self._samples = 0
        self._min_ms: int | None = None
        self._max_ms = 0

    def write(self, samples: SortedSamples) -> None:
        """The samples are in the block, in one or more row groups; no samples change nothing."""
        if not len(samples):
            return
        table = _table(samples)
        lengths = np.diff(table["timestamps"].chunk(0).offsets.to_numpy())
        for start, end in _groups(lengths):
            self._parquet.write_table(table.slice(start, end - start), row_group_size=end - start)
        first = int(samples.series_ids[0])
        assert self._last_series is None or first >= self._last_series, (
            "pieces come in order of series"
        )
        if first == self._last_series:
            assert int(samples.timestamps_ms[0]) > self._last_ms, "a series goes on later in time"
            self._series -= 1
        self._last_series = int(samples.series_ids[-1])
        self._last_ms = int(samples.timestamps_ms[-1])
        self._series += int(samples.series_ids.size)
        self._samples += len(samples)
        low, high = int(samples.timestamps_ms.min()), int(samples.timestamps_ms.max())
        self._min_ms = low if self._min_ms is None else min(low, self._min_ms)
        self._max_ms = high if self._samples == len(samples) else max(high, self._max_ms)

    def close(self) -> BlockFacts:
        """The footer is written; the facts of the block, which must have at least one sample."""
        sums = self._sink.end_body()
        self._parquet.add_key_value_metadata({BYTES_KEY: str(self._sink.bytes), SUMS_KEY: sums})
        self._parquet.close()
        assert self._min_ms is not None, "a block holds at least one sample"
        return BlockFacts(
            self._series,
            self._samples,
            self._min_ms,
            self._max_ms,
            self._sink.bytes,
            self._sink.tail.digest(),
        )

    def discard(self) -> None:
        """Nothing more is written: what the sink has is no block."""
        self._sink.is_open = False
        with contextlib.suppress(pa.ArrowException, OSError):
            self._parquet.close()


class SummedSink:
    """A sink that counts and sums the bytes written; its owner closes the file."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._sums: list[int] = []
        self._sum = 0
        self._is_body = True
        self.is_open = True
        self.bytes = 0
        self.tail = hashlib.sha256()
        self.closed = False

    def write(self, data: Any) -> int:
        """Passed on, counted and summed."""
        if self.is_open:
            self._sink.write(data)
        view = memoryview(data)
        if self._is_body:
            at = 0
            while at < len(view):
                piece = view[at : at + SEGMENT_BYTES - self.bytes % SEGMENT_BYTES]
                self._sum = zlib.crc32(piece, self._sum)
                at += len(piece)
                self.bytes += len(piece)
                if self.bytes % SEGMENT_BYTES == 0:
                    self._end_segment()
        else:
            self.tail.update(view)
            self.bytes += len(view)
        return len(view)

    def end_body(self) -> str:
        """The sums of all segments, 8 hexadecimal digits each; what comes now is the tail."""
        if self.bytes % SEGMENT_BYTES:
            self._end_segment()
        self._is_body = False
        return "".join(f"{one:08x}" for one in self._sums)

    def _end_segment(self) -> None:
        self._sums.append(self._sum)
        self._sum = 0

    def flush(self) -> None:
        """The owner flushes when it makes the object durable."""

    def tell(self) -> int:
        """Bytes so far: pyarrow places its footer by it."""
        return self.bytes

    def writable(self) -> bool:
        """Always, until its owner closes it."""
        return True

    def readable(self) -> bool:
        """Never."""
        return False

    def seekable(self) -> bool:
        """Never: a block is written front to back."""
        return False


def read(
    source: BinaryIO | pa.NativeFile, tail_sha256: Digest | None = None
) -> Iterator[SortedSamples]:
    """Row group by row group; a series may span two pieces.

    tail_sha256: what the catalogue has of it. Raises `BadPayload` when it is not a block of version
    1, or not the bytes that were written.
    """
    try:
        tail = read_tail(source, tail_sha256)
        metadata = tail.metadata.metadata or {}
        block_format = metadata.get(b"cloudopshub.format", b"").decode(errors="replace")
        if block_format != FORMAT:
            raise BadPayload(detail=f"not {FORMAT}", format=block_format)
        parquet = parquet_file(source, tail, pre_buffer=True)
        for group in range(parquet.num_row_groups):
            yield _samples(parquet.read_row_group(group, use_threads=False))
    except CorruptObject as exc:
        raise BadPayload(**exc.facts) from exc
    except (pa.ArrowInvalid, KeyError) as exc:
        raise BadPayload(detail=str(exc)) from exc


def _table(samples: SortedSamples) -> pa.Table:
    starts, series_ids = _chunk_starts(samples)
    n_chunks = series_ids.size
    values = np.ascontiguousarray(samples.values)
    scales = np.empty(n_chunks, np.int8)
    deltas = np.empty(values.size, np.int64)
    chunks.scale(starts, values, values.view(np.uint64), scales, deltas)
    is_raw = scales == chunks.RAW
    raw_samples = np.repeat(is_raw, np.diff(starts))
    return pa.Table.from_arrays(
        [
            pa.array(series_ids),
            pa.array(samples.timestamps_ms[starts[:-1]]),
            pa.array(samples.timestamps_ms[starts[1:] - 1]),
            _lists(starts, samples.timestamps_ms, None, SCHEMA.field("timestamps").type),
            pa.array(scales, mask=is_raw),
            _lists(starts, deltas[~raw_samples], is_raw, SCHEMA.field("deltas").type),
            _lists(starts, values[raw_samples], ~is_raw, SCHEMA.field("values").type),
        ],
        schema=SCHEMA,
    )


def _chunk_starts(samples: SortedSamples) -> tuple[I64, I64]:
    """Where the chunks start, with the end of the last, (c + 1,); and the series of each, (c,)."""
    lengths = np.diff(samples.starts)
    pieces = -(-lengths // CHUNK_SAMPLES_MAX)
    first_piece = np.concatenate(([0], np.cumsum(pieces)))
    of_series = np.repeat(np.arange(lengths.size), pieces)
    nth = np.arange(first_piece[-1]) - first_piece[of_series]
    starts = samples.starts[of_series] + nth * CHUNK_SAMPLES_MAX
    return np.append(starts, samples.starts[-1]), samples.series_ids[of_series]


def _lists(starts: I64, flat: Any, absent: Any, kind: pa.DataType) -> pa.ListArray:
    """A list column whose rows are the chunks; `absent` rows are null and own nothing of `flat`."""
    lengths = np.diff(starts)
    if absent is not None:
        lengths = np.where(absent, 0, lengths)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    mask = None if absent is None else pa.array(absent)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), type=kind, mask=mask)


def _groups(lengths: Any) -> Iterator[tuple[int, int]]:
    """Row ranges of at most GROUP_CHUNKS_MAX chunks and GROUP_SAMPLES_MAX samples each."""
    start = 0
    samples = 0
    for row, length in enumerate(lengths.tolist()):
        is_full = row - start == GROUP_CHUNKS_MAX or samples + length > GROUP_SAMPLES_MAX
        if row > start and is_full:
            yield start, row
            start, samples = row, 0
        samples += length
    yield start, len(lengths)


def _samples(table: pa.Table) -> SortedSamples:
    rows = table.combine_chunks().to_batches()[0]
    times: pa.ListArray = rows["timestamps"]
    starts = times.offsets.to_numpy().astype(np.int64)
    starts -= starts[0]
    scale = rows["scale"]
    scales = scale.fill_null(chunks.RAW).to_numpy(zero_copy_only=False)
    values = np.empty(int(starts[-1]), np.float64)
    deltas, raw = rows["deltas"].flatten().to_numpy(), rows["values"].flatten().to_numpy()
    is_raw = np.repeat(scales == chunks.RAW, np.diff(starts))
    if (
        int(is_raw.sum()) != raw.size
        or int((~is_raw).sum()) != deltas.size
        or scales.max() > chunks.SCALE_MAX
    ):
        raise BadPayload(detail="the columns of a row group do not agree")
    chunks.unscale(starts, scales, deltas, raw, values)
    series_ids = rows["series_id"].to_numpy()
    first = np.flatnonzero(np.diff(series_ids, prepend=series_ids[0] - 1))
    return SortedSamples(
        series_ids[first], np.append(starts[first], starts[-1]), times.flatten().to_numpy(), values
    )
