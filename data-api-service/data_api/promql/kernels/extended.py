"""Functions over windows with edges of their own: `x[5m] anchored`, `x[5m] smoothed`.

    ●────(────●────●─────]───●──▶ t
    a  start            end   b
    anchored: from the sample before the start (a) to the last one inside
    smoothed: from the line through a and the next to the line through b and the one before

Samples up to `reach` before the start, and for smoothed ones after the end, are looked at; nothing
is extrapolated. Arguments and operations as in `windows`. Source: Prometheus `extendedRate`.
"""
# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from data_api.chassis.jit import (
    BOOL_ROWS_OUT,
    F64_ROWS_OUT,
    F64S,
    I64S,
    I64S_OUT,
    float64,
    int64,
    kernel,
    void,
)
from data_api.model import F64, I64, Bools
from data_api.promql.kernels.windows import CHANGES, DELTA, RATE, RESETS, count_turns


@kernel(void(I64S, int64, int64, I64S, int64, int64, int64, I64S_OUT, I64S_OUT))
def find_edges(
    times: I64,
    first: int,
    last: int,
    ends: I64,
    length: int,
    reach: int,
    is_smoothed: int,
    lefts: I64,
    rights: I64,
) -> None:
    """Of the samples ``first:last`` of a series, the places a and b of each window; b is -1 for a
    window that has nothing.
    """
    for step in range(ends.size):
        end = ends[step]
        start = end - length
        lo = first + np.searchsorted(times[first:last], start - reach, side="right")
        hi = first + np.searchsorted(
            times[first:last], end + reach if is_smoothed else end, side="right"
        )
        rights[step] = -1
        if lo == hi:
            continue
        left = max(lo, lo + np.searchsorted(times[lo:hi], start, side="right") - 1)
        right = hi - 1
        if is_smoothed:
            right = min(right, lo + np.searchsorted(times[lo:hi], end, side="left"))
        if times[right] > start and times[left] <= end:
            lefts[step] = left
            rights[step] = right


@kernel(float64(I64S, F64S, int64, int64, int64, int64))
def between(times: I64, values: F64, place: int, at: int, is_counter: int, is_left: int) -> float:
    """The value at the time `at`, on the line from the sample at `place` to the next."""
    before = values[place]
    after = values[place + 1]
    if is_counter and after < before:  # it began again, from 0
        if is_left:
            before = 0.0
        else:
            after += before
    share = float(at - times[place]) / float(times[place + 1] - times[place])
    return float(before + (after - before) * share)


@kernel(
    float64(F64S, I64S, int64, int64, int64, int64, int64, int64),
)
def growth(
    values: F64,
    times: I64,
    left: int,
    right: int,
    start: int,
    end: int,
    is_smoothed: int,
    is_counter: int,
) -> float:
    """Growth of a window from edge to edge."""
    low = values[left]
    is_cut = is_smoothed and times[left] < start
    if is_cut:
        low = between(times, values, left, start, is_counter, 1)
    high = values[right]
    if is_smoothed and times[right] > end and right > left:
        on_one_line = is_cut and right == left + 1
        high = between(times, values, right - 1, end, is_counter, on_one_line)
    result = high - low
    if is_counter:
        before = low
        for i in range(left + (times[left] <= start), right + (times[right] < end)):
            if values[i] < before:
                result += before
            before = values[i]
        if high < before:
            result += before
    return float(result)


@kernel(void(int64, I64S, I64S, F64S, I64S, int64, int64, int64, F64_ROWS_OUT, BOOL_ROWS_OUT))
def fold(
    op: int,
    offsets: I64,
    times: I64,
    values: F64,
    ends: I64,
    length: int,
    reach: int,
    is_smoothed: int,
    out: F64,
    present: Bools,
) -> None:
    """RATE, INCREASE and DELTA from edge to edge; CHANGES and RESETS since the sample before."""
    lefts = np.empty(ends.size, np.int64)
    rights = np.empty(ends.size, np.int64)
    for row in range(offsets.size - 1):
        first = offsets[row]
        find_edges(times, first, offsets[row + 1], ends, length, reach, is_smoothed, lefts, rights)
        for step in range(ends.size):
            left = lefts[step]
            right = rights[step]
            if right < 0:
                continue
            if op in (CHANGES, RESETS):
                result = count_turns(values, left, right + 1, op)
            else:
                end = ends[step]
                is_counter = int(op != DELTA)
                result = growth(
                    values, times, left, right, end - length, end, is_smoothed, is_counter
                )
                if op == RATE:
                    result /= length / 1000.0
            out[row, step] = result
            present[row, step] = True
