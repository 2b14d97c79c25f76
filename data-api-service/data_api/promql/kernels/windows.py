"""Functions over time windows, each series and step at once.

       start           end            A window is left-open: start < timestamp <= end.
    ────(────●────●─────]──▶ t        Ends ascend, so one pass finds all of a series.

Every entry takes compressed sparse rows (`Columns` without stale markers), the windows' ends
(m,) and their common length, and fills `out` and `present`, both (n, m). Offsets may be those of a
block of rows: they count from the start of all samples.
"""
# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from data_api.chassis.jit import (
    BOOL_ROWS_OUT,
    F64_PAIR,
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
CHANGES, RESETS, TS_OF_MIN, TS_OF_MAX, TS_OF_LAST, TS_OF_FIRST, IRATE, IDELTA, MAD = range(10, 19)


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


@kernel(void(int64, I64S, I64S, F64S, I64S, int64, F64_ROWS_OUT, BOOL_ROWS_OUT))
def fold(
    op: int,
    offsets: I64,
    times: I64,
    values: F64,
    ends: I64,
    length: int,
    out: F64,
    present: Bools,
) -> None:
    """The functions that need nothing but a window's samples, chosen by `op`.

    Absent where the window is empty, and for IRATE and IDELTA below two samples.
    """
    scratch = np.empty(longest(offsets) if op == MAD else 0, np.float64)
    starts = np.empty(ends.size, np.int64)
    stops = np.empty(ends.size, np.int64)
    for row in range(offsets.size - 1):
        find_windows(times, offsets[row], offsets[row + 1], ends, length, starts, stops)
        for step in range(ends.size):
            lo = starts[step]
            hi = stops[step]
            if lo == hi:
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
            elif op in (IRATE, IDELTA):
                if hi - lo < 2:
                    continue
                if op == IRATE and values[hi - 1] < values[hi - 2]:
                    result = values[hi - 1]  # the counter began again
                else:
                    result = values[hi - 1] - values[hi - 2]
                if op == IRATE:
                    result /= (times[hi - 1] - times[hi - 2]) / 1000.0
            out[row, step] = result
            present[row, step] = True


@kernel(void(I64S, I64S, F64S, I64S, int64, int64, int64, F64_ROWS_OUT, BOOL_ROWS_OUT))
def growth(
    offsets: I64,
    times: I64,
    values: F64,
    ends: I64,
    length: int,
    is_counter: int,
    is_rate: int,
    out: F64,
    present: Bools,
) -> None:
    """Growth over each window, extrapolated to its edges: rate, increase (counter) and delta.

    Absent below two samples: one says nothing about growth. A counter never extrapolates below
    zero. Each series' resets are listed once, so that a window costs only the resets inside it,
    however long it is. Source: Prometheus `extrapolatedRate`; docs/adr/0005-promql-engine.md.
    """
    resets = np.empty(longest(offsets) if is_counter else 0, np.int64)
    starts = np.empty(ends.size, np.int64)
    stops = np.empty(ends.size, np.int64)
    for row in range(offsets.size - 1):
        first = offsets[row]
        last = offsets[row + 1]
        find_windows(times, first, last, ends, length, starts, stops)
        reset_count = 0
        if is_counter:
            for i in range(first + 1, last):
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
            to_start = (times[lo] - (ends[step] - length)) / 1000.0
            to_end = (ends[step] - times[hi - 1]) / 1000.0
            sampled = (times[hi - 1] - times[lo]) / 1000.0
            between = sampled / float(hi - lo - 1)
            threshold = between * 1.1
            if to_start >= threshold:
                to_start = between / 2.0
            if is_counter and result > 0.0 and values[lo] >= 0.0:
                to_zero = sampled * (values[lo] / result)
                to_start = min(to_start, to_zero)
            if to_end >= threshold:
                to_end = between / 2.0
            factor = (sampled + to_start + to_end) / sampled
            if is_rate:
                factor /= length / 1000.0
            out[row, step] = result * factor
            present[row, step] = True


@kernel(F64_PAIR(F64S, I64S, int64, int64, int64))
def regression(values: F64, times: I64, start: int, end: int, origin: int) -> tuple[float, float]:
    """Slope a second and value at `origin` of the least-squares line through a window.

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
    if constant:
        if np.isinf(first):
            return np.nan, np.nan
        return 0.0, first
    sx += cx
    sy += cy
    sxy += cxy
    sxx += cxx
    slope = (sxy - sx * sy / n) / (sxx - sx * sx / n)
    return slope, sy / n - slope * sx / n


@kernel(void(I64S, I64S, F64S, I64S, int64, I64S, F64S, int64, F64_ROWS_OUT, BOOL_ROWS_OUT))
def line(
    offsets: I64,
    times: I64,
    values: F64,
    ends: I64,
    length: int,
    origins: I64,
    ahead: F64,
    predict: int,
    out: F64,
    present: Bools,
) -> None:
    """Slope of each window's regression line, or with `predict` its value `ahead` seconds on.

    origins: ms (m,), where `ahead` counts from; the slope alone is measured from the first sample,
    which keeps its numbers small. Absent below two samples.
    """
    starts = np.empty(ends.size, np.int64)
    stops = np.empty(ends.size, np.int64)
    for row in range(offsets.size - 1):
        find_windows(times, offsets[row], offsets[row + 1], ends, length, starts, stops)
        for step in range(ends.size):
            lo = starts[step]
            hi = stops[step]
            if hi - lo < 2:
                continue
            origin = origins[step] if predict else times[lo]
            slope, intercept = regression(values, times, lo, hi, origin)
            out[row, step] = slope * ahead[step] + intercept if predict else slope
            present[row, step] = True


@kernel(void(I64S, I64S, F64S, I64S, int64, F64S, F64_ROWS_OUT, BOOL_ROWS_OUT))
def quantile(
    offsets: I64,
    times: I64,
    values: F64,
    ends: I64,
    length: int,
    quantiles: F64,
    out: F64,
    present: Bools,
) -> None:
    """The `quantiles[step]`-quantile of each window that holds a sample."""
    scratch = np.empty(longest(offsets), np.float64)
    starts = np.empty(ends.size, np.int64)
    stops = np.empty(ends.size, np.int64)
    for row in range(offsets.size - 1):
        find_windows(times, offsets[row], offsets[row + 1], ends, length, starts, stops)
        for step in range(ends.size):
            lo = starts[step]
            hi = stops[step]
            if lo == hi:
                continue
            for i in range(lo, hi):
                scratch[i - lo] = values[i]
            out[row, step] = quantile_sorting(quantiles[step], scratch, hi - lo)
            present[row, step] = True


@kernel(void(I64S, I64S, F64S, I64S, int64, F64S, F64S, F64_ROWS_OUT, BOOL_ROWS_OUT))
def smoothing(
    offsets: I64,
    times: I64,
    values: F64,
    ends: I64,
    length: int,
    smoothing_factors: F64,
    trend_factors: F64,
    out: F64,
    present: Bools,
) -> None:
    """Holt's double exponential smoothing of each window of at least two samples.

    Source: Prometheus `funcDoubleExponentialSmoothing`.
    """
    starts = np.empty(ends.size, np.int64)
    stops = np.empty(ends.size, np.int64)
    for row in range(offsets.size - 1):
        find_windows(times, offsets[row], offsets[row + 1], ends, length, starts, stops)
        for step in range(ends.size):
            lo = starts[step]
            hi = stops[step]
            if hi - lo < 2:
                continue
            sf = smoothing_factors[step]
            tf = trend_factors[step]
            before = 0.0
            level = values[lo]
            trend = values[lo + 1] - values[lo]
            for i in range(lo + 1, hi):
                if i > lo + 1:
                    trend = tf * (level - before) + (1.0 - tf) * trend
                after = sf * values[i] + (1.0 - sf) * (level + trend)
                before = level
                level = after
            out[row, step] = level
            present[row, step] = True
