"""Query answers become one dense block, and a block a DataFrame at the edge.

Inside is a (series × time) float64 block on one time axis, NaN for gaps, 10-70 times cheaper than
long frames. A frame has a UTC index and a column for each series, named by its labels as canonical
JSON; pandas is imported when the first frame is made, and not before.
"""

import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis_processing.errors import BlockTooLarge, NoData, TooManyPoints, TooManySeries
from analysis_processing.model import Labels

if TYPE_CHECKING:
    import pandas as pd

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
VALUE_BYTES = 8


def series_name(labels: Labels) -> str:
    """The labels as one JSON text: equal labels give equal texts."""
    return json.dumps(labels, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Grid:
    """A block filled window by window, by several threads; a row a series, never copied.

    Address space is reserved for as many series as the bounds allow; memory is used for those that
    there are.
    """

    def __init__(self, steps: int, *, series_max: int, points_max: int, bytes_max: int) -> None:
        self.steps = steps
        self.series_max, self.points_max, self.bytes_max = series_max, points_max, bytes_max
        self.rows: dict[str, int] = {}
        room = min(series_max, points_max // steps, bytes_max // (VALUE_BYTES * steps))
        self._values: F64 = np.empty((room, steps))
        self._lock = threading.Lock()

    def add(self, first: int, labels: list[Labels], values: F64) -> None:
        """`values` (series, time) stand in the block from step `first` on.

        A window may be added twice. Raises TooManySeries, TooManyPoints or BlockTooLarge before
        memory is used for what is too much.
        """
        names = [series_name(one) for one in labels]
        with self._lock:
            before = len(self.rows)
            for name in names:
                self.rows.setdefault(name, len(self.rows))
            self._check(len(self.rows))
            self._values[before : len(self.rows)] = np.nan
            at = [self.rows[name] for name in names]
        self._values[at, first : first + values.shape[1]] = values

    def _check(self, series: int) -> None:
        if series > self.series_max:
            raise TooManySeries(limit=self.series_max)
        if series * self.steps > self.points_max:
            raise TooManyPoints(series=series, steps=self.steps, limit=self.points_max)
        size = series * self.steps * VALUE_BYTES
        if size > self.bytes_max:
            raise BlockTooLarge(
                series=series, steps=self.steps, bytes=size, limit_bytes=self.bytes_max
            )

    def ordered(
        self, convert: Callable[[Labels, F64], bool]
    ) -> tuple[list[Labels], F64, list[bool], list[Labels]]:
        """Labels and values of the series with samples, by name, whether each was converted; and
        the labels of those without samples.

        convert: may change a series' values in place, and says whether it did. Sorts the rows in
        place and gives a view of them. Raises NoData when there is no sample.
        """
        names = list(self.rows)
        labels = [json.loads(name) for name in names]
        rows = self._values[: len(names)]
        is_converted = [convert(one, row) for one, row in zip(labels, rows, strict=True)]
        is_empty = [bool(np.isnan(row).all()) for row in rows]
        order = sorted(range(len(names)), key=lambda row: (is_empty[row], names[row]))
        count = len(names) - sum(is_empty)
        if count == 0:
            raise NoData
        permute(rows, order)
        self.rows = {names[row]: place for place, row in enumerate(order)}
        labels = [labels[row] for row in order]
        flags = [is_converted[row] for row in order[:count]]
        return labels[:count], rows[:count], flags, labels[count:]


def permute(values: F64, order: list[int]) -> None:
    """Row i is what row `order[i]` was, with one row of memory."""
    left = list(order)
    for start in range(len(left)):
        if left[start] == start:
            continue
        spare, at = values[start].copy(), start
        while left[at] != start:
            source = left[at]
            values[at], left[at], at = values[source], at, source
        values[at], left[at] = spare, at


def to_frame(values: F64, names: list[str], start_ms: int, step_ms: int) -> "pd.DataFrame":
    """A frame over `values` (series, time) without copying them."""
    import pandas as pd  # noqa: PLC0415  0.5 s and 60 MB that a job without frames does not pay

    times = start_ms + step_ms * np.arange(values.shape[1], dtype=np.int64)
    index = pd.DatetimeIndex(times.astype("datetime64[ms]"), name="time").tz_localize("UTC")
    return pd.DataFrame(values.T, index=index, columns=pd.Index(names, name="series"), copy=False)
