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
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from data_ingest.histograms import ENDED
from data_ingest.model import F64, I64, STALE_MARKER_BITS, RawLabels

RESOLUTION_LOWERED: Final = "resolution_lowered"
INTERVALS: Final = 64
ALL_INTERVALS: Final = (1 << INTERVALS) - 1
SERIES_MAX: Final = 1_000_000
ROOM_MIN: Final = 1_000
BYTES_OF_A_SERIES: Final = 250
State: TypeAlias = tuple[int, int]
"""Newest interval that has its sample, and bit i: whether interval `newest - i` has."""
EXEMPT: Final[State] = 0, -1
EXEMPT_NAMES: Final = frozenset({b"ALERTS", b"ALERTS_FOR_STATE", b"up"})
"""Of series that say whether something is wrong."""


class Resolution:
    """Which intervals of one tenant's series have their sample. Safe to use from several threads.

    Series of one request that have no id yet are kept apart, in what `keep` gives, until `adopt` is
    told their ids.
    """

    def __init__(self, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self._series: dict[int, State] = {}
        self._room = ROOM_MIN
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Memory, about."""
        return len(self._series) * BYTES_OF_A_SERIES

    def keep(
        self,
        series_ids: I64,
        timestamps_ms: I64,
        values: F64,
        labels_of: Callable[[int], RawLabels],
    ) -> tuple[npt.NDArray[np.bool_], dict[int, State]]:
        """Which samples are to be stored, and what is known of the series without an id.

        series_ids: negative for those without. labels_of: of the sample at an index.
        """
        bits = np.ascontiguousarray(values).view(np.uint64)
        keep = (bits == STALE_MARKER_BITS) | (bits == ENDED)
        ids, intervals = series_ids.tolist(), (timestamps_ms // self.interval_ms).tolist()
        of_new: dict[int, State] = {}
        with self._lock:
            for at in np.flatnonzero(~keep).tolist():
                states = self._series if ids[at] > 0 else of_new
                if (state := states.get(ids[at])) is None:
                    state = EXEMPT if _is_exempt(labels_of(at)) else (0, 0)
                states[ids[at]], keep[at] = _taken(state, intervals[at])
            self._make_room()
        return keep, of_new

    def adopt(self, of_new: dict[int, State], new_ids: I64) -> None:
        """The series of `of_new` have these ids; 0 for one that was not made."""
        ids = new_ids.tolist()
        with self._lock:
            self._series.update((ids[-1 - one], state) for one, state in of_new.items())
            self._series.pop(0, None)

    def forget(self, series_ids: Iterable[int]) -> None:
        """Nothing of these series was stored lately, as far as is known."""
        with self._lock:
            for series_id in series_ids:
                self._series.pop(series_id, None)

    def _make_room(self) -> None:
        """Series that came to an end are left out; where there are too many, all are."""
        if len(self._series) > self._room:
            oldest = max(newest for newest, _ in self._series.values()) - INTERVALS
            alive = {one: state for one, state in self._series.items() if state[0] > oldest}
            self._series = alive if len(alive) <= SERIES_MAX else {}
            self._room = max(ROOM_MIN, 2 * len(self._series))


def _taken(state: State, interval: int) -> tuple[State, bool]:
    """The state after a sample of this interval, and whether it is to be stored."""
    newest, bits = state
    newer = interval - newest
    if bits < 0:
        return state, True
    if newer > 0:
        before = bits << newer if newer < INTERVALS else 0
        return (interval, before & ALL_INTERVALS | 1), True
    if newer <= -INTERVALS or bits >> -newer & 1:
        return state, False
    return (newest, bits | 1 << -newer), True


def _is_exempt(labels: RawLabels) -> bool:
    return any(name == b"__name__" and value in EXEMPT_NAMES for name, value in labels)
