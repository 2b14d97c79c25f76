"""Functions of range vectors over buckets instead of samples: the same answer, bit for bit.

    count, present   sum of `count`
    min, max         of `min`, of `max`
    first, last      of `first`, of `last`
    sum, avg         sum of `sum` and `sum_rest`, where that is proved to be the exact sum
    rate, increase,  from `first` and `last` with their times, and `reset_sum` where a counter began
    delta            anew once in a bucket at most

A bucket lies in a window whole or not at all, and so does its end: the kernels of windows take it
for a sample there. Source: docs/adr/0021-rollups.md.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from data_api.model import F64, I64, Buckets, Columns
from data_api.promql import range_functions
from data_api.promql.errors import InexactRollup
from data_api.promql.kernels import growth as kernels
from data_api.promql.native_windows import EXTRAPOLATED
from data_api.promql.values import Vector, Windows, checkpoint, vector

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
    if name in EXTRAPOLATED:
        return _growth(name, windows)
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


def _growth(name: str, windows: BucketWindows) -> Vector:
    """rate, increase and delta. Raises InexactRollup where a counter fell more than once in a
    bucket: of what it was before, only the sum is known, but not how it is rounded on the way.
    """
    columns = windows.buckets.columns
    resets, reset_sums = columns["resets"], columns["reset_sum"]
    if name != "delta" and ((resets != 0) & ((resets != 1) | (reset_sums == 0.0))).any():
        raise InexactRollup
    times = columns["end_ms"], columns["count"], columns["first_ms"], columns["last_ms"]
    whole = np.stack(times).astype(np.int64, copy=False)
    real = np.stack([columns["first"], columns["last"], reset_sums])
    offsets, ends, length = windows.buckets.offsets, windows.ends_ms, windows.range_ms
    shape = (offsets.size - 1, ends.size)
    out, present = np.zeros(shape), np.zeros(shape, np.bool_)
    for start, stop, at in range_functions.blocks(offsets, ends, length):
        checkpoint()
        kernels.of_buckets(
            EXTRAPOLATED[name],
            offsets[start : stop + 1],
            whole,
            real,
            ends[at],
            length,
            out[start:stop, at],
            present[start:stop, at],
        )
    return vector(windows.buckets.labels, out, present)


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
