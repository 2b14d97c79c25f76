"""Which blocks go, and which are written anew without what is past. Pure.

                     cutoff
    ├── block ──┤      │            all of it is past: deleted
            ├──── block ────┤       more than half, and a day at least: written anew
                  ├─── block ───┤   the rest of it goes with it later

Halving a block again and again would rewrite it for ever, so less than a day is never worth it: a
block of two hours waits for its end, one of a month is written anew a handful of times, each half
as large as before.
"""

from collections.abc import Sequence

from data_ingest.limits import DAY_MS
from data_ingest.store.refs import BlockRef


def cutoff_ms(now_ms: int, plan_days: int | None, default_days: int | None) -> int | None:
    """The first ms that is kept; None when all is.

    plan_days: of the tenant's plan, 0 for no limit; None, where it is not known: `default_days`.
    """
    days = default_days if plan_days is None else plan_days
    return now_ms - days * DAY_MS if days else None


def mostly_past(blocks: Sequence[BlockRef], cutoff: int) -> BlockRef | None:
    """The block that loses most bytes by being written anew, if one is due.

    A quarantined one is not: it cannot be read.
    """
    due = [
        block
        for block in blocks
        if block.max_ts >= cutoff
        and not block.is_quarantined
        and cutoff - block.min_ts >= DAY_MS
        and _share(block, cutoff) > 1 / 2
    ]
    return max(due, key=lambda block: block.bytes * _share(block, cutoff), default=None)


def _share(block: BlockRef, cutoff: int) -> float:
    """How much of the block's time is past."""
    return (cutoff - block.min_ts) / (block.max_ts - block.min_ts + 1)
