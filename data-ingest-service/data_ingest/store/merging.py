"""Sorted inputs to one sorted output, piece by piece: memory is a few row groups of each input."""

from collections.abc import Iterator, Sequence

import numpy as np

from data_ingest import histograms
from data_ingest.histograms import NO_MESSAGES
from data_ingest.store.block import SortedSamples
from data_ingest.store.sorting import sort_and_deduplicate


def merge(inputs: Sequence[Iterator[SortedSamples]]) -> Iterator[SortedSamples]:
    """All samples of `inputs` by series and time; of one (series, timestamp) the later input wins.

    Each input ascends by series, and a series may go on in its next piece. Every yielded piece
    holds whole series.
    """
    cursors = [_Cursor(pieces) for pieces in inputs]
    while True:
        bound = min(
            (cursor.unfinished for cursor in cursors if cursor.unfinished is not None), default=None
        )
        taken = [piece for cursor in cursors if len(piece := cursor.take_below(bound))]
        if taken:
            yield sort_and_deduplicate(
                np.concatenate(
                    [np.repeat(piece.series_ids, np.diff(piece.starts)) for piece in taken]
                ),
                np.concatenate([piece.timestamps_ms for piece in taken]),
                *histograms.joined([(piece.values, piece.histograms) for piece in taken]),
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

    def load(self) -> None:
        """The next piece is loaded, if there is one."""
        piece = next(self._pieces, None)
        self.unfinished = None if piece is None else int(piece.series_ids[-1])
        if piece is not None:
            self._loaded.append(piece)

    def take_below(self, bound: int | None) -> SortedSamples:
        """The loaded samples of series below `bound` (all when None), which are taken out."""
        below, rest = [], []
        for piece in self._loaded:
            at = (
                piece.series_ids.size
                if bound is None
                else int(np.searchsorted(piece.series_ids, bound))
            )
            below.append(_part(piece, 0, at))
            rest.append(_part(piece, at, piece.series_ids.size))
        self._loaded = [piece for piece in rest if len(piece)]
        return _joined(below)


def _part(piece: SortedSamples, first: int, end: int) -> SortedSamples:
    low, high = int(piece.starts[first]), int(piece.starts[end])
    return SortedSamples(
        piece.series_ids[first:end],
        piece.starts[first : end + 1] - low,
        piece.timestamps_ms[low:high],
        piece.values[low:high],
        piece.histograms,
    )


def _joined(pieces: list[SortedSamples]) -> SortedSamples:
    """One after another; a series that spans two pieces stands twice, as the sort allows."""
    starts = [np.zeros(1, np.int64)]
    samples = 0
    for piece in pieces:
        starts.append(piece.starts[1:] + samples)
        samples += len(piece)
    empty_ids, empty_values = np.empty(0, np.int64), (np.empty(0, np.float64), NO_MESSAGES)
    return SortedSamples(
        np.concatenate([empty_ids, *(piece.series_ids for piece in pieces)]),
        np.concatenate(starts),
        np.concatenate([empty_ids, *(piece.timestamps_ms for piece in pieces)]),
        *histograms.joined(
            [
                empty_values,
                *(histograms.compact(piece.values, piece.histograms) for piece in pieces),
            ]
        ),
    )
