"""What a compaction run adds to a tenant's usage: (series, timestamp) that were not stored before.

    samples of one window ── by the hour they were received in ── minus what blocks hold
                                                               └─ minus earlier hours of the run

Blocks are looked up by their chunks' first and last timestamps; timestamps are decoded only of row
groups where a new sample lies between the two, so samples that arrive in order cost the look at the
chunks. Source: docs/adr/0018-usage-and-retention.md.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from data_ingest.batch import Columns
from data_ingest.kernels import counting
from data_ingest.kernels.counting import COUNTED, MINUTE_MS, STORED
from data_ingest.model import I64, U8
from data_ingest.store.block import SortedSamples
from data_ingest.store.block_times import BlockTimes, Times
from data_ingest.store.sorting import sort_and_deduplicate

HOUR_MS: Final = 3_600_000
MINUTES: Final = 60
BLOCK_COST: Final = 20_000
"""Of one block that is opened, in timestamps that could be decoded in that time."""

MarkStored = Callable[[SortedSamples, U8], None]
"""Marks what is stored of a piece."""


@dataclass(slots=True)
class Usage:
    """Samples by the hour they were received in; series that had a sample, by the hour of the
    sample's timestamp and its minute, (60,) each. Hours in ms since the epoch.
    """

    samples: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    active_series: dict[int, I64] = field(
        default_factory=lambda: defaultdict(lambda: np.zeros(MINUTES, np.int64))
    )

    def add(self, hour_ms: int, piece: SortedSamples, marks: U8) -> None:
        """What is not marked in `piece`, received in that hour, is counted."""
        self.samples[hour_ms] += int(np.count_nonzero(~marks & STORED))
        minutes = piece.timestamps_ms // MINUTE_MS
        is_first = np.ones(len(piece), bool)
        is_first[1:] = minutes[1:] != minutes[:-1]
        is_first[piece.starts[:-1]] = True
        counted, series = np.unique(minutes[is_first & (marks & COUNTED == 0)], return_counts=True)
        for minute, active in zip(counted.tolist(), series.tolist(), strict=True):
            hour, place = divmod(minute, MINUTES)
            self.active_series[hour * HOUR_MS][place] += active

    def rows(self) -> list[tuple[int, int, list[int]]]:
        """(hour, samples, active series by minute) of each hour that has any, ascending."""
        with_samples = {hour for hour, samples in self.samples.items() if samples}
        return [
            (hour, self.samples.get(hour, 0), self.active_series[hour].tolist())
            for hour in sorted(with_samples | set(self.active_series))
        ]


@dataclass(slots=True)
class Counting:
    """Counts the usage of one run; hours_ms: (n,), the hour each of its samples was received in."""

    hours_ms: I64
    mark_stored: MarkStored
    usage: Usage = field(default_factory=Usage)

    def add(self, samples: Columns, hours_ms: I64, whole: SortedSamples) -> None:
        """`usage` has what these samples of one window add to what is stored.

        samples: in order of arrival, with their hours; whole: the same, sorted. A sample that came
        in two hours belongs to the earlier.
        """
        hours = np.unique(hours_ms).tolist()
        earlier: list[SortedSamples] = []
        for hour_ms in hours:
            piece = whole
            if len(hours) > 1:
                part = samples.take(np.flatnonzero(hours_ms == hour_ms))
                piece = sort_and_deduplicate(part.series_ids, part.timestamps_ms, part.values)
            marks = np.zeros(len(piece), np.uint8)
            self.mark_stored(piece, marks)
            for one in earlier:
                mark(piece, Times(one.series_ids, one.starts, one.timestamps_ms), marks)
            self.usage.add(hour_ms, piece, marks)
            earlier.append(piece)


def mark(piece: SortedSamples, stored: Times, marks: U8) -> None:
    """What `stored` has of `piece` is marked."""
    counting.mark(
        piece.series_ids, piece.starts, piece.timestamps_ms,
        stored.series_ids, stored.starts, stored.timestamps_ms, marks,
    )  # fmt: skip


@dataclass(slots=True)
class Budget:
    """How many more timestamps one run may decode, so that no resend makes it long."""

    timestamps: int

    def take(self, timestamps: int) -> bool:
        """Whether there was room for so many."""
        if timestamps > self.timestamps:
            return False
        self.timestamps -= timestamps
        return True


def mark_block(piece: SortedSamples, block: BlockTimes, marks: U8, budget: Budget) -> bool:
    """What the block has of `piece` is marked; False, and only some of it, when that would cost
    more than `budget` has left. Raises `BadPayload`.
    """
    if not budget.take(BLOCK_COST):
        return False
    first, last = minutes_of(piece)
    chunks = block.chunks(first, last)
    edges = np.empty(2 * chunks.series_ids.size, np.int64)
    edges[::2], edges[1::2] = chunks.first_ms, chunks.last_ms
    mark(piece, Times(chunks.series_ids, np.arange(0, edges.size + 1, 2), edges), marks)
    reaches = np.zeros(chunks.series_ids.size, np.uint8)
    counting.reaches_between(
        piece.series_ids, piece.starts, piece.timestamps_ms,
        chunks.series_ids, chunks.first_ms, chunks.last_ms, reaches,
    )  # fmt: skip
    for group in np.unique(chunks.groups[reaches == 1]).tolist():
        if not budget.take(block.samples(group)):
            return False
        mark(piece, block.times(group), marks)
    return True


def mark_span(piece: SortedSamples, first_ms: int, last_ms: int, marks: U8) -> None:
    """All of `piece` from `first_ms` to `last_ms`, both inclusive, is marked."""
    inside = (piece.timestamps_ms >= first_ms) & (piece.timestamps_ms <= last_ms)
    marks[inside] = STORED | COUNTED


def minutes_of(piece: SortedSamples) -> tuple[int, int]:
    """The first and last ms of the minutes in which `piece`, which is not empty, has samples."""
    low, high = int(piece.timestamps_ms.min()), int(piece.timestamps_ms.max())
    return low - low % MINUTE_MS, high - high % MINUTE_MS + MINUTE_MS - 1
