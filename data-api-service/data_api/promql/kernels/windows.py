"""Functions over time windows, each series and step at once.

       start           end            A window is left-open: start < timestamp <= end.
    ────(────●────●─────]──▶ t        Ends ascend, so one pass finds all of a series.

The kernels take compressed sparse rows (`Columns` without stale markers), the windows' ends
(m,) and their common length, and fill `out` and `present`, both (n, m). Offsets may be those of a
block of rows: they count from the start of all samples.
"""
# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from data_api.chassis.jit import (
    BOOL_ROWS_OUT,
    F64_ROWS_OUT,
    F64S,
    F64S_OUT,
    I64_ROWS_OUT,
    I64S,
    I64S_OUT,
    float64,
    int64,
    kernel,
    void,
)
from data_api.model import F64, I64, STALE_BITS, Bools
from data_api.promql.kernels.sums import add, mean, quantile_sorting, total, variance

SUM, AVG, MIN, MAX, COUNT, LAST, FIRST, PRESENT, STDDEV, STDVAR = range(10)
CHANGES, RESETS, TS_OF_MIN, TS_OF_MAX, TS_OF_LAST, TS_OF_FIRST, MAD, QUANTILE = range(10, 18)
IRATE, IDELTA, DERIV, PREDICT, SMOOTHING = range(18, 23)
NEED_TWO = IRATE  # this and what follows say nothing of one sample


@kernel(int64(I64S))
def longest(offsets: I64) -> int:
    """Samples of the longest series."""
    most = 0
    for row in range(offsets.size - 1):
        most = max(most, offsets[row + 1] - offsets[row])
    return most


@kernel(void(I64S, int64, int64, I64S, int64, I64S_OUT, I64S_OUT))
def find_windows(
    times: I64, first: int, last: int, ends: I64, length: int, starts: I64, stops: I64
) -> None:
    """Of the samples ``first:last`` of a series, each window holds ``starts[step]:stops[step]``."""
    lo = first
    hi = first
    for step in range(ends.size):
        while hi < last and times[hi] <= ends[step]:
            hi += 1
        while lo < hi and times[lo] <= ends[step] - length:
            lo += 1
        starts[step] = lo
        stops[step] = hi


@kernel(void(I64S, I64S, I64S, I64S, int64, I64_ROWS_OUT))
def newest(offsets: I64, times: I64, bits: I64, steps: I64, lookback: int, indexes: I64) -> None:
    """Index of each series' newest sample in ``(step - lookback, step]``, or -1.

    A stale marker (by its bits) hides what came before it.
    """
    for row in range(offsets.size - 1):
        end = offsets[row + 1]
        i = offsets[row]
        for step in range(steps.size):
            while i < end and times[i] <= steps[step]:
                i += 1
            is_fresh = i > offsets[row] and times[i - 1] > steps[step] - lookback
            is_shown = is_fresh and bits[i - 1] != STALE_BITS
            indexes[row, step] = i - 1 if is_shown else -1


@kernel(float64(F64S, int64, int64))
def smallest(values: F64, start: int, end: int) -> float:
    """Minimum of a window, NaN only where all are."""
    best = values[start]
    for i in range(start + 1, end):
        if values[i] < best or np.isnan(best):
            best = values[i]
    return float(best)


@kernel(float64(F64S, int64, int64))
def largest(values: F64, start: int, end: int) -> float:
    """Maximum of a window, NaN only where all are."""
    best = values[start]
    for i in range(start + 1, end):
        if values[i] > best or np.isnan(best):
            best = values[i]
    return float(best)


@kernel(float64(F64S, int64, int64, int64))
def count_turns(values: F64, start: int, end: int, op: int) -> float:
    """How often neighbours differ (CHANGES; NaN equals NaN) or fall (RESETS)."""
    count = 0.0
    for i in range(start + 1, end):
        before = values[i - 1]
        now = values[i]
        if op == RESETS:
            if now < before:
                count += 1.0
        elif now != before and not (np.isnan(now) and np.isnan(before)):
            count += 1.0
    return count


@kernel(float64(F64S, I64S, int64, int64, int64))
def time_of_extreme(values: F64, times: I64, start: int, end: int, op: int) -> float:
    """Seconds of a window's smallest or largest value; of equal ones, of the last."""
    best = values[start]
    at = start
    for i in range(start + 1, end):
        now = values[i]
        if np.isnan(best) or (op == TS_OF_MIN and now <= best) or (op == TS_OF_MAX and now >= best):
            best = now
            at = i
    return float(times[at] / 1000.0)


@kernel(float64(F64S, int64, int64, F64S_OUT))
def median_deviation(values: F64, start: int, end: int, scratch: F64) -> float:
    """Median of the distances to the median."""
    n = end - start
    for i in range(n):
        scratch[i] = values[start + i]
    middle = quantile_sorting(0.5, scratch, n)
    for i in range(n):
        scratch[i] = abs(values[start + i] - middle)
    return quantile_sorting(0.5, scratch, n)


@kernel(float64(F64S, I64S, int64, int64, int64, int64, float64))
def regression(
    values: F64, times: I64, start: int, end: int, op: int, origin: int, ahead: float
) -> float:
    """Slope a second of the least-squares line through a window (DERIV), or the line's value
    `ahead` seconds after `origin`, ms (PREDICT). Numbers are small where `origin` is near.

    Source: Prometheus `linearRegression`.
    """
    first = values[start]
    constant = True
    n = 0.0
    sx = 0.0
    cx = 0.0
    sy = 0.0
    cy = 0.0
    sxy = 0.0
    cxy = 0.0
    sxx = 0.0
    cxx = 0.0
    for i in range(start, end):
        if values[i] != first:
            constant = False
        n += 1.0
        x = (times[i] - origin) / 1000.0
        sx, cx = add(x, sx, cx)
        sy, cy = add(values[i], sy, cy)
        sxy, cxy = add(x * values[i], sxy, cxy)
        sxx, cxx = add(x * x, sxx, cxx)
    slope = 0.0
    intercept = first
    if constant and np.isinf(first):
        return np.nan
    if not constant:
        sx += cx
        sy += cy
        sxy += cxy
        sxx += cxx
        slope = (sxy - sx * sy / n) / (sxx - sx * sx / n)
        intercept = sy / n - slope * sx / n
    return float(slope if op == DERIV else slope * ahead + intercept)


@kernel(float64(F64S, int64, int64, float64, float64))
def smoothed(values: F64, start: int, end: int, level_factor: float, trend_factor: float) -> float:
    """Holt's double exponential smoothing of a window of at least two samples.

    Source: Prometheus `funcDoubleExponentialSmoothing`.
    """
    before = 0.0
    level = values[start]
    trend = values[start + 1] - values[start]
    for i in range(start + 1, end):
        if i > start + 1:
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend
        before = level
        level = level_factor * values[i] + (1.0 - level_factor) * (level + trend)
    return float(level)


@kernel(void(int64, I64S, I64S, F64S, I64S, int64, F64S, F64S, F64_ROWS_OUT, BOOL_ROWS_OUT))
def fold(  # in one piece: to give arrays to a step takes 20 ns a window, half of its time
    op: int,
    offsets: I64,
    times: I64,
    values: F64,
    ends: I64,
    length: int,
    firsts: F64,
    seconds: F64,
    out: F64,
    present: Bools,
) -> None:
    """The function `op` of each window; absent where the window is empty, from NEED_TWO on also
    where it has one sample.

    firsts, seconds: parameters of each step (m,): the quantile; origin (ms) and seconds ahead of
    PREDICT; factors of level and trend of SMOOTHING; else anything.
    """
    least = 2 if op >= NEED_TWO else 1
    scratch = np.empty(longest(offsets) if op in (MAD, QUANTILE) else 0, np.float64)
    starts = np.empty(ends.size, np.int64)
    stops = np.empty(ends.size, np.int64)
    for row in range(offsets.size - 1):
        find_windows(times, offsets[row], offsets[row + 1], ends, length, starts, stops)
        for step in range(ends.size):
            lo = starts[step]
            hi = stops[step]
            if hi - lo < least:
                continue
            result = 1.0
            if op == SUM:
                result = total(values, lo, hi)
            elif op == AVG:
                result = mean(values, lo, hi)
            elif op == MIN:
                result = smallest(values, lo, hi)
            elif op == MAX:
                result = largest(values, lo, hi)
            elif op == COUNT:
                result = float(hi - lo)
            elif op == LAST:
                result = values[hi - 1]
            elif op == FIRST:
                result = values[lo]
            elif op == STDDEV:
                result = np.sqrt(variance(values, lo, hi))
            elif op == STDVAR:
                result = variance(values, lo, hi)
            elif op in (CHANGES, RESETS):
                result = count_turns(values, lo, hi, op)
            elif op in (TS_OF_MIN, TS_OF_MAX):
                result = time_of_extreme(values, times, lo, hi, op)
            elif op == TS_OF_LAST:
                result = times[hi - 1] / 1000.0
            elif op == TS_OF_FIRST:
                result = times[lo] / 1000.0
            elif op == MAD:
                result = median_deviation(values, lo, hi, scratch)
            elif op == QUANTILE:
                for i in range(lo, hi):
                    scratch[i - lo] = values[i]
                result = quantile_sorting(firsts[step], scratch, hi - lo)
            elif op in (IRATE, IDELTA):
                if op == IRATE and values[hi - 1] < values[hi - 2]:
                    result = values[hi - 1]  # the counter began again
                else:
                    result = values[hi - 1] - values[hi - 2]
                if op == IRATE:
                    result /= (times[hi - 1] - times[hi - 2]) / 1000.0
            elif op in (DERIV, PREDICT):
                origin = times[lo] if op == DERIV else int(firsts[step])
                result = regression(values, times, lo, hi, op, origin, seconds[step])
            elif op == SMOOTHING:
                result = smoothed(values, lo, hi, firsts[step], seconds[step])
            out[row, step] = result
            present[row, step] = True
