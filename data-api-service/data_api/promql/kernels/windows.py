"""Functions over time windows, each series and step at once.

       start           end            A window is left-open: start < timestamp <= end.
    ────(────●────●─────]──▶ t        Ends ascend, so one pass finds all of a series.

`fold` takes compressed sparse rows (`Columns` without stale markers), the windows' ends (m,) and
their common length, and fills `out` and `present`, both (n, m). Offsets may be those of a block of
rows: they count from the start of all samples.
"""
# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from data_api.chassis.jit import (
    BOOL_ROWS_OUT,
    F64_ROWS,
    F64_ROWS_OUT,
    F64S,
    F64S_OUT,
    I64_ROWS,
    I64_ROWS_OUT,
    I64S,
    I64S_OUT,
    float64,
    inlined,
    int64,
    kernel,
    void,
)
from data_api.model import F64, I64, STALE_BITS, Bools
from data_api.promql.kernels.sums import add, mean, quantile_sorting, total, variance

SUM, AVG, MIN, MAX, COUNT, LAST, FIRST, PRESENT, STDDEV, STDVAR = range(10)
CHANGES, RESETS, TS_OF_MIN, TS_OF_MAX, TS_OF_LAST, TS_OF_FIRST, MAD, QUANTILE = range(10, 18)
IRATE, IDELTA, DERIV, PREDICT, SMOOTHING, RATE, INCREASE, DELTA = range(18, 26)
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


@inlined
def quantile_of(q: float, values: F64, start: int, end: int, scratch: F64) -> float:
    """The q-quantile of a window."""
    for i in range(start, end):
        scratch[i - start] = values[i]
    return quantile_sorting(q, scratch, end - start)


@kernel(float64(F64S, int64, int64, F64S_OUT))
def median_deviation(values: F64, start: int, end: int, scratch: F64) -> float:
    """Median of the distances to the median."""
    middle = quantile_of(0.5, values, start, end, scratch)
    for i in range(start, end):
        scratch[i - start] = abs(values[i] - middle)
    return quantile_sorting(0.5, scratch, end - start)


@inlined
def instant_change(values: F64, times: I64, end: int, op: int) -> float:
    """The change between the last two samples (IDELTA), or what it is a second (IRATE)."""
    change = values[end - 1] - values[end - 2]
    if op == IDELTA:
        return float(change)
    if change < 0.0:
        change = values[end - 1]  # the counter began again
    return float(change / ((times[end - 1] - times[end - 2]) / 1000.0))


@kernel(float64(F64S, I64S, int64, int64, int64, float64, float64))
def regression(
    values: F64, times: I64, start: int, end: int, op: int, origin: float, ahead: float
) -> float:
    """Slope a second of the least-squares line through a window (DERIV), or the line's value
    `ahead` seconds after `origin`, ms (PREDICT).

    Source: Prometheus `linearRegression`.
    """
    first = values[start]
    if op == DERIV:
        origin = float(times[start])  # which keeps the numbers small
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


@inlined
def window_value(
    op: int, values: F64, times: I64, lo: int, hi: int, first: float, second: float, scratch: F64
) -> float:
    """The function `op` of one window's samples ``lo:hi``; its own parameters are first, second."""
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
        result = quantile_of(first, values, lo, hi, scratch)
    elif op in (IRATE, IDELTA):
        result = instant_change(values, times, hi, op)
    elif op in (DERIV, PREDICT):
        result = regression(values, times, lo, hi, op, first, second)
    elif op == SMOOTHING:
        result = smoothed(values, lo, hi, first, second)
    return result


@kernel(int64(F64S, int64, int64, I64S_OUT))
def find_resets(values: F64, first: int, last: int, resets: I64) -> int:
    """How many of the values ``first:last`` are less than the one before; `resets` says which."""
    count = 0
    for i in range(first + 1, last):
        if values[i] < values[i - 1]:
            resets[count] = i
            count += 1
    return count


@kernel(void(int64, I64S, I64S, F64S, I64S, int64, F64S, F64S, F64_ROWS_OUT, BOOL_ROWS_OUT))
def fold(
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
    RATE, INCREASE (of counters) and DELTA are extrapolated to the window's edges. Each series'
    resets are listed once, so that a window costs only the resets inside it, however long it is.
    Source: docs/adr/0005-promql-engine.md.
    """
    is_counter = int(op in (RATE, INCREASE))
    scratch = np.empty(longest(offsets) if op in (MAD, QUANTILE) else 0, np.float64)
    resets = np.empty(longest(offsets) if is_counter else 0, np.int64)
    starts = np.empty(ends.size, np.int64)
    stops = np.empty(ends.size, np.int64)
    for row in range(offsets.size - 1):
        find_windows(times, offsets[row], offsets[row + 1], ends, length, starts, stops)
        reset_count = 0
        if is_counter:
            reset_count = find_resets(values, offsets[row], offsets[row + 1], resets)
        first_reset = 0
        for step in range(ends.size):
            lo = starts[step]
            hi = stops[step]
            if hi - lo < 1 + (op >= NEED_TWO):
                continue
            present[row, step] = True
            if op < RATE:
                out[row, step] = window_value(
                    op, values, times, lo, hi, firsts[step], seconds[step], scratch
                )
                continue
            growth = values[hi - 1] - values[lo]
            while first_reset < reset_count and resets[first_reset] <= lo:
                first_reset += 1
            i = first_reset
            while i < reset_count and resets[i] < hi:
                growth += values[resets[i] - 1]
                i += 1
            end = ends[step]
            out[row, step] = growth * extrapolation(
                op,
                end - length,
                end,
                times[lo],
                times[hi - 1],
                hi - lo - 1,
                values[lo],
                growth,
            )


@kernel(void(int64, I64S, I64_ROWS, F64_ROWS, I64S, int64, F64_ROWS_OUT, BOOL_ROWS_OUT))
def growth_of_buckets(
    op: int,
    offsets: I64,
    whole: I64,
    real: F64,
    ends: I64,
    length: int,
    out: F64,
    present: Bools,
) -> None:
    """RATE, INCREASE and DELTA as `fold` has them, of windows over buckets instead of samples.

    whole: (4, n) of each bucket the end, how many samples, the times of the first and the last, ms.
    real: (3, n) first and last value, and what a counter was before it fell within the bucket, once
    at most; 0 where it did not. Growth is added up in the order of `fold`, so that it is the same.
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
            growth = lasts[hi - 1] - firsts[lo]
            for i in range(lo, hi if op != DELTA else lo):
                if i > lo and firsts[i] < lasts[i - 1]:
                    growth += lasts[i - 1]
                if before_fall[i] != 0.0:
                    growth += before_fall[i]
            end = ends[step]
            present[row, step] = True
            out[row, step] = growth * extrapolation(
                op,
                end - length,
                end,
                whole[2, lo],
                whole[3, hi - 1],
                samples - 1,
                firsts[lo],
                growth,
            )
