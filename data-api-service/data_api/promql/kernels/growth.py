"""Growth over windows, and from edge to edge: rate, increase, delta.

    x[5m]            ────(────●────●─────]──────▶ t
                     start ◁──        ──▷ end        extrapolated to both ends
    x[5m] anchored   ●───(────●────●─────]───●──▶    from the sample before the start (a) to the
    x[5m] smoothed   a  start           end  b       last one inside; from the line through a and
                                                     the next to the line through b and the one
                                                     before
Of windows with edges of their own, samples up to `reach` before the start, and for smoothed ones
after the end, are looked at, and nothing is extrapolated. Arguments as in `windows`.
Source: Prometheus `extrapolatedRate`, `extendedRate`.
"""
# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from data_api.chassis.jit import (
    BOOL_ROWS_OUT,
    F64_ROWS,
    F64_ROWS_OUT,
    F64S,
    I64_ROWS,
    I64S,
    I64S_OUT,
    float64,
    int64,
    kernel,
    void,
)
from data_api.model import F64, I64, Bools
from data_api.promql.kernels.windows import CHANGES, RESETS, count_turns, find_windows, longest

RATE, INCREASE, DELTA = range(3)


@kernel(float64(int64, int64, int64, int64, int64, int64, float64, float64))
def extrapolation(
    op: int,
    start: int,
    end: int,
    first: int,
    last: int,
    gaps: int,
    first_value: float,
    growth: float,
) -> float:
    """By how much growth between the samples of a window is growth over all of it, of RATE a
    second.

    start, end, first, last: ms of the window and of its first and last sample; gaps: samples but
    one. A counter never extrapolates below zero. Source: Prometheus `extrapolatedRate`.
    """
    to_start = (first - start) / 1000.0
    to_end = (end - last) / 1000.0
    sampled = (last - first) / 1000.0
    between = sampled / float(gaps)
    threshold = between * 1.1
    if to_start >= threshold:
        to_start = between / 2.0
    if op != DELTA and growth > 0.0 and first_value >= 0.0:
        to_start = min(to_start, sampled * (first_value / growth))
    if to_end >= threshold:
        to_end = between / 2.0
    factor = (sampled + to_start + to_end) / sampled
    return float(factor / ((end - start) / 1000.0) if op == RATE else factor)


@kernel(void(int64, I64S, I64S, F64S, I64S, int64, F64_ROWS_OUT, BOOL_ROWS_OUT))
def extrapolated(
    op: int,
    offsets: I64,
    times: I64,
    values: F64,
    ends: I64,
    length: int,
    out: F64,
    present: Bools,
) -> None:
    """Growth over each window, extrapolated to its edges: RATE, INCREASE (of counters), DELTA.

    Absent below two samples: one says nothing about growth. Each series' resets are listed once, so
    that a window costs only the resets inside it, however long it is.
    Source: docs/adr/0005-promql-engine.md.
    """
    is_counter = op != DELTA
    resets = np.empty(longest(offsets) if is_counter else 0, np.int64)
    starts = np.empty(ends.size, np.int64)
    stops = np.empty(ends.size, np.int64)
    for row in range(offsets.size - 1):
        find_windows(times, offsets[row], offsets[row + 1], ends, length, starts, stops)
        reset_count = 0
        if is_counter:
            for i in range(offsets[row] + 1, offsets[row + 1]):
                if values[i] < values[i - 1]:
                    resets[reset_count] = i
                    reset_count += 1
        first_reset = 0
        for step in range(ends.size):
            lo = starts[step]
            hi = stops[step]
            if hi - lo < 2:
                continue
            result = values[hi - 1] - values[lo]
            while first_reset < reset_count and resets[first_reset] <= lo:
                first_reset += 1
            for i in range(first_reset, reset_count):
                if resets[i] >= hi:
                    break
                result += values[resets[i] - 1]
            end = ends[step]
            present[row, step] = True
            out[row, step] = result * extrapolation(
                op, end - length, end, times[lo], times[hi - 1], hi - lo - 1, values[lo], result
            )


@kernel(void(int64, I64S, I64_ROWS, F64_ROWS, I64S, int64, F64_ROWS_OUT, BOOL_ROWS_OUT))
def of_buckets(
    op: int,
    offsets: I64,
    whole: I64,
    real: F64,
    ends: I64,
    length: int,
    out: F64,
    present: Bools,
) -> None:
    """RATE, INCREASE and DELTA as of `extrapolated`, of windows over buckets instead of samples.

    whole: (4, n) of each bucket the end, how many samples, the times of the first and the last, ms.
    real: (3, n) first and last value, and what a counter was before it fell within the bucket, once
    at most; 0 where it did not. They are added up in the order of `extrapolated`: the same result.
    """
    firsts, lasts, before_fall = real[0], real[1], real[2]
    starts = np.empty(ends.size, np.int64)
    stops = np.empty(ends.size, np.int64)
    for row in range(offsets.size - 1):
        find_windows(whole[0], offsets[row], offsets[row + 1], ends, length, starts, stops)
        for step in range(ends.size):
            lo = starts[step]
            hi = stops[step]
            samples = 0
            for i in range(lo, hi):
                samples += whole[1, i]
            if samples < 2:
                continue
            result = lasts[hi - 1] - firsts[lo]
            for i in range(lo, hi if op != DELTA else lo):
                if i > lo and firsts[i] < lasts[i - 1]:
                    result += lasts[i - 1]
                if before_fall[i] != 0.0:
                    result += before_fall[i]
            end = ends[step]
            present[row, step] = True
            out[row, step] = result * extrapolation(
                op,
                end - length,
                end,
                whole[2, lo],
                whole[3, hi - 1],
                samples - 1,
                firsts[lo],
                result,
            )


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


@kernel(void(int64, I64S, I64S, F64S, I64S, int64, int64, int64, F64_ROWS_OUT, BOOL_ROWS_OUT))
def from_edges(
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
    is_count = op in (CHANGES, RESETS)
    is_counter = op != DELTA
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
            present[row, step] = True
            if is_count:
                out[row, step] = count_turns(values, left, right + 1, op)
                continue
            end = ends[step]
            start = end - length
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
            out[row, step] = result / (length / 1000.0) if op == RATE else result
