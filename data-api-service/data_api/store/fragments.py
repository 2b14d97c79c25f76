"""Samples from several sources become one CSR bundle in which the last committed value wins; pure.

    block, precedence 7 ──┐
    block, precedence 9 ──┼─▶ merge ─▶ offsets, timestamps_ms, values
    head run, oldest  ────┤           (series by series, times strictly ascending)
    head run, newest  ────┘

Sources mostly do not overlap in time, so `merge` only scatters each one behind the earlier ones
(linear, no sort) and sorts just the series in which that left times out of order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from data_api.model import F64, I64, STALE_BITS
from data_api.store import beside
from data_api.store.beside import Histograms

VIEW_SHARE: Final = 1 / 2  # of its source; a part of at least this is a view, not a copy


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one source holds of the selected series, series by series."""

    positions: I64  # (k,) places in the selection, strictly ascending
    counts: I64  # (k,) samples of each, ≥ 1
    timestamps_ms: I64  # (n,) ascending within a series; equal ones only inside one head run
    values: F64  # (n,)
    histograms: Histograms = field(default_factory=beside.none)  # those that values name


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples row by row (compressed sparse rows): row i owns [offsets[i], offsets[i + 1])."""

    offsets: I64
    timestamps_ms: I64
    values: F64
    histograms: Histograms = field(
        default_factory=beside.none
    )  # those that values name, maybe others


def cut(
    source: Rows, rows: I64, positions: I64, span: tuple[int, int], *, inside: bool
) -> Fragment | None:
    """The samples inside `span` (ms, both ends inclusive) of some rows of `source`.

    rows: ascending row numbers; positions: the place of each in the selection, ascending, repeated
    where one series has several rows. Times ascend within a row. inside: every sample of the rows
    is known to lie in `span`. None when nothing is left.
    """
    timestamps_ms, values = source.timestamps_ms, source.values
    starts, ends = source.offsets[rows], source.offsets[rows + 1]
    if not inside:
        starts = _first_not_before(starts, ends, timestamps_ms, span[0])
        ends = _first_not_before(starts, ends, timestamps_ms, span[1] + 1)
    counts = ends - starts
    is_left = counts > 0
    if not is_left.any():
        return None
    if not is_left.all():
        positions, starts = positions[is_left], starts[is_left]
        ends, counts = ends[is_left], counts[is_left]
    # Neighbours are one slice, a view; others are gathered. So are a few samples of many: a view of
    # them would keep the whole source in memory for as long as the query lives.
    chosen: I64 | slice
    samples = int(counts.sum())
    if samples >= VIEW_SHARE * values.size and np.array_equal(ends[:-1], starts[1:]):
        chosen = slice(int(starts[0]), int(ends[-1]))
    else:
        chosen = ranges(starts, counts)
    repeated = positions[1:] == positions[:-1]
    if repeated.any():
        firsts = np.flatnonzero(np.concatenate(([True], ~repeated)))
        positions, counts = positions[firsts], np.add.reduceat(counts, firsts)
    values, histograms = beside.pick(values[chosen], source.histograms)
    return Fragment(positions, counts, timestamps_ms[chosen], values, histograms)


def _first_not_before(starts: I64, ends: I64, timestamps_ms: I64, wanted_ms: int) -> I64:
    """For each row, the first index in [start, end) whose time is ≥ `wanted_ms`, or its end.

    A binary search in all rows at once: a short span of long chunks costs their count, not their
    samples.
    """
    low, high = starts.copy(), ends.copy()
    while (open_ := low < high).any():
        middle = (low + high) >> 1
        before = open_ & (timestamps_ms[np.where(open_, middle, 0)] < wanted_ms)
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    return low


def ranges(starts: I64, counts: I64) -> I64:
    """The indices start, start+1, … of every range, one after another."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if ends.size else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total, dtype=np.int64)


def merge(fragments: Sequence[Fragment], series: int) -> Rows:
    """One bundle over `series` selected series; `fragments` from lowest precedence to highest.

    Of equal (series, timestamp) the value of the latest fragment, and in it the latest row, stays;
    a stale marker only where there is no value.
    """
    totals = np.zeros(series, np.int64)
    for fragment in fragments:
        totals[fragment.positions] += fragment.counts
    offsets = np.concatenate(([0], np.cumsum(totals)))
    cursors = offsets[:-1].copy()
    timestamps_ms = np.empty(offsets[-1], np.int64)
    values = np.empty(offsets[-1], np.float64)
    histograms = np.concatenate([beside.NONE, *(fragment.histograms for fragment in fragments)])
    before = 0
    for fragment in fragments:
        places = ranges(cursors[fragment.positions], fragment.counts)
        timestamps_ms[places] = fragment.timestamps_ms
        count = fragment.histograms.size
        values[places] = beside.shifted(fragment.values, before) if count else fragment.values
        before += count
        cursors[fragment.positions] += fragment.counts
    return replace(_sort_and_deduplicate(offsets, timestamps_ms, values), histograms=histograms)


def _sort_and_deduplicate(offsets: I64, timestamps_ms: I64, values: F64) -> Rows:
    """Times strictly ascend within each series; rows come in precedence order and the last value
    wins, over stale markers in any order.
    """
    n = timestamps_ms.size
    if n < 2:
        return Rows(offsets, timestamps_ms, values)
    backwards = np.empty(n, bool)
    backwards[0] = False
    np.less_equal(timestamps_ms[1:], timestamps_ms[:-1], out=backwards[1:])
    firsts = offsets[:-1]
    backwards[firsts[firsts < n]] = False
    if not backwards.any():
        return Rows(offsets, timestamps_ms, values)
    counts = np.diff(offsets)
    is_unsorted = np.zeros(counts.size, bool)
    is_unsorted[np.searchsorted(offsets, np.flatnonzero(backwards), side="right") - 1] = True
    rows = ranges(firsts[is_unsorted], counts[is_unsorted])
    owners = np.repeat(np.flatnonzero(is_unsorted), counts[is_unsorted])
    is_value = values[rows].view(np.int64) != STALE_BITS
    # Stable: among the values of one time the order of precedence stays.
    order = np.lexsort((is_value, timestamps_ms[rows], owners))
    sorted_ms, sorted_values = timestamps_ms[rows][order], values[rows][order]
    last = np.ones(rows.size, bool)
    last[:-1] = (sorted_ms[1:] != sorted_ms[:-1]) | (owners[1:] != owners[:-1])
    timestamps_ms[rows], values[rows] = sorted_ms, sorted_values
    if last.all():
        return Rows(offsets, timestamps_ms, values)
    is_last = np.ones(n, bool)
    is_last[rows] = last
    running = np.concatenate(([0], np.cumsum(is_last)))
    return Rows(running[offsets], timestamps_ms[is_last], values[is_last])
