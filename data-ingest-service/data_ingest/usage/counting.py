"""What a compaction run adds to a tenant's usage: (series, timestamp) that were not stored before.

    samples of one window ── by the hour they were received in ── minus what blocks hold
                                                               └─ minus earlier hours of the run

Blocks are looked up by their chunks' first and last timestamps; timestamps are decoded only of row
groups where a new sample lies between the two, so samples that arrive in order cost the look at the
chunks. Source: docs/adr/0018-usage-and-retention.md.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from data_ingest.batch import Columns
from data_ingest.kernels import counting
from data_ingest.kernels.counting import MINUTE_MS
from data_ingest.model import I64, U8
from data_ingest.store.block import SortedSamples
from data_ingest.store.block_times import BlockTimes, Times
from data_ingest.store.sorting import sort_and_deduplicate

HOUR_MS: Final = 3_600_000
MINUTES: Final = 60
BLOCK_COST: Final = 20_000
"""Of one block that is opened, in timestamps that could be decoded in that time."""

Span: TypeAlias = tuple[int, int]
"""First and last ms, both inclusive."""
MarkStored = Callable[[SortedSamples, Span, U8], None]
"""Marks what is stored of a piece; the span is that of its minutes."""


class Counting:
    """Counts the usage of one run.

    hours_ms, sizes: of each batch, in order of arrival, the hour it was received in (ms since the
    epoch) and its samples.
    """

    def __init__(
        self, hours_ms: Sequence[int], sizes: Sequence[int], mark_stored: MarkStored
    ) -> None:
        self._hours = sorted(set(hours_ms))
        self._hours_ms = np.repeat(hours_ms, sizes) if len(self._hours) > 1 else None
        self._mark_stored = mark_stored
        self._samples: dict[int, int] = defaultdict(int)
        self._active: dict[int, I64] = defaultdict(lambda: np.zeros(MINUTES, np.int64))

    def add(self, samples: Columns, places: I64 | slice, whole: SortedSamples) -> None:
        """What these samples of one window add to what is stored is counted.

        samples: in order of arrival; places: theirs among all of the run; whole: the same, sorted.
        A sample that came in two hours belongs to the earlier.
        """
        earlier: list[SortedSamples] = []
        for hour_ms in self._hours:
            piece = whole
            if self._hours_ms is not None:
                part = samples.take(np.flatnonzero(self._hours_ms[places] == hour_ms))
                if not len(part):
                    continue
                piece = sort_and_deduplicate(part.series_ids, part.timestamps_ms, part.values)
            span, marks = minutes_of(piece.timestamps_ms), np.zeros(len(piece), np.uint8)
            self._mark_stored(piece, span, marks)
            for one in earlier:
                mark(piece, Times(one.series_ids, one.starts, one.timestamps_ms), marks)
            self._count(hour_ms, piece, span, marks)
            earlier.append(piece)

    def rows(self) -> list[tuple[int, int, list[int]]]:
        """(hour, samples, active series by minute) of each hour that has any, ascending.

        Samples by the hour they were received in; series that had a sample, by the hour of the
        sample's timestamp and its minute, (60,). Hours in ms since the epoch.
        """
        with_samples = {hour for hour, samples in self._samples.items() if samples}
        return [
            (hour, self._samples.get(hour, 0), self._active[hour].tolist())
            for hour in sorted(with_samples | set(self._active))
        ]

    def _count(self, hour_ms: int, piece: SortedSamples, span: Span, marks: U8) -> None:
        """What is not marked in `piece`, received in that hour, is counted."""
        first_hour, last_hour = span[0] // HOUR_MS, span[1] // HOUR_MS
        active = np.zeros((last_hour - first_hour + 1) * MINUTES, np.int64)
        self._samples[hour_ms] += counting.count_unmarked(
            piece.starts, piece.timestamps_ms, marks, first_hour * MINUTES, active
        )
        for hour, series in enumerate(active.reshape(-1, MINUTES), first_hour):
            if series.any():
                self._active[hour * HOUR_MS] += series


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


def mark_block(
    piece: SortedSamples, span: Span, block: BlockTimes, marks: U8, budget: Budget
) -> bool:
    """What the block has of `piece` is marked; False, and only some of it, when that would cost
    more than `budget` has left. Raises `BadPayload`.
    """
    if not budget.take(BLOCK_COST):
        return False
    chunks = block.chunks(*span)
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


def minutes_of(timestamps_ms: I64) -> Span:
    """That of the minutes of these timestamps, at least one."""
    low, high = int(timestamps_ms.min()), int(timestamps_ms.max())
    return low - low % MINUTE_MS, high - high % MINUTE_MS + MINUTE_MS - 1
