"""The newest samples of a tenant: decoded batches, sorted by series for quick look-up.

    batches in (xid, batch_id) order:  b1 b2 b3 b4 b5 b6 b7 │ b8 b9 │ b10
    runs, each sorted by series:       └──── run ─────────┘ └─ run ┘ └run┘

A run is immutable and covers a stretch of the commit order that no other run overlaps, so runs in
order are sources in order of precedence. New batches become one small run; eight neighbouring runs
of one size are merged, so a sample is sorted three or four times in all and a query reads a few
dozen runs at most. A head never changes: the head of a snapshot stays valid while it is read.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from data_api.model import F64, I64
from data_api.store import beside
from data_api.store.batch import SampleColumns
from data_api.store.beside import Histograms
from data_api.store.fragments import Fragment, Rows, cut, matches

FAN_IN: Final = 8
TIER_BITS: Final = 3  # runs of 8^k to 8^(k+1) - 1 samples are of one tier
RADIX_SPAN: Final = 1 << 16
SAMPLE_BYTES: Final = 24
PAGE_BATCHES: Final = 256
PAGE_BYTES: Final = 12_000_000  # decoded at once, beside the head
RUN_SAMPLES_MAX: Final = 1_000_000  # a sort of so many needs some 70 MiB beside them


@dataclass(frozen=True, slots=True, order=True)
class BatchRef:
    """A live batch as the catalogue lists it; ordered as batches take precedence."""

    xid: int
    batch_id: int
    min_ts: int = field(compare=False)
    max_ts: int = field(compare=False)
    samples: int = field(compare=False)
    histogram_bytes: int = field(default=0, compare=False)

    @property
    def nbytes(self) -> int:
        """Memory of its samples once they are decoded."""
        return self.samples * SAMPLE_BYTES + self.histogram_bytes

    def overlaps(self, first_ms: int, last_ms: int) -> bool:
        """Whether it may hold a sample in [first_ms, last_ms]."""
        return self.min_ts <= last_ms and self.max_ts >= first_ms


@dataclass(frozen=True, slots=True)
class HeadRun:
    """The samples of neighbouring batches: by series, then time, then precedence."""

    batches: tuple[BatchRef, ...]  # ascending
    series_ids: I64  # (k,) strictly ascending
    offsets: I64  # (k + 1,)
    timestamps_ms: I64  # (n,)
    values: F64  # (n,)
    origins: npt.NDArray[np.int32]  # (n,) which of `batches` each sample came with
    histograms: Histograms  # those that values name
    min_ts: int
    max_ts: int

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, and of what is beside them."""
        columns = (self.series_ids, self.offsets, self.timestamps_ms, self.values, self.origins)
        batches = sum(batch.histogram_bytes for batch in self.batches)
        return sum(column.nbytes for column in columns) + batches

    def select(self, series_ids: I64, span: tuple[int, int]) -> Fragment | None:
        """What it holds of `series_ids` (ascending) inside `span` (ms, both inclusive)."""
        if self.max_ts < span[0] or self.min_ts > span[1]:
            return None
        source = Rows(self.offsets, self.timestamps_ms, self.values, self.histograms)
        return cut(self.series_ids, source, series_ids, span)

    def mark_present(self, series_ids: I64, span: tuple[int, int], present: I64) -> None:
        """`present` is 1 for those of `series_ids` (ascending) with a sample inside `span`."""
        if self.max_ts >= span[0] and self.min_ts <= span[1]:
            places = matches(self.series_ids, self.offsets, self.timestamps_ms, series_ids, span)
            present[places[0]] = 1


@dataclass(frozen=True, slots=True)
class Head:
    """The decoded live batches of a tenant as of one snapshot."""

    runs: tuple[HeadRun, ...] = ()  # in order of precedence, lowest first

    @property
    def nbytes(self) -> int:
        """Memory of all its runs."""
        return sum(run.nbytes for run in self.runs)

    @property
    def batches(self) -> frozenset[BatchRef]:
        """The batches it holds."""
        return frozenset(batch for run in self.runs for batch in run.batches)

    def overlapping(self, span: tuple[int, int]) -> frozenset[BatchRef]:
        """Its batches that may hold a sample in `span` (ms, both inclusive)."""
        runs = (run for run in self.runs if run.max_ts >= span[0] and run.min_ts <= span[1])
        return frozenset(one for run in runs for one in run.batches if one.overlaps(*span))

    def fragments(self, series_ids: I64, span: tuple[int, int]) -> list[Fragment]:
        """Each run's part of `series_ids` (ascending) inside `span`, lowest precedence first."""
        fragments = (run.select(series_ids, span) for run in self.runs)
        return [fragment for fragment in fragments if fragment is not None]

    def only(self, live: frozenset[BatchRef]) -> "Head":
        """The head without the batches that are not `live`."""
        runs = (_without_dead(run, live) for run in self.runs)
        return Head(tuple(run for run in runs if run is not None))

    def add(self, columns: Mapping[BatchRef, SampleColumns]) -> "Head":
        """The head and these batches, none of which it has already."""
        if not columns:
            return self
        run = _run(sorted(columns.items()))
        runs: Sequence[HeadRun] = self.runs
        overlapping = [old for old in runs if _overlap(old, run)]
        if sum(one.values.size for one in (*overlapping, run)) > RUN_SAMPLES_MAX:
            runs = [part for old in runs for part in _parts(old, run.batches[0], run.batches[-1])]
            overlapping = [part for part in runs if _overlap(part, run)]
        apart = [old for old in runs if not _overlap(old, run)]
        if overlapping:  # a lower xid that committed late, or a batch that an earlier span left out
            run = _joined([*overlapping, run])
        return Head(_tiered(sorted([*apart, run], key=lambda run: run.batches[0])))


def _parts(run: HeadRun, first: BatchRef, last: BatchRef) -> list[HeadRun]:
    """The same samples: of batches before `first`, from there to `last`, and after it."""
    start, end = bisect_left(run.batches, first), bisect_right(run.batches, last)
    pieces = (run.batches[:start], run.batches[start:end], run.batches[end:])
    parts = (_without_dead(run, frozenset(piece)) for piece in pieces)
    return [part for part in parts if part is not None]


def _overlap(a: HeadRun, b: HeadRun) -> bool:
    """Whether they cover a common stretch of the commit order."""
    return a.batches[0] <= b.batches[-1] and b.batches[0] <= a.batches[-1]


def _tier(run: HeadRun) -> int:
    return (run.values.size.bit_length() - 1) // TIER_BITS


def _tiered(runs: list[HeadRun]) -> tuple[HeadRun, ...]:
    """The same samples in the same order, in fewer than eight neighbouring runs of one tier, as far
    as runs stay within RUN_SAMPLES_MAX.
    """
    for tier in sorted({_tier(run) for run in runs}):
        first = len(runs)
        while first and _tier(runs[first - 1]) <= tier:
            first -= 1
        is_full = sum(_tier(run) == tier for run in runs[first:]) >= FAN_IN
        if is_full and sum(run.values.size for run in runs[first:]) <= RUN_SAMPLES_MAX:
            return _tiered([*runs[:first], _joined(runs[first:])])
    return tuple(runs)


def _run(batches: Sequence[tuple[BatchRef, SampleColumns]]) -> HeadRun:
    """One run of batches that come in ascending order."""
    sizes = [columns.values.size for _, columns in batches]
    values, histograms = beside.join([columns for _, columns in batches])
    return _sorted_run(
        tuple(ref for ref, _ in batches),
        np.concatenate([columns.series_ids for _, columns in batches]),
        np.concatenate([columns.timestamps_ms for _, columns in batches]),
        values,
        np.repeat(np.arange(len(batches), dtype=np.int32), sizes),
        histograms,
    )


def _joined(runs: Sequence[HeadRun]) -> HeadRun:
    """One run with the samples of several, which may interleave in commit order."""
    batches = tuple(sorted(batch for run in runs for batch in run.batches))
    place = {batch: index for index, batch in enumerate(batches)}
    series_ids = np.concatenate([np.repeat(run.series_ids, np.diff(run.offsets)) for run in runs])
    timestamps_ms = np.concatenate([run.timestamps_ms for run in runs])
    values, histograms = beside.join(runs)
    origins = np.concatenate(
        [np.array([place[b] for b in run.batches], np.int32)[run.origins] for run in runs]
    )
    in_order = all(a.batches[-1] < b.batches[0] for a, b in pairwise(runs))
    if not in_order:
        # Stable: rows of one batch and series keep the order in which they arrived.
        order = np.argsort(origins, kind="stable")
        series_ids, origins = series_ids[order], origins[order]
        timestamps_ms, values = timestamps_ms[order], values[order]
    return _sorted_run(batches, series_ids, timestamps_ms, values, origins, histograms)


def _sorted_run(  # noqa: PLR0917 - a run's columns
    batches: tuple[BatchRef, ...],
    series_ids: I64,
    timestamps_ms: I64,
    values: F64,
    origins: npt.NDArray[np.int32],
    histograms: Histograms,
) -> HeadRun:
    """Rows in order of precedence, sorted by series and time; equal keys keep their order."""
    order = stable_order(series_ids)
    series_ids, timestamps_ms = series_ids[order], timestamps_ms[order]
    same = series_ids[1:] == series_ids[:-1]
    if (same & (timestamps_ms[1:] < timestamps_ms[:-1])).any():
        again = np.lexsort((timestamps_ms, series_ids))
        timestamps_ms, order = timestamps_ms[again], order[again]
    starts = np.flatnonzero(np.concatenate(([True], ~same)))
    return HeadRun(
        batches,
        series_ids[starts],
        np.append(starts, series_ids.size),
        timestamps_ms,
        values[order],
        origins[order],
        histograms,
        min(batch.min_ts for batch in batches),
        max(batch.max_ts for batch in batches),
    )


def stable_order(ids: I64) -> I64:
    """The stable ascending order of `ids`.

    Ids are dense, so one or two 16-bit radix passes do it: numpy sorts uint16 stably by radix,
    about five times faster than it sorts int64.
    """
    span = ids - ids.min()
    widest = int(span.max())
    if widest < 0 or widest >= RADIX_SPAN**2:
        return np.argsort(ids, kind="stable")
    order = np.argsort(span.astype(np.uint16), kind="stable")
    if widest < RADIX_SPAN:
        return order
    return order[np.argsort((span[order] >> 16).astype(np.uint16), kind="stable")]


def _without_dead(run: HeadRun, live: frozenset[BatchRef]) -> HeadRun | None:
    alive = np.fromiter((batch in live for batch in run.batches), bool, len(run.batches))
    if alive.all():
        return run
    if not alive.any():
        return None
    is_live = alive[run.origins]
    places = np.cumsum(alive, dtype=np.int32) - np.int32(1)
    batches = tuple(batch for batch, lives in zip(run.batches, alive, strict=True) if lives)
    counts = np.add.reduceat(is_live, run.offsets[:-1], dtype=np.int64)
    there = counts > 0
    values, histograms = beside.pick(run.values[is_live], run.histograms)
    return HeadRun(
        batches,
        run.series_ids[there],
        np.concatenate(([0], np.cumsum(counts[there]))),
        run.timestamps_ms[is_live],
        values,
        places[run.origins[is_live]],
        histograms,
        min(batch.min_ts for batch in batches),
        max(batch.max_ts for batch in batches),
    )


def missing(
    live: Iterable[BatchRef], decoded: frozenset[BatchRef], span: tuple[int, int]
) -> list[BatchRef]:
    """The live batches that overlap `span` and are not decoded yet, in order of precedence."""
    return sorted(ref for ref in live if ref not in decoded and ref.overlaps(*span))


def split(refs: Sequence[BatchRef], bytes_max: int) -> tuple[list[BatchRef], list[BatchRef]]:
    """(those left out, those that fit): as many of the newest as `bytes_max` holds."""
    nbytes = np.cumsum([ref.nbytes for ref in reversed(refs)], dtype=np.int64)
    first = len(refs) - int(np.searchsorted(nbytes, bytes_max, side="right"))
    return list(refs[:first]), list(refs[first:])


def pages(refs: Sequence[BatchRef]) -> Iterator[list[BatchRef]]:
    """The same batches in pieces that may be decoded at once, each at least one."""
    page: list[BatchRef] = []
    nbytes = 0
    for ref in refs:
        if page and (nbytes + ref.nbytes > PAGE_BYTES or len(page) == PAGE_BATCHES):
            yield page
            page, nbytes = [], 0
        page.append(ref)
        nbytes += ref.nbytes
    if page:
        yield page
