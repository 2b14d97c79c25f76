"""Arrival order to block order: the one sort, for compacting batches and for merging blocks.

A merge goes piece by piece: memory is a few row groups of each input.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from data_ingest.histograms import NO_MESSAGES, Messages, compact, joined
from data_ingest.kernels import chunks
from data_ingest.model import F64, I64
from data_ingest.store.block import SortedSamples

SPARSE: Final = 4
"""Ids spread over this many times the samples or more are numbered anew before the sort."""
PIECE_SAMPLES: Final = 262_144
"""A merged piece is made of so many: it is row groups of its own, and a block that was merged of
merged ones, piece by piece, had 25 chunks in a group instead of 512 and was a tenth footer."""


def sort_and_deduplicate(
    series_ids: I64, timestamps_ms: I64, values: F64, histograms: Messages = NO_MESSAGES
) -> SortedSamples:
    """Samples by series and time; of one (series, timestamp) the last arrived wins, bit for bit.

    A value wins over a stale marker whichever came last (docs/adr/0018-usage-and-retention.md).

    The first three arrays are (n,), in arrival order; n may be 0. O(n), but n log n within a series
    whose samples are out of order.
    """
    n = series_ids.size
    if n == 0:
        empty = np.empty(0, np.int64)
        return SortedSamples(empty, np.zeros(1, np.int64), empty, np.empty(0, np.float64))
    codes, ids = _codes(series_ids)
    bits = np.ascontiguousarray(values).view(np.uint64)
    starts = np.empty(ids.size + 1, np.int64)
    chunks.counting_order(codes, starts)
    times, sorted_bits = np.empty(n, np.int64), np.empty(n, np.uint64)
    ends = starts[:-1].copy()
    chunks.scatter(codes, np.ascontiguousarray(timestamps_ms), bits, ends, times, sorted_bits)
    out_starts = np.empty(ids.size + 1, np.int64)
    left = chunks.order_times_and_deduplicate(
        ends, times, sorted_bits, np.empty(n, np.int64), np.empty(n, np.uint64), out_starts
    )
    present = np.flatnonzero(np.diff(out_starts))
    return SortedSamples(
        ids[present],
        np.append(out_starts[present], left),
        times[:left],
        sorted_bits[:left].view(np.float64),
        histograms,
    )


def _codes(series_ids: I64) -> tuple[I64, I64]:
    """Small codes that ascend with the ids, and the id of each code (some may have no sample)."""
    low, high = int(series_ids.min()), int(series_ids.max())
    if high - low < SPARSE * series_ids.size:
        return series_ids - low, np.arange(low, high + 1, dtype=np.int64)
    ids, codes = np.unique(series_ids, return_inverse=True)
    return codes.astype(np.int64), ids


def merge(
    inputs: Sequence[Iterator[SortedSamples]], piece_samples: int = PIECE_SAMPLES
) -> Iterator[SortedSamples]:
    """All samples of `inputs` by series and time; of one (series, timestamp) the later input wins.

    Each input ascends by series, and a series may go on in its next piece. Every yielded piece
    holds whole series; it is made once `piece_samples` are loaded.
    """
    cursors = [_Cursor(pieces) for pieces in inputs]
    while True:
        unfinished = [one.unfinished for one in cursors if one.unfinished is not None]
        bound = min(unfinished, default=None)
        taken: list[SortedSamples] = []
        if bound is None or sum(one.samples for one in cursors) >= piece_samples:
            taken = [piece for cursor in cursors for piece in cursor.take_below(bound)]
        if taken:
            yield sort_and_deduplicate(
                np.concatenate(
                    [np.repeat(piece.series_ids, np.diff(piece.starts)) for piece in taken]
                ),
                np.concatenate([piece.timestamps_ms for piece in taken]),
                *joined([compact(piece.values, piece.histograms) for piece in taken]),
            )
        if bound is None:
            return
        for cursor in cursors:
            if cursor.unfinished == bound:
                cursor.load()


class _Cursor:
    """One input: the pieces loaded and not yet taken."""

    def __init__(self, pieces: Iterator[SortedSamples]) -> None:
        self._pieces = pieces
        self._loaded: list[SortedSamples] = []
        # The last series loaded, which the next piece may go on with; None: all is loaded.
        self.unfinished: int | None = None
        self.load()

    @property
    def samples(self) -> int:
        """How many are loaded."""
        return sum(map(len, self._loaded))

    def load(self) -> None:
        """The next piece is loaded, if there is one."""
        piece = next(self._pieces, None)
        self.unfinished = None if piece is None else int(piece.series_ids[-1])
        if piece is not None:
            self._loaded.append(piece)

    def take_below(self, bound: int | None) -> list[SortedSamples]:
        """The loaded samples of series below `bound` (all when None), which are taken out."""
        below, rest = [], []
        for piece in self._loaded:
            end = piece.series_ids.size
            at = end if bound is None else int(np.searchsorted(piece.series_ids, bound))
            below.append(_part(piece, 0, at))
            rest.append(_part(piece, at, end))
        self._loaded = list(filter(len, rest))
        return list(filter(len, below))


def _part(piece: SortedSamples, first: int, end: int) -> SortedSamples:
    low, high = int(piece.starts[first]), int(piece.starts[end])
    return SortedSamples(
        piece.series_ids[first:end],
        piece.starts[first : end + 1] - low,
        piece.timestamps_ms[low:high],
        piece.values[low:high],
        piece.histograms,
    )
