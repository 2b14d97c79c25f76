"""Less resolution for a tenant whose quota is used up: one sample a series and interval.

    ALERTS, ALERTS_FOR_STATE, up; stale markers ─▶ all are stored
    the first sample to come of an interval ─────▶ stored
    others ──────────────────────────────────────▶ answered as stored, counted as RESOLUTION_LOWERED

Intervals lie at multiples of their length since the epoch. Each process knows of the last 64
intervals of a series which have a sample, by its own memory alone: one that starts, or whose commit
failed, may store one more of each series in an interval.
Source: docs/adr/0041-quotas-and-guards.md.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from data_ingest.histograms import ENDED
from data_ingest.kernels import intervals
from data_ingest.model import F64, I64, STALE_MARKER_BITS, RawLabels

RESOLUTION_LOWERED: Final = "resolution_lowered"
EXEMPT: Final = frozenset({b"ALERTS", b"ALERTS_FOR_STATE", b"up"})
"""Names of series that say whether something is wrong."""
ROWS_MIN: Final = 256
ROWS_MAX: Final = 1 << 23
"""192 MiB, for 5,000,000 series."""
_FILL_MAX: Final = 0.6
Bools = npt.NDArray[np.bool_]


class Resolution:
    """Which intervals of one tenant's series have their sample. Safe to use from several threads.

    Series of one request that have no id yet are kept apart, in the table that `keep` gives, until
    `adopt` is told their ids.
    """

    def __init__(self, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self._rows: I64 = np.zeros((ROWS_MIN, 3), np.int64)
        self._used = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Memory of the table."""
        return int(self._rows.nbytes)

    def keep(
        self,
        series_ids: I64,
        timestamps_ms: I64,
        values: F64,
        labels_of: Callable[[int], RawLabels],
    ) -> tuple[Bools, I64]:
        """Which samples are to be stored, and the table of the series without an id.

        series_ids: negative for those without. labels_of: of the sample at an index.
        """
        bits = np.ascontiguousarray(values).view(np.uint64)
        keep = (bits == STALE_MARKER_BITS) | (bits == ENDED)
        are_new = series_ids < 0
        of_new = np.zeros((_size(int(np.count_nonzero(are_new))), 3), np.int64)
        if not (keep.any() or are_new.any()):
            return self._lower(None, series_ids, timestamps_ms, labels_of), of_new
        for rows, is_new in ((None, False), (of_new, True)):
            at = np.flatnonzero(~keep & (are_new == is_new))
            if at.size:
                labels = partial(_at, labels_of, at)
                keep[at] = self._lower(rows, series_ids[at], timestamps_ms[at], labels)
        return keep, of_new

    def adopt(self, of_new: I64, new_ids: I64) -> None:
        """The series of `of_new` have these ids; 0 for one that was not made."""
        rows = of_new[of_new[:, 0] != 0]
        rows[:, 0] = new_ids[-1 - rows[:, 0]]
        with self._lock:
            self._insert(np.ascontiguousarray(rows[rows[:, 0] != 0]))

    def forget(self, series_ids: I64) -> None:
        """Nothing of these series was stored lately, as far as is known."""
        with self._lock:
            intervals.forget(self._rows, np.ascontiguousarray(series_ids[series_ids > 0]))

    def _lower(
        self,
        of_new: I64 | None,
        series_ids: I64,
        timestamps_ms: I64,
        labels_of: Callable[[int], RawLabels],
    ) -> Bools:
        marks = np.empty(series_ids.size, np.uint8)
        with self._lock:
            rows = self._rows if of_new is None else of_new
            if intervals.unseen(rows, series_ids, marks):
                places = np.flatnonzero(marks)
                ids, firsts = np.unique(series_ids[places], return_index=True)
                more = np.full((ids.size, 3), -1, np.int64)
                more[:, 0] = ids
                more[:, 2] = [not _is_exempt(labels_of(int(one))) for one in places[firsts]]
                if of_new is None:
                    self._insert(more)
                    rows = self._rows
                else:
                    intervals.insert(of_new, more)
            intervals.lower(rows, series_ids, timestamps_ms, self.interval_ms, marks)
        return marks.view(np.bool_)

    def _insert(self, more: I64) -> None:
        if self._used + len(more) > len(self._rows) * _FILL_MAX:
            # Series that came to an end are left out; where there are too many, all are.
            newest = int(self._rows[:, 1].max())
            is_alive = self._rows[:, 1] > newest - intervals.INTERVALS
            alive = self._rows[is_alive & (self._rows[:, 0] != 0)]
            size = _size(len(alive) + len(more))
            self._rows = np.zeros((min(size, ROWS_MAX), 3), np.int64)
            self._used = 0 if size > ROWS_MAX else int(intervals.insert(self._rows, alive))
            more = more[: int(ROWS_MAX * _FILL_MAX)]
        self._used += int(intervals.insert(self._rows, more))


def _size(rows: int) -> int:
    """Of a table with room for a fifth more: a power of two."""
    return max(ROWS_MIN, 1 << int(1.2 * rows / _FILL_MAX).bit_length())


def _is_exempt(labels: RawLabels) -> bool:
    return any(name == b"__name__" and value in EXEMPT for name, value in labels)


def _at(labels_of: Callable[[int], RawLabels], at: I64, index: int) -> RawLabels:
    return labels_of(int(at[index]))
