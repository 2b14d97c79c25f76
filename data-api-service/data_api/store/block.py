"""Blocks: Parquet objects of sorted chunks, of which only the row groups that matter are read.

    footer (kept) ── statistics of series_id, min_ts, max_ts ──▶ which row groups can matter
    row group ── index (series_id, min_ts, max_ts; kept) ──▶ which chunks matter
              └─ columns decoded to arrays (kept) ──▶ Fragment

Bytes are checked before they are decoded. Format: docs/formats/block.md.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import structlog
from prometheus_client import Counter

from data_api.chassis.checked import CorruptObject, Digest, Tail, parquet_file, read_tail
from data_api.chassis.objects import Bucket, Directory, ObjectStoreUnavailable
from data_api.errors import CorruptData
from data_api.model import F64, I64, is_histogram
from data_api.store import beside
from data_api.store.beside import Histograms
from data_api.store.cache import ByteCache
from data_api.store.fragments import Fragment, Rows, cut, kernels, ranges

T = TypeVar("T")
FORMATS: Final = (b"block/1", b"block/2")
HISTOGRAMS: Final = "histograms"
KEYS: Final = ("series_id", "min_ts", "max_ts")
POWERS_OF_TEN: Final = 10.0 ** np.arange(23)  # each one exact
NAMED_MAX: Final = 1_000

Warn = Callable[[str], None]
"""Told why an answer is partial."""

log = structlog.get_logger()
CORRUPT: Final = Counter(
    "cloudopshub_block_corruptions_total", "Reads of a block's footer or row group found corrupt."
)


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A live block as the catalogue lists it."""

    block_id: int
    precedence: int
    min_ts: int
    max_ts: int
    samples: int
    nbytes: int
    object_key: str
    tail_sha256: Digest | None = None
    resolution_ms: int = 0


@dataclass(frozen=True, slots=True)
class Footer:
    """What is kept of a block between queries: its tail and each row group's bounds."""

    tail: Tail
    bounds: I64  # (groups, 6): first and last of series_id, min_ts, max_ts

    def groups(self, series_ids: I64, span: tuple[int, int]) -> Iterator[int]:
        """Row groups that may hold a sample of `series_ids` (ascending) in `span`."""
        if not self.bounds.size:
            return
        reach = (self.bounds[:, 2] <= span[1]) & (self.bounds[:, 5] >= span[0])
        first = np.searchsorted(series_ids, self.bounds[:, 0])
        reach &= np.searchsorted(series_ids, self.bounds[:, 1], side="right") > first
        yield from np.flatnonzero(reach).tolist()


@dataclass(frozen=True, slots=True)
class ChunkIndex:
    """The keys of chunks, sorted by series then time."""

    series_ids: I64
    min_ts: I64
    max_ts: I64

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.series_ids.nbytes * 3


@dataclass(frozen=True, slots=True)
class ChunkColumns:
    """A decoded row group: chunk i owns samples [offsets[i], offsets[i + 1])."""

    index: ChunkIndex
    offsets: I64
    timestamps_ms: I64
    values: F64
    histograms: Histograms

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, and of what is beside them."""
        arrays = (self.offsets, self.timestamps_ms, self.values)
        return self.index.nbytes + sum(a.nbytes for a in arrays) + beside.nbytes(self.histograms)


class BlockReader:
    """Reads blocks from one object store through caches; safe from several threads.

    What is cached is named by the object's key, which is never given twice. A block's id is: a
    restored database counts on from where its backup was.
    """

    def __init__(self, objects: Directory | Bucket, bytes_max: int) -> None:
        self._objects = objects
        self._footers: ByteCache[str, Footer] = ByteCache(
            "block_footer",
            max(1 << 20, bytes_max // 8),
            lambda footer: footer.tail.nbytes,
        )
        self._indexes: ByteCache[str, ChunkIndex] = ByteCache(
            "block_index", max(1 << 20, bytes_max // 4), lambda index: index.nbytes
        )
        self._columns: ByteCache[tuple[str, int], ChunkColumns] = ByteCache(
            "block_chunk", bytes_max, lambda columns: columns.nbytes
        )
        self._named: set[str] = set()

    def fragments(
        self, block: BlockRef, series_ids: I64, span: tuple[int, int], warn: Warn | None = None
    ) -> Iterator[Fragment]:
        """What the block holds of `series_ids` (ascending) inside `span` (ms, both inclusive).

        What is corrupt of it is left out and `warn` told; without `warn` it raises CorruptData.
        """
        footer = self._unless_corrupt(block, warn, lambda: self._footer(block))
        for group in () if footer is None else footer.groups(series_ids, span):
            columns = self._unless_corrupt(block, warn, partial(self._read, block, group))
            if columns is not None:
                source = Rows(
                    columns.offsets, columns.timestamps_ms, columns.values, columns.histograms
                )
                fragment = cut(columns.index.series_ids, source, series_ids, span)
                if fragment is not None:
                    yield fragment

    def mark_present(
        self, block: BlockRef, series_ids: I64, span: tuple[int, int], present: I64
    ) -> None:
        """`present` is 1 for those of `series_ids` (ascending) with a chunk that reaches in `span`.

        Raises CorruptData.
        """
        index = self._unless_corrupt(block, None, lambda: self._index(block))
        assert index is not None
        kernels().mark(index.series_ids, index.min_ts, index.max_ts, series_ids, *span, present)

    def _unless_corrupt(
        self, block: BlockRef, warn: Warn | None, read: Callable[[], T]
    ) -> T | None:
        """What `read` gives; None when that is corrupt, which is counted, named and told to `warn`.

        Without `warn` CorruptData is raised.
        """
        try:
            return read()
        except CorruptData as error:
            CORRUPT.inc()
            if block.object_key not in self._named and len(self._named) < NAMED_MAX:
                self._named.add(block.object_key)
                log.error("block_corrupt", block_id=block.block_id, reason=str(error))  # noqa: TRY400 - our own error
            if warn is None:
                raise
        warn(
            f"block {block.object_key} is corrupt: samples from {block.min_ts} to {block.max_ts}"
            " (ms) are missing, or older than their corrections"
        )
        return None

    def _footer(self, block: BlockRef) -> Footer:
        return self._footers.get(block.object_key, lambda: self._read_footer(block))

    def _read_footer(self, block: BlockRef) -> Footer:
        with self._objects.reading(block.object_key) as source, translated_errors(block):
            tail = read_tail(source, block.tail_sha256)
            format_name = (tail.metadata.metadata or {}).get(b"cloudopshub.format")
            if format_name not in FORMATS:
                raise CorruptData(detail="a block of an unknown format", object=block.object_key)
            return Footer(tail, _bounds(tail.metadata))

    def _read(self, block: BlockRef, group: int) -> ChunkColumns:
        return self._columns.get(
            (block.object_key, group), lambda: _decode(self._table(block, group, None))
        )

    def _index(self, block: BlockRef) -> ChunkIndex:
        """Of all row groups together."""
        return self._indexes.get(block.object_key, lambda: self._read_index(block))

    def _read_index(self, block: BlockRef) -> ChunkIndex:
        groups = range(self._footer(block).tail.metadata.num_row_groups)
        tables = [self._table(block, group, KEYS) for group in groups]
        return _index(pa.concat_tables(tables))

    def _table(self, block: BlockRef, group: int, columns: tuple[str, ...] | None) -> pa.Table:
        tail = self._footer(block).tail
        with self._objects.reading(block.object_key) as source, translated_errors(block):
            # A reader of its own: pyarrow's are not shared between threads.
            return parquet_file(source, tail, pre_buffer=True).read_row_group(
                group, columns=None if columns is None else list(columns), use_threads=False
            )


@contextlib.contextmanager
def translated_errors(block: BlockRef) -> Iterator[None]:
    """What is not Parquet, or not what was written, raises CorruptData; bytes that cannot be read
    ObjectStoreUnavailable.
    """
    try:
        yield
    except CorruptObject as exc:
        raise CorruptData(**exc.facts, object=block.object_key) from exc
    except MemoryError:
        raise  # Arrow's own is an ArrowException, too
    except pa.ArrowException as exc:
        raise CorruptData(detail=f"a block: {exc}", object=block.object_key) from exc
    except OSError as exc:
        raise ObjectStoreUnavailable(detail=str(exc), object=block.object_key) from exc


def _bounds(metadata: Any) -> I64:
    """First and last of each key column for each row group; without statistics, everything."""
    everything = np.iinfo(np.int64)
    places = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    bounds = np.empty((metadata.num_row_groups, 6), np.int64)
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for at, name in enumerate(KEYS):
            statistics = row_group.column(places[name]).statistics
            has_bounds = statistics is not None and statistics.has_min_max
            bounds[group, 2 * at] = statistics.min if has_bounds else everything.min
            bounds[group, 2 * at + 1] = statistics.max if has_bounds else everything.max
    return bounds


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _integers(table: pa.Table, name: str) -> I64:
    integers: I64 = _column(table, name).to_numpy(zero_copy_only=False)
    return integers


def _index(table: pa.Table) -> ChunkIndex:
    return ChunkIndex(*(_integers(table, name) for name in KEYS))


def _lengths(lists: pa.Array) -> I64:
    """Items of each list; 0 for a null."""
    lengths: I64 = np.diff(lists.offsets.to_numpy().astype(np.int64))
    if lists.null_count:
        lengths[lists.is_null().to_numpy(zero_copy_only=False)] = 0
    return lengths


def _items(table: pa.Table, name: str, counts: I64) -> Any:
    """The items of all lists; raises CorruptData when a list has not as many as its chunk needs."""
    lists = _column(table, name)
    if not np.array_equal(_lengths(lists), counts):
        raise CorruptData(detail="a block with a chunk whose columns differ in length", column=name)
    return lists.flatten().to_numpy(zero_copy_only=False)


def _spread(of_chunks: Any, counts: I64) -> Any:
    """Each chunk's number for each of its samples; one number when all chunks have the same."""
    first = of_chunks[0]
    return first if (of_chunks == first).all() else np.repeat(of_chunks, counts)


def _decode(table: pa.Table) -> ChunkColumns:
    """A row group's columns as arrays; raises CorruptData when a chunk's columns disagree."""
    index = _index(table)
    counts, timestamps_ms = _times(table, index)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    starts = offsets[:-1]
    scales = _column(table, "scale")
    is_raw = scales.is_null().to_numpy(zero_copy_only=False)
    raws = _items(table, "values", np.where(is_raw, counts, 0))
    scaled_counts = np.where(is_raw, 0, counts)
    bases, integers = _integers_of(table, scaled_counts)
    values: F64
    if is_raw.all():
        values = raws
    else:
        powers = POWERS_OF_TEN[scales.fill_null(0).to_numpy(zero_copy_only=False)]
        values = (integers + _spread(bases, scaled_counts)) / _spread(powers, scaled_counts)
    if 0 < raws.size < offsets[-1]:
        scaled, values = values, np.empty(offsets[-1], np.float64)
        values[ranges(starts[~is_raw], counts[~is_raw])] = scaled
        values[ranges(starts[is_raw], counts[is_raw])] = raws
    values, histograms = _histograms(table, offsets, values, raws)
    return ChunkColumns(index, offsets, timestamps_ms, values, histograms)


def _histograms(table: pa.Table, offsets: I64, values: F64, raws: F64) -> tuple[F64, Histograms]:
    """The values of a row group, which carry the places of its native histograms, and those. raws:
    those of `values` that are stored as they are, as histograms always are.
    """
    column = _column(table, HISTOGRAMS) if HISTOGRAMS in table.column_names else None
    is_without = column is None or column.null_count == len(column)
    if is_without and not is_histogram(raws).any():
        return values, beside.NONE
    named = np.diff(np.concatenate(([0], np.cumsum(is_histogram(values))))[offsets])
    if column is None or not np.array_equal(named, _lengths(column)):
        raise CorruptData(detail="a block with a chunk that names other histograms than it has")
    values = values.copy()  # Arrow's own memory is not to be written to
    beside.number(values)
    return values, beside.of(column.flatten().to_pylist())


def _times(table: pa.Table, index: ChunkIndex) -> tuple[I64, I64]:
    """Samples of each chunk; all timestamps."""
    if "timestamps" in table.column_names:  # version 1
        counts = _lengths(_column(table, "timestamps"))
        return counts, _items(table, "timestamps", counts)
    counts = _integers(table, "samples").astype(np.int64)
    if counts.min() < 1:
        raise CorruptData(detail="a block with a chunk without samples")
    steps_ms = _integers(table, "step_ms")
    starts = np.cumsum(counts) - counts
    timestamps_ms = np.arange(counts.sum(), dtype=np.int64)
    timestamps_ms *= _spread(steps_ms, counts)
    timestamps_ms += np.repeat(index.min_ts - steps_ms * starts, counts)
    has_jitter = ~_column(table, "jitter").is_null().to_numpy(zero_copy_only=False)
    if has_jitter.any():
        jitter = _items(table, "jitter", np.where(has_jitter, counts, 0))
        if has_jitter.all():
            timestamps_ms += jitter
        else:
            timestamps_ms[ranges(starts[has_jitter], counts[has_jitter])] += jitter
    return counts, timestamps_ms


def _integers_of(table: pa.Table, counts: I64) -> tuple[I64, I64]:
    """The base of each chunk; the integers of all, of which each has so many (0: none)."""
    if "integers" in table.column_names:
        bases = _column(table, "base").fill_null(0).to_numpy(zero_copy_only=False)
        return bases, _items(table, "integers", counts)
    integers = np.cumsum(_items(table, "deltas", counts))  # version 1
    return -np.concatenate(([0], integers))[np.cumsum(counts) - counts], integers
