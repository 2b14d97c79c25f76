"""What compaction would do next, decided from facts alone.

    live batches by xid                ── a prefix of whole transactions ── one level 0 block for
                                          each aligned window
    blocks of one window by precedence ── neighbours ── one block of the next level

Why a prefix, and why neighbours: a block has one precedence for all its samples, the highest xid
of its inputs. Taking xid 10 and leaving xid 9 for later, or merging the blocks on both sides of a
third one, would let an older sample win.
Source: docs/contracts.md, section 3; docs/adr/0004-compaction.md.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import Final

import numpy as np

from data_ingest.histograms import BYTES_OF_A_SAMPLE
from data_ingest.model import I64
from data_ingest.store.refs import BatchRef, BlockRef

HOUR_MS: Final = 3_600_000
SPANS_MS: Final = (2 * HOUR_MS, 24 * HOUR_MS, 32 * 24 * HOUR_MS)
"""Widths of windows, aligned to the epoch; the wider ones are for imports of months or years."""
WINDOWS_MAX: Final = 48
MERGE_FAN_IN: Final = 8
MERGE_INPUTS_MAX: Final = 16
CLOSED_AFTER_MS: Final = 10 * 60_000
"""A window is closed this long after its end: its blocks are then merged, however few."""
QUIET_MS: Final = 10 * 60_000
"""A closed window is merged when its newest block is this old: late samples have then ended."""


def batches_to_take(
    batches: Sequence[BatchRef], samples_max: int, *, is_complete: bool = True
) -> list[BatchRef]:
    """The longest prefix of whole transactions that are due, within `samples_max`.

    Bytes of histograms count too, as samples. The first transaction is taken whatever its size.
    batches: ordered by (xid, batch_id). is_complete: whether the last transaction is listed whole.
    """
    taken: list[BatchRef] = []
    samples = 0
    transactions = [list(group) for _, group in groupby(batches, key=lambda batch: batch.xid)]
    for transaction in transactions if is_complete else transactions[:-1]:
        samples += sum(
            batch.samples + batch.histogram_bytes // BYTES_OF_A_SAMPLE for batch in transaction
        )
        if not all(batch.is_due for batch in transaction) or (taken and samples > samples_max):
            break
        taken += transaction
    return taken


def window_starts(timestamps_ms: I64) -> tuple[I64, int]:
    """The window of each sample, by its first ms, and the width of these windows.

    The width is the narrowest that needs at most WINDOWS_MAX windows, or the widest.
    """
    assert timestamps_ms.size
    for span_ms in SPANS_MS:
        starts: I64 = timestamps_ms - timestamps_ms % span_ms
        if span_ms == SPANS_MS[-1] or np.unique(starts).size <= WINDOWS_MAX:
            return starts, span_ms
    raise AssertionError("the widest span returns")


def window_of(block: BlockRef) -> tuple[int, int]:
    """(start, width) of the narrowest aligned window that holds the whole block, or width 0."""
    for span_ms in SPANS_MS:
        start = block.min_ts - block.min_ts % span_ms
        if block.max_ts < start + span_ms:
            return start, span_ms
    return block.min_ts, 0


def merges(blocks: Sequence[BlockRef], now_ms: int, bytes_max: int) -> list[list[BlockRef]]:
    """Groups of blocks to merge, each in order of precedence, at most one a window; oldest first.

    A group is MERGE_FAN_IN neighbours of the lowest level that has so many, or, in a window that is
    closed and quiet, as many neighbours as fit. A block of another window that overlaps this window
    separates the neighbours whose precedences are below and above its own, and so does one that is
    quarantined, which is never in a group: should it be restored, it has its place.
    """
    by_window: dict[tuple[int, int], list[BlockRef]] = defaultdict(list)
    for block in blocks:
        if not block.is_quarantined:
            by_window[window_of(block)].append(block)
    groups: list[list[BlockRef]] = []
    for (start, span_ms), own in sorted(by_window.items()):
        if span_ms == 0 or len(own) < 2:
            continue
        overlapping = [
            block.precedence
            for block in blocks
            if block.min_ts < start + span_ms
            and block.max_ts >= start
            and (block.is_quarantined or window_of(block) != (start, span_ms))
        ]
        runs = _neighbours(
            sorted(own, key=lambda block: block.precedence), sorted(overlapping), bytes_max
        )
        group = _full_level(runs)
        is_closed = start + span_ms + CLOSED_AFTER_MS <= now_ms
        is_quiet = max(block.created_ms for block in own) + QUIET_MS <= now_ms
        if group is None and is_closed and is_quiet:
            group = max(runs, key=len)[:MERGE_INPUTS_MAX]
        if group is not None and len(group) >= 2:
            groups.append(group)
    return groups


def _neighbours(
    ordered: list[BlockRef], overlapping: list[int], bytes_max: int
) -> list[list[BlockRef]]:
    """Runs of blocks that no precedence in `overlapping` separates, each within `bytes_max`.

    A block larger than that is a run of its own.
    """
    runs: list[list[BlockRef]] = [[]]
    run_bytes = 0
    for block in ordered:
        last = runs[-1][-1] if runs[-1] else None
        is_separated = last is not None and any(
            last.precedence <= precedence <= block.precedence for precedence in overlapping
        )
        if is_separated or (runs[-1] and run_bytes + block.bytes > bytes_max):
            runs.append([])
            run_bytes = 0
        runs[-1].append(block)
        run_bytes += block.bytes
    return runs


def _full_level(runs: list[list[BlockRef]]) -> list[BlockRef] | None:
    """Neighbours with MERGE_FAN_IN blocks of one level, the lowest that has so many; or None.

    Blocks of lower levels between them are taken along. A larger block is never rewritten to take
    in a few small ones: that would cost its size each time.
    """
    for level in sorted({block.level for run in runs for block in run}):
        for run in runs:
            row: list[BlockRef] = []
            for block in run:
                row = [*row, block] if block.level <= level else []
                if sum(one.level == level for one in row) == MERGE_FAN_IN:
                    return row
    return None
