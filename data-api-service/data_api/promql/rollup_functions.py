"""Functions of range vectors over buckets instead of samples: the same answer, bit for bit.

    function        of the buckets                      exact
    count, present  sum of `count`                      always
    min max         min of `min`, max of `max`          always
    first last      first of `first`, last of `last`    always
    sum avg         sum of `sum` and `sum_rest`         if no sum of the window's samples needs more
                                                        than twice 53 bits
    delta           last - first                        always
    rate increase   the same and what resets lost       if the window has at most one reset, or no
                                                        sum needs more than 53 bits

A bucket lies in a window whole or not at all, and so is a sample at its end to the kernels of
windows. What cannot be proved raises InexactRollup. Source: docs/adr/0021-rollups.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from data_api.model import F64, I64, Bools, Buckets, Columns
from data_api.promql import range_functions
from data_api.promql.errors import InexactRollup
from data_api.promql.values import Vector, Windows

_SIMPLE: Final = {
    "min_over_time": "min",
    "max_over_time": "max",
    "first_over_time": "first",
    "last_over_time": "last",
}
_SUM_MAX: Final = 1e300
_ROUNDED: Final = 103
"""A compensated sum is exact, and rounded once, while count² · max(abs) < 2**(103 + lowest_bit):
it loses at most count² · max(abs) / 2**52, in multiples of 2**lowest_bit, and that fits 53 bits."""
_UNROUNDED: Final = 52
"""A sum of k values is exact while k · max(abs) < 2**(52 + lowest_bit)."""


@dataclass(frozen=True, slots=True)
class BucketWindows:
    """Windows over buckets; ends_ms, steps_ms and range_ms as in `range_functions.evaluate`."""

    buckets: Buckets
    ends_ms: I64
    range_ms: int
    steps_ms: I64
    checkpoint: Callable[[], None]

    def column(self, name: str) -> Any:
        """One column of the buckets."""
        return self.buckets.columns[name]

    def fold(self, function: str, values: Any, times: int = 1) -> Vector:
        """`function` over values of the buckets, `times` of each."""
        columns = Columns(
            self.buckets.labels,
            self.buckets.offsets * times,
            np.repeat(self.column("end_ms"), times),
            np.ascontiguousarray(values, np.float64),
        )
        unnamed = np.zeros(len(columns.labels), np.bool_)
        windows = Windows(columns, self.ends_ms, self.range_ms, unnamed)
        return range_functions.evaluate(function, windows, [], self.steps_ms, self.checkpoint)

    def sums(self, values: Any) -> F64:
        """The sum over each window, 0 for none."""
        return self.fold("sum_over_time", values).values

    def prove(self, terms: F64, bits: int, needed: Bools) -> None:
        """Raise InexactRollup unless terms · max(abs) < 2**(bits + lowest_bit) in the windows where
        it is `needed`. NaN makes every sum NaN and needs no proof.
        """
        largest = np.fmax(np.abs(self.column("min")), np.abs(self.column("max")))
        largest_of = self.fold("max_over_time", largest).values
        lowest = self.fold("min_over_time", self.column("lowest_bit")).values
        room = np.ldexp(1.0, bits + lowest.astype(np.int64))
        size = terms * largest_of
        if (needed & ((size >= room) | (size > _SUM_MAX))).any():
            raise InexactRollup


def evaluate(name: str, windows: BucketWindows) -> Vector:
    """The function `name` over all windows; rows keep their names. Raises InexactRollup."""
    if name in _SIMPLE:
        return windows.fold(name, windows.column(_SIMPLE[name]))
    if name in {"rate", "increase", "delta"}:
        return _growth(name, windows)
    count = windows.fold("sum_over_time", windows.column("count"))
    if name == "count_over_time":
        return count
    if name == "present_over_time":
        return count.with_values(np.ones_like(count.values))
    windows.prove(count.values**2, _ROUNDED, count.present)
    both = np.column_stack((windows.column("sum"), windows.column("sum_rest"))).ravel()
    total = windows.fold("sum_over_time", both, times=2)
    return total if name == "sum_over_time" else total.with_values(total.values / count.values)


def _growth(name: str, windows: BucketWindows) -> Vector:
    """As `kernels.windows.growth`, whose steps these are. Source: Prometheus `extrapolatedRate`."""
    count = windows.fold("sum_over_time", windows.column("count"))
    present = count.present & (count.values >= 2)
    first = windows.fold("first_over_time", windows.column("first")).values
    last = windows.fold("last_over_time", windows.column("last")).values
    first_ms = windows.fold("first_over_time", windows.column("first_ms")).values
    last_ms = windows.fold("last_over_time", windows.column("last_ms")).values
    is_counter, length_s = name != "delta", windows.range_ms / 1000.0
    result = last - first
    if is_counter:
        result += _lost_by_resets(windows, present)
    to_start = (first_ms - (windows.ends_ms - windows.range_ms)) / 1000.0
    to_end = (windows.ends_ms - last_ms) / 1000.0
    sampled = (last_ms - first_ms) / 1000.0
    between = sampled / (count.values - 1)
    to_start = np.where(to_start >= between * 1.1, between / 2.0, to_start)
    if is_counter:
        to_zero = sampled * (first / result)
        is_bounded = (result > 0.0) & (first >= 0.0) & (to_zero < to_start)
        to_start = np.where(is_bounded, to_zero, to_start)
    to_end = np.where(to_end >= between * 1.1, between / 2.0, to_end)
    factor = (sampled + to_start + to_end) / sampled
    if name == "rate":
        factor /= length_s
    return Vector(count.labels, result * factor, present, count.unnamed)


def _lost_by_resets(windows: BucketWindows, present: Bools) -> F64:
    """The sum of the values before each reset inside each window. Raises InexactRollup."""
    offsets, first, last = windows.buckets.offsets, windows.column("first"), windows.column("last")
    before = np.concatenate(([np.nan], last[:-1]))
    before[offsets[:-1][np.diff(offsets) > 0]] = np.nan
    is_between = first < before  # between this bucket and the one before it
    between = np.where(is_between, before, 0.0)
    resets = windows.column("resets")
    if not is_between.any() and not resets.any():
        return np.zeros(present.shape)
    if ((windows.fold("min_over_time", resets).values < 0) & present).any():
        raise InexactRollup
    number = windows.sums(resets + is_between)
    windows.prove(number + 3, _UNROUNDED, present & (number > 1))
    # What lies before the window's first bucket is not in the window.
    outside = windows.fold("first_over_time", between).values
    return windows.sums(windows.column("reset_sum") + between) - outside
