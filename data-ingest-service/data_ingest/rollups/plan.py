"""Which days are to be rolled up. Pure.

    ───(───── a day ───]──  settled, no block of it corrupt, no rollup of all its samples: due

A rollup has the highest precedence of the blocks that it was made from. Later samples come with a
higher one, so whoever reads sees what it lacks; merging the same blocks changes neither samples nor
that (docs/adr/0021-rollups.md).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from data_ingest.limits import DAY_MS
from data_ingest.store.refs import BlockRef

SETTLED_MS: Final = 3 * 3_600_000
"""This long after a day the window with its last sample is closed and merged."""
QUIET_MS: Final = 3_600_000
"""A day is rolled up, and anew after late samples, when its newest block is this old."""
INPUTS_MAX: Final = 64
"""A run holds a row group of each input; a day in more blocks waits until they are merged."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day to roll up, from the ms after midnight to the next midnight, both inclusive.

    blocks: all that reach into it, lowest precedence first. replaced: ids of rollups of it.
    """

    first_ms: int
    last_ms: int
    blocks: tuple[BlockRef, ...]
    replaced: tuple[int, ...]

    @property
    def precedence(self) -> int:
        """Of its rollups."""
        return self.blocks[-1].precedence

    def is_settled(self, now_ms: int) -> bool:
        """Whether it may be rolled up now."""
        return (
            self.last_ms + SETTLED_MS <= now_ms
            and max(block.created_ms for block in self.blocks) + QUIET_MS <= now_ms
            and not any(block.is_quarantined for block in self.blocks)
            and len(self.blocks) <= INPUTS_MAX
        )


def days_due(
    blocks: Sequence[BlockRef],
    rollups: Sequence[BlockRef],
    resolutions_ms: Sequence[int],
    now_ms: int,
    cutoff: int | None,
) -> list[Day]:
    """The days of one tenant that lack a rollup of all their samples, newest first.

    cutoff: days that begin before it are about to be deleted, and are not rolled up.
    """
    blocks_of: dict[int, list[BlockRef]] = defaultdict(list)
    for block in sorted(blocks, key=lambda block: block.precedence):
        # Open at its start, as PromQL's windows are: midnight belongs to the day before.
        for day in range((block.min_ts - 1) // DAY_MS, (block.max_ts - 1) // DAY_MS + 1):
            blocks_of[day].append(block)
    due = []
    for day in sorted(blocks_of, reverse=True):
        first_ms, last_ms = day * DAY_MS + 1, (day + 1) * DAY_MS
        made = [rollup for rollup in rollups if rollup.max_ts == last_ms]
        one = Day(
            first_ms, last_ms, tuple(blocks_of[day]), tuple(rollup.block_id for rollup in made)
        )
        complete = {r.resolution_ms for r in made if r.precedence >= one.precedence}
        is_kept = cutoff is None or first_ms > cutoff
        if is_kept and not complete.issuperset(resolutions_ms) and one.is_settled(now_ms):
            due.append(one)
    return due
