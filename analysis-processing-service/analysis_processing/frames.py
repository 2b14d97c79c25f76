"""Query answers ↔ dense blocks ↔ DataFrames: UTC index, one column for each series.

Inside is a (series × time) float64 block on one time axis, NaN for gaps, 10-70 times cheaper than
long frames; pandas stands at the edge, where an analysis is handed its data. A column's name is the
series' labels as canonical JSON.
"""

import json
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis_processing.errors import NoData, TooManyPoints, TooManySeries
from analysis_processing.model import Labels

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Sampled = tuple["Labels", I64, F64]


def series_name(labels: Labels) -> str:
    """The labels as one string: equal labels give equal strings."""
    return json.dumps(labels, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def labels_of(name: str) -> Labels:
    """The labels behind a column's name."""
    labels: Labels = json.loads(name)
    return labels


class Grid:
    """A block that grows a row with each new series, filled window by window."""

    def __init__(
        self, start_ms: int, step_ms: int, steps: int, series_max: int, points_max: int
    ) -> None:
        self.start_ms = start_ms
        self.step_ms = step_ms
        self.steps = steps
        self.series_max = series_max
        self.points_max = points_max
        self.rows: dict[str, int] = {}
        self._block: F64 = np.full((0, steps), np.nan)

    def add(self, answer: Iterable[Sampled]) -> None:
        """The samples stand in the block; raises TooManySeries or TooManyPoints before growing.

        Timestamps off the grid or outside the range are ignored; of two in one place the later
        one in the answer wins, so a window may be added twice.
        """
        for labels, timestamps_ms, values in answer:
            row = self.rows.setdefault(series_name(labels), len(self.rows))
            self._reserve()
            at, odd = np.divmod(timestamps_ms - self.start_ms, self.step_ms)
            fits = (odd == 0) & (at >= 0) & (at < self.steps)
            self._block[row, at[fits]] = values[fits]

    def _reserve(self) -> None:
        needed = len(self.rows)
        if needed > self.series_max:
            raise TooManySeries(limit=self.series_max)
        if needed * self.steps > self.points_max:
            raise TooManyPoints(series=needed, steps=self.steps, limit=self.points_max)
        rows = self._block.shape[0]
        if needed > rows:
            room = min(max(2 * rows, needed, 16), max(self.points_max // self.steps, needed))
            grown: F64 = np.full((room, self.steps), np.nan)
            grown[:rows] = self._block
            self._block = grown

    def frame(self) -> pd.DataFrame:
        """The DataFrame of all series, ordered by name; a view of the block where it can be.

        Raises NoData when no series has a finite sample.
        """
        order = sorted(self.rows)
        block = self._block[[self.rows[name] for name in order]]
        if not np.isfinite(block).any():
            raise NoData
        return to_frame(block, order, self.start_ms, self.step_ms)


def to_frame(block: F64, names: list[str], start_ms: int, step_ms: int) -> pd.DataFrame:
    """A frame over `block` (series, time) without copying it."""
    times = start_ms + step_ms * np.arange(block.shape[1], dtype=np.int64)
    index = pd.DatetimeIndex(times.astype("datetime64[ms]"), name="time").tz_localize("UTC")
    return pd.DataFrame(block.T, index=index, columns=pd.Index(names, name="series"), copy=False)


def to_block(frame: pd.DataFrame) -> tuple[F64, I64]:
    """(series, time) float64, C order, infinities as NaN; and the timestamps in ms."""
    block = np.array(frame.to_numpy(dtype=np.float64).T, order="C")
    block[~np.isfinite(block)] = np.nan
    index = frame.index
    assert isinstance(index, pd.DatetimeIndex)
    times: I64 = index.tz_convert(None).to_numpy(dtype="datetime64[ms]").astype(np.int64)
    return block, times
