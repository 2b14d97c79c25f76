"""Blocks as Parquet: columns of sorted samples to bytes and back.

    SortedSamples (series, times, values) ── chunks ── row groups ── Parquet

A writer takes samples piece by piece and a reader gives them back row group by row group, so
neither holds a whole block in memory. What is written is summed before it leaves the process, and
what is read is checked before it is decoded. Source: docs/formats/block.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_ingest import histograms
from data_ingest.chassis.checked import CorruptObject, Digest, parquet_file, read_tail
from data_ingest.errors import BadPayload
from data_ingest.histograms import NO_MESSAGES, Messages
from data_ingest.kernels import chunks
from data_ingest.model import F64, I64
from data_ingest.store.block_times import integers_of, items_of, times_of
from data_ingest.store.checked_parquet import CheckedParquet

CHUNK_SAMPLES_MAX: Final = 8_192
HISTOGRAM_CHUNK_SAMPLES_MAX: Final = 512
GROUP_CHUNKS_MAX: Final = 512
GROUP_SAMPLES_MAX: Final = 262_144
"""Bounds what a reader must decode at once, where chunks are long."""
FORMAT: Final = "block/2"
FORMATS_READ: Final = ("block/1", FORMAT)
SCHEMA: Final = pa.schema(
    [
        pa.field("series_id", pa.int64(), nullable=False),
        pa.field("min_ts", pa.int64(), nullable=False),
        pa.field("max_ts", pa.int64(), nullable=False),
        pa.field("samples", pa.int32(), nullable=False),
        pa.field("step_ms", pa.int64(), nullable=False),
        pa.field("jitter", pa.list_(pa.field("element", pa.int64(), nullable=False))),
        pa.field("scale", pa.int8()),
        pa.field("base", pa.int64()),
        pa.field("integers", pa.list_(pa.field("element", pa.int64(), nullable=False))),
        pa.field("values", pa.list_(pa.field("element", pa.float64(), nullable=False))),
        pa.field("histograms", pa.list_(pa.field("element", pa.binary(), nullable=False))),
    ]
)
_NUMBERS: Final = ("series_id", "min_ts", "max_ts", "samples", "step_ms", "base")
_LISTS: Final = ("jitter.list.element", "integers.list.element")
_ENCODINGS: Final = {
    **dict.fromkeys(_NUMBERS + _LISTS, "DELTA_BINARY_PACKED"),
    "values.list.element": "BYTE_STREAM_SPLIT",
    "histograms.list.element": "DELTA_LENGTH_BYTE_ARRAY",
}


@dataclass(frozen=True, slots=True)
class SortedSamples:
    """Samples by series, then time.

    series_ids: (s,) int64, strictly ascending.
    starts: (s + 1,) int64, where each series starts; starts[-1] = n.
    timestamps_ms: (n,) int64, strictly ascending within a series.
    values: (n,) float64, bits kept. histograms: as in `batch.Columns`.
    """

    series_ids: I64
    starts: I64
    timestamps_ms: I64
    values: F64
    histograms: Messages = field(default_factory=lambda: NO_MESSAGES)

    def __len__(self) -> int:
        return int(self.timestamps_ms.size)

    def where(self, is_kept: npt.NDArray[np.bool_]) -> "SortedSamples":
        """Those samples that are kept, (n,); a series without one is left out."""
        starts = np.concatenate(([0], np.cumsum(is_kept)))[self.starts]
        has_any = np.flatnonzero(np.diff(starts))
        return SortedSamples(
            self.series_ids[has_any],
            np.append(starts[has_any], starts[-1]),
            self.timestamps_ms[is_kept],
            self.values[is_kept],
            self.histograms,
        )


class BlockFacts(NamedTuple):
    """What the catalogue records of a written block; both times inclusive.

    tail_sha256: of the footer, its length and the magic, which end the object.
    """

    series: int
    samples: int
    min_ts: int
    max_ts: int
    bytes: int
    tail_sha256: Digest


class BlockWriter(CheckedParquet):
    """Writes one block to `sink`.

    Pieces come in order of series; a series may go on in the next piece, later in time.
    """

    def __init__(self, sink: BinaryIO, tenant: UUID, resolution_ms: int = 0) -> None:
        super().__init__(
            sink, tenant, resolution_ms, FORMAT, SCHEMA, _ENCODINGS,
            ("series_id", "min_ts", "max_ts"),
        )  # fmt: skip
        self._last = (-1, 0)
        self._series = self._samples = 0
        self._min_ms, self._max_ms = 2**63 - 1, -(2**63)

    def write(self, samples: SortedSamples) -> None:
        """The samples are in the block, in one or more row groups; no samples change nothing."""
        if not len(samples):
            return
        first = int(samples.series_ids[0]), int(samples.timestamps_ms[0])
        assert first > self._last, "pieces come in order of series, then time"
        for table in _tables(samples):
            self.write_table(table, table.num_rows)
        self._series += int(samples.series_ids.size) - (first[0] == self._last[0])
        self._samples += len(samples)
        self._last = int(samples.series_ids[-1]), int(samples.timestamps_ms[-1])
        self._min_ms = min(self._min_ms, int(samples.timestamps_ms.min()))
        self._max_ms = max(self._max_ms, int(samples.timestamps_ms.max()))

    def close(self) -> BlockFacts:
        """The footer is written; the facts of the block, which must have at least one sample."""
        assert self._samples, "a block holds at least one sample"
        return BlockFacts(self._series, self._samples, self._min_ms, self._max_ms, *self.end())


def read(
    source: BinaryIO | pa.NativeFile, tail_sha256: Digest | None = None
) -> Iterator[SortedSamples]:
    """Row group by row group; a series may span two pieces.

    tail_sha256: what the catalogue has of it. Raises `BadPayload` when it is not a block, or not
    the bytes that were written.
    """
    try:
        tail = read_tail(source, tail_sha256)
        metadata = tail.metadata.metadata or {}
        block_format = metadata.get(b"cloudopshub.format", b"").decode(errors="replace")
        if block_format not in FORMATS_READ:
            raise BadPayload(detail=f"not {' or '.join(FORMATS_READ)}", format=block_format)
        parquet = parquet_file(source, tail, pre_buffer=True)
        for group in range(parquet.num_row_groups):
            yield _samples(parquet.read_row_group(group, use_threads=False))
    except CorruptObject as exc:
        raise BadPayload(**exc.facts) from exc
    except (pa.ArrowInvalid, KeyError) as exc:
        raise BadPayload(detail=str(exc)) from exc


@dataclass(frozen=True, slots=True)
class _Chunks:
    """The rows that some samples make. starts: (c + 1,), of each, and the end of the last;
    series_ids: (c,); messages_before: (c + 1,), histograms before each; weights: (c,), in samples.
    """

    starts: I64
    series_ids: I64
    messages_before: I64
    weights: I64


def _tables(samples: SortedSamples) -> Iterator[pa.Table]:
    """The row groups of these samples."""
    values, messages = histograms.in_order(samples.values, samples.histograms)
    samples = replace(samples, values=values, histograms=messages)
    rows = _chunks(samples)
    for low, high in _groups(rows.weights):
        yield _table(samples, rows, low, high)


def _table(samples: SortedSamples, rows: _Chunks, low: int, high: int) -> pa.Table:
    """The chunks `low:high`."""
    starts, messages_before = rows.starts[low : high + 1], rows.messages_before[low : high + 1]
    messages = samples.histograms.slice(
        messages_before[0], messages_before[-1] - messages_before[0]
    )
    n_chunks, part = high - low, slice(int(starts[0]), int(starts[-1]))
    times = np.ascontiguousarray(samples.timestamps_ms[part])
    values, starts = np.ascontiguousarray(samples.values[part]), starts - starts[0]
    scales, bases = np.empty(n_chunks, np.int8), np.empty(n_chunks, np.int64)
    integers = np.empty(values.size, np.int64)
    chunks.scale(starts, values, values.view(np.uint64), scales, bases, integers)
    steps_ms, jitter = np.empty(n_chunks, np.int64), np.empty(values.size, np.int64)
    chunks.fit_grid(starts, times, steps_ms, jitter)
    is_regular, is_raw = ~np.logical_or.reduceat(jitter != 0, starts[:-1]), scales == chunks.RAW
    lengths = np.diff(starts)
    has_jitter, raw_samples = np.repeat(~is_regular, lengths), np.repeat(is_raw, lengths)
    return pa.Table.from_arrays(
        [
            pa.array(rows.series_ids[low:high]),
            pa.array(times[starts[:-1]]),
            pa.array(times[starts[1:] - 1]),
            pa.array(lengths.astype(np.int32)),
            pa.array(steps_ms),
            _lists(starts, jitter[has_jitter], is_regular, SCHEMA.field("jitter").type),
            pa.array(scales, mask=is_raw),
            pa.array(bases, mask=is_raw),
            _lists(starts, integers[~raw_samples], is_raw, SCHEMA.field("integers").type),
            _lists(starts, values[raw_samples], ~is_raw, SCHEMA.field("values").type),
            _lists(
                messages_before,
                messages.cast(pa.binary()),
                np.diff(messages_before) == 0,
                SCHEMA.field("histograms").type,
            ),
        ],
        schema=SCHEMA,
    )


def _chunks(samples: SortedSamples) -> _Chunks:
    messages = samples.histograms
    places = histograms.places(samples.values) if len(messages) else np.empty(0, np.int64)
    lengths = np.diff(samples.starts)
    samples_max = np.where(
        np.diff(np.searchsorted(places, samples.starts)) > 0,
        HISTOGRAM_CHUNK_SAMPLES_MAX,
        CHUNK_SAMPLES_MAX,
    )
    pieces = -(-lengths // samples_max)
    first_piece = np.concatenate(([0], np.cumsum(pieces)))
    of_series = np.repeat(np.arange(lengths.size), pieces)
    nth = np.arange(first_piece[-1]) - first_piece[of_series]
    starts = np.append(samples.starts[of_series] + nth * samples_max[of_series], samples.starts[-1])
    messages_before = np.searchsorted(places, starts)
    sizes = np.concatenate(([0], np.cumsum(histograms.lengths(messages))))[messages_before]
    weights = np.diff(starts) + np.diff(sizes) // histograms.BYTES_OF_A_SAMPLE
    return _Chunks(starts, samples.series_ids[of_series], messages_before, weights)


def _lists(starts: I64, flat: Any, absent: Any, kind: pa.DataType) -> pa.ListArray:
    """A list column whose rows are the chunks; `absent` rows are null and own nothing of `flat`."""
    lengths = np.where(absent, 0, np.diff(starts))
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(flat), type=kind, mask=pa.array(absent)
    )


def _groups(weights: I64) -> Iterator[tuple[int, int]]:
    """Row ranges of at most GROUP_CHUNKS_MAX chunks, which weigh GROUP_SAMPLES_MAX at most."""
    start = 0
    samples = 0
    for row, weight in enumerate(weights.tolist()):
        is_full = row - start == GROUP_CHUNKS_MAX or samples + weight > GROUP_SAMPLES_MAX
        if row > start and is_full:
            yield start, row
            start, samples = row, 0
        samples += weight
    yield start, len(weights)


def _samples(table: pa.Table) -> SortedSamples:
    rows = table.combine_chunks().to_batches()[0]
    starts, timestamps_ms = times_of(rows)
    scales = rows["scale"].fill_null(chunks.RAW).to_numpy(zero_copy_only=False)
    if scales.max() > chunks.SCALE_MAX:
        raise BadPayload(detail="a scale is out of range", scale=int(scales.max()))
    is_raw, lengths = scales == chunks.RAW, np.diff(starts)
    raw = items_of(rows, "values", int(lengths[is_raw].sum()))
    bases, integers = integers_of(rows, np.where(is_raw, 0, lengths))
    values = np.empty(int(starts[-1]), np.float64)
    chunks.unscale(starts, scales, bases, integers, raw, values)
    messages = _messages(rows, starts, values)
    if len(messages):
        values = histograms.numbered(values)
    series_ids = rows["series_id"].to_numpy()
    first = np.flatnonzero(np.diff(series_ids, prepend=series_ids[0] - 1))
    return SortedSamples(
        series_ids[first],
        np.append(starts[first], starts[-1]),
        timestamps_ms,
        values,
        messages,
    )


def _messages(rows: Any, starts: I64, values: F64) -> Messages:
    """Those of all chunks; `BadPayload` where a chunk has not one for each histogram sample."""
    kind = SCHEMA.field("histograms").type
    is_there = "histograms" in rows.schema.names
    lists: pa.ListArray = rows["histograms"] if is_there else pa.nulls(len(rows), kind)
    counts = pc.list_value_length(lists).fill_null(0).to_numpy()
    if not np.array_equal(counts, np.diff(np.searchsorted(histograms.places(values), starts))):
        raise BadPayload(detail="the histograms of a row group do not agree with its values")
    return lists.flatten().cast(pa.large_binary())
