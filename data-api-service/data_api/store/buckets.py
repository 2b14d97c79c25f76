"""Buckets instead of samples, where they say the same as what is stored now. Pure.

    span ─ grid ──▶ buckets of which a rollup has all samples ─▶ its rows ───┐
               └──▶ stretches between ─▶ samples, each a bucket of its own ──┴▶ rows by series, time

A rollup has the samples of all blocks up to its own precedence. A bucket that a later block or a
sample of the head reaches into, or that retention cuts, is made of samples.
Source: docs/formats/rollup.md; docs/adr/0021-rollups.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_api.model import I64, STALE_BITS, SelectorSpan
from data_api.store.block import BlockRef
from data_api.store.fragments import Fragment, Rows, merge

BUCKETS_MAX: Final = 1 << 20
"""Of a span; ten years of 5 minutes."""
STRETCHES_MAX: Final = 64
"""Where late samples lie scattered, reading all samples at once is cheaper."""
SHARE_MIN: Final = 1 / 2
"""Of a span, that rollups must have: a sample as a bucket takes three times its memory."""
NO_BIT: Final = 32_767

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Grid:
    """The buckets that cover a span: bucket i is (start_ms + i · length_ms, … + length_ms]."""

    start_ms: int
    length_ms: int
    size: int

    @classmethod
    def over(cls, start_ms: int, end_ms: int, length_ms: int) -> "Grid":
        """Of the samples in (start_ms, end_ms]."""
        first, last = start_ms // length_ms, -(-end_ms // length_ms)
        return cls(first * length_ms, length_ms, max(0, last - first))

    def bucket(self, timestamps_ms: Any) -> Any:
        """The bucket of each timestamp; outside of the span it is none of the grid."""
        return (timestamps_ms - self.start_ms - 1) // self.length_ms

    def part(self, first_ms: int, last_ms: int) -> slice:
        """The buckets that [first_ms, last_ms] reaches into."""
        return slice(max(0, self.bucket(first_ms)), max(0, self.bucket(last_ms) + 1))


@dataclass(frozen=True, slots=True)
class Sources:
    """Where each bucket of a grid comes from: the place of a rollup in its list, -1 for samples."""

    grid: Grid
    rollups: I64

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """(first, last) ms of each run of buckets without a rollup, both inclusive."""
        is_open = np.concatenate(([False], self.rollups < 0, [False]))
        edges = np.flatnonzero(np.diff(is_open)).reshape(-1, 2) * self.grid.length_ms
        return [(first + 1, last) for first, last in (edges + self.grid.start_ms).tolist()]


def sources_of(
    wanted: SelectorSpan,
    rollups: Sequence[BlockRef],
    blocks: Sequence[BlockRef],
    head_ms: Sequence[I64],
) -> Sources | None:
    """A rollup for each bucket of which it has all the samples; None where samples alone are read.

    blocks: of samples. head_ms: the times, in the span, of samples that are in no block yet.
    """
    assert wanted.rolled is not None
    grid = Grid.over(wanted.start_ms, wanted.end_ms, wanted.rolled.resolution_ms)
    if grid.size > BUCKETS_MAX:
        return None
    sources = np.full(grid.size, -1, np.int64)
    precedence, first_ms, last_ms = (
        np.array([(block.precedence, block.min_ts, block.max_ts) for block in blocks], np.int64)
        .reshape(-1, 3)
        .T
    )
    for place, rollup in enumerate(rollups):
        if rollup.resolution_ms != grid.length_ms:
            continue
        sources[grid.part(rollup.min_ts, rollup.max_ts)] = place
        is_lacking = precedence > rollup.precedence
        is_lacking &= (first_ms <= rollup.max_ts) & (last_ms >= rollup.min_ts)
        for lacking in np.flatnonzero(is_lacking).tolist():
            low, high = blocks[lacking].min_ts, blocks[lacking].max_ts
            sources[grid.part(max(rollup.min_ts, low), min(rollup.max_ts, high))] = -1
    for times in head_ms:
        sources[grid.bucket(times)] = -1
    # Of the first bucket some samples may not be asked for, or be past retention.
    sources[: grid.bucket(wanted.start_ms) + 1] = -1
    made = Sources(grid, sources)
    is_worth_it = np.count_nonzero(sources >= 0) >= SHARE_MIN * grid.size > 0
    return made if is_worth_it and len(made.stretches) <= STRETCHES_MAX else None


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of some series: series by series, `end_ms` ascending; columns (n,) each."""

    positions: I64  # (k,) places in the selection, strictly ascending
    counts: I64  # (k,) rows of each
    columns: Arrays

    @property
    def samples(self) -> int:
        """How many samples take as much memory."""
        return sum(column.nbytes for column in self.columns.values()) // 16


def part_of_samples(rows: Rows, names: Sequence[str]) -> Part:
    """Each sample that is no stale marker as a bucket of its own; rows: of the whole selection.

    One with a marker behind it is a bucket that ends with that marker.
    """
    is_value = rows.values.view(np.int64) != STALE_BITS
    counts = np.diff(np.concatenate(([0], np.cumsum(is_value)))[rows.offsets])
    values, times = rows.values[is_value], rows.timestamps_ms[is_value]
    behind = np.flatnonzero(is_value) + 1
    is_stale = (behind < np.repeat(rows.offsets[1:], counts)) & ~np.append(is_value, True)[behind]
    end_ms = np.where(is_stale, np.append(rows.timestamps_ms, 0)[behind], times)
    columns: dict[str, NDArray[Any]] = {"end_ms": end_ms if "is_stale" in names else times}
    for name in names:
        match name:
            case "count":
                columns[name] = np.ones(values.size, np.int64)
            case "first_ms" | "last_ms":
                columns[name] = times
            case "sum_rest" | "resets" | "reset_sum":
                columns[name] = np.zeros(values.size)
            case "is_stale":
                columns[name] = is_stale
            case "lowest_bit":
                columns[name] = lowest_bits(values)
            case _:
                columns[name] = values
    positions = np.flatnonzero(counts)
    return Part(positions, counts[positions], columns)


def lowest_bits(values: NDArray[np.float64]) -> I64:
    """The exponent of the lowest set bit of each value; NO_BIT for zeros, infinities and NaN."""
    has_bits = np.isfinite(values) & (values != 0)
    mantissas, exponents = np.frexp(np.where(has_bits, values, 1.0))
    integers = np.ldexp(mantissas, 53).astype(np.int64)
    places = np.log2((integers & -integers).astype(np.float64)).astype(np.int64)
    return np.where(has_bits, exponents - 53 + places, NO_BIT)


def joined(parts: Sequence[Part], series: int, names: Sequence[str]) -> tuple[I64, Arrays]:
    """Offsets (series + 1,) and columns of the rows of all parts, by series, then `end_ms`."""
    first = 0
    fragments = []
    parts = sorted(parts, key=lambda part: int(part.columns["end_ms"].min(initial=2**62)))
    for part in parts:
        size = part.columns["end_ms"].size
        numbers = np.arange(first, first + size).view(np.float64)  # as bits: `merge` copies them
        fragments.append(Fragment(part.positions, part.counts, part.columns["end_ms"], numbers))
        first += size
    rows = merge(fragments, series)
    order = rows.values.view(np.int64)
    columns: dict[str, NDArray[Any]] = {"end_ms": rows.timestamps_ms}
    for name in names:
        pieces = [part.columns[name] for part in parts]
        columns[name] = np.concatenate(pieces)[order]
    return rows.offsets, columns
