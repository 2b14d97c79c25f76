"""Functions of range vectors over buckets instead of samples: the same answer, bit for bit.

    count, present   sum of `count`
    min, max         of `min`, of `max`
    first, last      of `first`, of `last`
    sum, avg         sum of `sum` and `sum_rest`, where that is proved to be the exact sum

A bucket lies in a window whole or not at all, and so does its end: the kernels of windows take it
for a sample there. Source: docs/adr/0021-rollups.md.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from data_api.model import F64, I64, Buckets, Columns
from data_api.promql import range_functions
from data_api.promql.errors import InexactRollup
from data_api.promql.values import Vector, Windows

_ROUNDED: Final = 103
_SUM_MAX: Final = 1e300


@dataclass(frozen=True, slots=True)
class BucketWindows:
    """Windows over buckets; ends_ms, steps_ms and range_ms as in `range_functions.evaluate`."""

    buckets: Buckets
    ends_ms: I64
    range_ms: int
    steps_ms: I64

    def fold(self, function: str, values: Any, times: int = 1) -> Vector:
        """`function` over (n · times,) values, of each bucket `times`."""
        columns = Columns(
            self.buckets.labels,
            self.buckets.offsets * times,
            np.repeat(self.buckets.columns["end_ms"], times),
            np.ascontiguousarray(values, np.float64),
        )
        unnamed = np.zeros(len(columns.labels), np.bool_)
        windows = Windows(columns, self.ends_ms, self.range_ms, unnamed)
        return range_functions.evaluate(function, windows, [], self.steps_ms)


def evaluate(name: str, windows: BucketWindows) -> Vector:
    """The function `name` over all windows; rows keep their names. Raises InexactRollup."""
    columns = windows.buckets.columns
    if name in {"min_over_time", "max_over_time", "first_over_time", "last_over_time"}:
        return windows.fold(name, columns[name.removesuffix("_over_time")])
    count = windows.fold("sum_over_time", columns["count"])
    if name == "count_over_time":
        return count
    if name == "present_over_time":
        return count.with_values(np.ones_like(count.values))
    _prove(windows, count)
    both = np.column_stack((columns["sum"], columns["sum_rest"])).ravel()
    total = windows.fold("sum_over_time", both, times=2)
    return total if name == "sum_over_time" else total.with_values(total.values / count.values)


def _prove(windows: BucketWindows, count: Vector) -> None:
    """Raise InexactRollup unless each window's sum is the exact sum of its samples, rounded once,
    whichever way it is added up.

    A compensated sum of n values, all multiples of 2**e, loses at most n² · max / 2**52, also in
    multiples of 2**e: what it keeps of that is exact while it fits 53 bits, with a bit to spare
    while n² · max < 2**(103 + e). A NaN makes every sum NaN and needs no proof.
    """
    columns = windows.buckets.columns
    largest = windows.fold("max_over_time", np.fmax(np.abs(columns["min"]), np.abs(columns["max"])))
    lowest: F64 = windows.fold("min_over_time", columns["lowest_bit"]).values
    size = count.values**2 * largest.values
    room = np.ldexp(1.0, _ROUNDED + lowest.astype(np.int64))
    if (count.present & ((size >= room) | (size > _SUM_MAX))).any():
        raise InexactRollup
