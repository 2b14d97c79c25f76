"""Samples from several sources become one CSR bundle in which the last committed value wins; pure.

    block, precedence 7 ──┐
    block, precedence 9 ──┼─▶ merge ─▶ offsets, timestamps_ms, values
    head run, oldest  ────┤           (series by series, times strictly ascending)
    head run, newest  ────┘

Sources mostly do not overlap in time, so `merge` only scatters each one behind the earlier ones
(linear, no sort) and sorts just the series in which that left times out of order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one source holds of the selected series, series by series."""

    positions: I64  # (k,) places in the selection, strictly ascending
    counts: I64  # (k,) samples of each, ≥ 1
    timestamps_ms: I64  # (n,) ascending within a series; equal ones only inside one head run
    values: F64  # (n,)


@dataclass(frozen=True, slots=True)
class Merged:
    """The samples of each selected series: [offsets[i], offsets[i + 1])."""

    offsets: I64
    timestamps_ms: I64
    values: F64


def trimmed(
    positions: I64, counts: I64, timestamps_ms: I64, values: F64, span: tuple[int, int]
) -> Fragment | None:
    """The fragment of the samples inside `span` (ms, both ends inclusive); None when it is empty.

    positions may repeat (several chunks of one series, one after another) and counts may be 0.
    """
    first_ms, last_ms = span
    inside = (timestamps_ms >= first_ms) & (timestamps_ms <= last_ms)
    if not inside.all():
        running = np.concatenate(([0], np.cumsum(inside)))
        ends = np.cumsum(counts)
        counts = running[ends] - running[ends - counts]
        timestamps_ms, values = timestamps_ms[inside], values[inside]
    kept = counts > 0
    if not kept.any():
        return None
    if not kept.all():
        positions, counts = positions[kept], counts[kept]
    repeated = positions[1:] == positions[:-1]
    if repeated.any():
        starts = np.flatnonzero(np.concatenate(([True], ~repeated)))
        positions, counts = positions[starts], np.add.reduceat(counts, starts)
    return Fragment(positions, counts, timestamps_ms, values)


def ranges(starts: I64, counts: I64) -> I64:
    """The indices start, start+1, … of every range, one after another."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if ends.size else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total, dtype=np.int64)


def gather(offsets: I64, chosen: I64, timestamps_ms: I64, values: F64) -> tuple[I64, I64, F64]:
    """(counts, timestamps_ms, values) of the `chosen` (ascending) rows of a CSR bundle."""
    starts = offsets[chosen]
    counts = offsets[chosen + 1] - starts
    if chosen[-1] - chosen[0] + 1 == chosen.size:  # neighbours: a slice is a view, not a copy
        whole = slice(int(starts[0]), int(starts[-1] + counts[-1]))
        return counts, timestamps_ms[whole], values[whole]
    rows = ranges(starts, counts)
    return counts, timestamps_ms[rows], values[rows]


def merge(fragments: Sequence[Fragment], series: int) -> Merged:
    """One bundle over `series` selected series; `fragments` from lowest precedence to highest.

    Of equal (series, timestamp) the value of the latest fragment, and in it the latest row, stays.
    """
    totals = np.zeros(series, np.int64)
    for fragment in fragments:
        totals[fragment.positions] += fragment.counts
    offsets = np.concatenate(([0], np.cumsum(totals)))
    cursors = offsets[:-1].copy()
    timestamps_ms = np.empty(offsets[-1], np.int64)
    values = np.empty(offsets[-1], np.float64)
    for fragment in fragments:
        places = ranges(cursors[fragment.positions], fragment.counts)
        timestamps_ms[places] = fragment.timestamps_ms
        values[places] = fragment.values
        cursors[fragment.positions] += fragment.counts
    return _settled(offsets, timestamps_ms, values)


def _settled(offsets: I64, timestamps_ms: I64, values: F64) -> Merged:
    """Times strictly ascend within each series; rows come in precedence order and the last wins."""
    n = timestamps_ms.size
    if n < 2:
        return Merged(offsets, timestamps_ms, values)
    backwards = np.empty(n, bool)
    backwards[0] = False
    np.less_equal(timestamps_ms[1:], timestamps_ms[:-1], out=backwards[1:])
    firsts = offsets[:-1]
    backwards[firsts[firsts < n]] = False
    if not backwards.any():
        return Merged(offsets, timestamps_ms, values)
    counts = np.diff(offsets)
    unsettled = np.zeros(counts.size, bool)
    unsettled[np.searchsorted(offsets, np.flatnonzero(backwards), side="right") - 1] = True
    rows = ranges(firsts[unsettled], counts[unsettled])
    owners = np.repeat(np.flatnonzero(unsettled), counts[unsettled])
    order = np.lexsort((timestamps_ms[rows], owners))  # stable: precedence order stays
    sorted_ms, sorted_values = timestamps_ms[rows][order], values[rows][order]
    last = np.ones(rows.size, bool)
    last[:-1] = (sorted_ms[1:] != sorted_ms[:-1]) | (owners[1:] != owners[:-1])
    timestamps_ms[rows], values[rows] = sorted_ms, sorted_values
    if last.all():
        return Merged(offsets, timestamps_ms, values)
    kept = np.ones(n, bool)
    kept[rows] = last
    running = np.concatenate(([0], np.cumsum(kept)))
    return Merged(running[offsets], timestamps_ms[kept], values[kept])
