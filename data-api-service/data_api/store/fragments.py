"""Samples from several sources become CSR bundles in which the last committed value wins; pure.

    block, precedence 7 ──┐
    block, precedence 9 ──┼─▶ merge ─▶ offsets, timestamps_ms, values
    head run, oldest  ────┤           (series by series, times strictly ascending)
    head run, newest  ────┘

Sources mostly do not overlap in time, so `merge` only scatters each one behind the earlier ones
(linear, no sort) and sorts just the series in which that left times out of order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Final

import numpy as np

from data_api.model import F64, I64
from data_api.store import beside
from data_api.store.beside import Histograms

JOINED_SAMPLES_MAX: Final = 500_000  # 8 MB, beside the fragments and what they become
VIEW_SHARE: Final = 1 / 2  # of its source; a part of at least this is a view, not a copy
SOURCE_SHARE: Final = 1 / 16  # likewise, where samples of others stand between


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one source holds of the selected series, series by series.

    starts: (k,) where the samples of each begin; None: each behind the one before, and no others.
    """

    positions: I64  # (k,) places in the selection, ascending
    counts: I64  # (k,) samples of each, ≥ 1
    timestamps_ms: I64  # (n,) ascending within a series; equal ones only inside one head run
    values: F64  # (n,)
    histograms: Histograms = field(default_factory=beside.none)  # those that values name
    starts: I64 | None = None

    @property
    def samples(self) -> int:
        """How many of `timestamps_ms` are selected."""
        return self.values.size if self.starts is None else int(self.counts.sum())

    def copied(self) -> "Fragment":
        """The same without the rest of the source."""
        if self.starts is None:
            return self
        starts, samples = self.starts, self.samples
        times, values = np.empty(samples, np.int64), np.empty(samples, np.float64)
        ends = starts + self.counts
        kernels().gather(starts, ends, self.timestamps_ms, self.values, times, values)
        return Fragment(self.positions, self.counts, times, values, self.histograms)


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples row by row (compressed sparse rows): row i owns [offsets[i], offsets[i + 1])."""

    offsets: I64
    timestamps_ms: I64
    values: F64
    # Those that values name, maybe others.
    histograms: Histograms = field(default_factory=beside.none)
    has_stale: bool = True  # False: no value is a stale marker


def cut(ids: I64, source: Rows, wanted: I64, span: tuple[int, int]) -> Fragment | None:
    """The samples of `wanted` series (ascending ids) inside `span` (ms, both ends inclusive).

    ids: of each row of `source`, ascending, repeated where one series has several rows. Times
    ascend within a row. None when there is no such sample.
    """
    timestamps_ms, values = source.timestamps_ms, source.values
    positions, starts, ends = matches(ids, source.offsets, timestamps_ms, wanted, span)
    if not positions.size:
        return None
    counts = ends - starts
    samples = int(counts.sum())
    share = samples / values.size
    if share >= VIEW_SHARE and np.array_equal(ends[:-1], starts[1:]):
        chosen = slice(int(starts[0]), int(ends[-1]))
        fragment = Fragment(positions, counts, timestamps_ms[chosen], values[chosen])
    else:
        # A few samples of many are gathered: a view of them would keep the whole source in memory
        # for as long as the query lives.
        fragment = Fragment(positions, counts, timestamps_ms, values, starts=starts)
        if share < SOURCE_SHARE or source.histograms.size:
            fragment = fragment.copied()
    if source.histograms.size:
        picked, histograms = beside.pick(fragment.values, source.histograms)
        fragment = replace(fragment, values=picked, histograms=histograms)
    return fragment


def matches(
    ids: I64, offsets: I64, timestamps_ms: I64, wanted: I64, span: tuple[int, int]
) -> tuple[I64, I64, I64]:
    """Of the rows as `cut` takes them that hold wanted samples: the place of each in `wanted`, and
    where those samples begin and end.
    """
    places = np.empty((3, ids.size), np.int64)
    count = kernels().match(ids, offsets, timestamps_ms, wanted, *span, *places)
    positions, starts, ends = places[:, :count].copy()
    return positions, starts, ends


def kernels() -> ModuleType:
    """What is compiled."""
    from data_api.store.kernels import rows  # noqa: PLC0415 - numba, which an import does not load

    return rows


def ranges(starts: I64, counts: I64) -> I64:
    """The indices start, start+1, … of every range, one after another."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if ends.size else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total, dtype=np.int64)


def merge(fragments: Sequence[Fragment], series: int, places: I64 | None = None) -> Rows:
    """One bundle over `series` selected series; `fragments` from lowest precedence to highest.

    places: the row of each position of the fragments, -1 for series that are left out; by default
    the positions are the rows. Of equal (series, timestamp) the value of the latest fragment, and
    in it the latest row, stays; a stale marker only where there is no value.
    """
    rows = np.arange(series) if places is None else places
    totals = np.zeros(series, np.int64)
    for fragment in fragments:
        row, counts = rows[fragment.positions], fragment.counts
        if places is not None:
            row, counts = row[row >= 0], counts[row >= 0]
        np.add.at(totals, row, counts)
    offsets = np.concatenate(([0], np.cumsum(totals)))
    cursors = offsets[:-1].copy()
    timestamps_ms = np.empty(offsets[-1], np.int64)
    values = np.empty(offsets[-1], np.float64)
    histograms = np.concatenate([beside.NONE, *(fragment.histograms for fragment in fragments)])
    before = flags = 0
    for one in fragments:
        count = one.histograms.size
        shifted = beside.shifted(one.values, before) if count else one.values
        before += count
        starts = np.cumsum(one.counts) - one.counts if one.starts is None else one.starts
        flags |= kernels().scatter(
            one.positions, starts, one.counts, one.timestamps_ms, shifted.view(np.int64), rows,
            offsets, cursors, timestamps_ms, values.view(np.int64),
        )  # fmt: skip
    if places is not None:
        values, histograms = beside.pick(values, histograms)
    if flags & kernels().BACKWARDS:
        unsorted, offsets = offsets, np.empty_like(offsets)
        kernels().sort_rows(unsorted, timestamps_ms, values.view(np.int64), offsets)
    end, has_stale = int(offsets[-1]), bool(flags & kernels().STALE)
    return Rows(offsets, timestamps_ms[:end], values[:end], histograms, has_stale)


def as_one(fragments: list[Fragment]) -> list[Fragment]:
    """The same, as one fragment where they have few samples and no histograms:
    several merges of them then cost a pass each, instead of a pass for each fragment.
    """
    samples = sum(fragment.samples for fragment in fragments)
    is_native = any(fragment.histograms.size for fragment in fragments)
    if len(fragments) < 2 or samples > JOINED_SAMPLES_MAX or is_native:
        return fragments
    copies = [fragment.copied() for fragment in fragments]
    return [
        Fragment(
            *(
                np.concatenate([getattr(fragment, name) for fragment in copies])
                for name in ("positions", "counts", "timestamps_ms", "values")
            )
        )
    ]
