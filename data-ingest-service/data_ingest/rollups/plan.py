"""Which days are to be rolled up. Pure.

      start           end   blocks of its samples      rollups of it
    ───(───── a day ───]──  settled, none corrupt  ──▶ none, or of an older state: due

A rollup has the highest precedence of the blocks that it was made from. Samples that come later
come with a higher one, so whoever reads sees which it lacks (docs/adr/0021-rollups.md); merging the
same blocks changes neither samples nor that.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from data_ingest.limits import DAY_MS
from data_ingest.store.refs import BlockRef

SETTLED_MS: Final = 3 * 3_600_000
"""After the end of a day the window with its last sample is closed, and merged, in this time."""
QUIET_MS: Final = 3_600_000
"""A day is rolled up, and anew after late samples, when its newest block is this old."""
INPUTS_MAX: Final = 64
"""A run holds a row group of each input; a day in more blocks waits until they are merged."""


@dataclass(frozen=True, slots=True)
class RollupRef:
    """A live rollup of the samples in [min_ts, max_ts]."""

    block_id: int
    resolution_ms: int
    precedence: int
    min_ts: int
    max_ts: int


@dataclass(frozen=True, slots=True)
class Day:
    """One day to roll up: start_ms < timestamp <= end_ms.

    blocks: all that reach into it, in order of precedence. replaced: ids of rollups of it.
    """

    start_ms: int
    blocks: tuple[BlockRef, ...]
    replaced: tuple[int, ...]

    @property
    def end_ms(self) -> int:
        """The last ms of it."""
        return self.start_ms + DAY_MS

    @property
    def precedence(self) -> int:
        """Of its rollups."""
        return self.blocks[-1].precedence


def days_due(
    blocks: Sequence[BlockRef],
    rollups: Sequence[RollupRef],
    resolutions_ms: Sequence[int],
    now_ms: int,
    kept_since_ms: int | None,
) -> list[Day]:
    """The days of one tenant that lack a rollup of all their samples, newest first.

    kept_since_ms: days that begin before are about to be deleted, and not rolled up.
    """
    blocks_of: dict[int, list[BlockRef]] = defaultdict(list)
    for block in sorted(blocks, key=lambda block: (block.precedence, block.block_id)):
        # A day is open at its start, as PromQL's windows are: midnight belongs to the day before.
        for day in range((block.min_ts - 1) // DAY_MS, (block.max_ts - 1) // DAY_MS + 1):
            blocks_of[day].append(block)
    rollups_of: dict[int, list[RollupRef]] = defaultdict(list)
    for rollup in rollups:
        rollups_of[rollup.max_ts // DAY_MS - 1].append(rollup)
    due = []
    for day in sorted(blocks_of, reverse=True):
        of_day = rollups_of[day]
        one = Day(day * DAY_MS, tuple(blocks_of[day]), tuple(rollup.block_id for rollup in of_day))
        made = {rollup.resolution_ms for rollup in of_day if rollup.precedence >= one.precedence}
        is_kept = kept_since_ms is None or one.start_ms >= kept_since_ms
        if is_kept and not made.issuperset(resolutions_ms) and _is_settled(one, now_ms):
            due.append(one)
    return due


def _is_settled(day: Day, now_ms: int) -> bool:
    return (
        day.end_ms + SETTLED_MS <= now_ms
        and max(block.created_ms for block in day.blocks) + QUIET_MS <= now_ms
        and not any(block.is_quarantined for block in day.blocks)
        and len(day.blocks) <= INPUTS_MAX
    )
