"""Classic histograms: cumulative buckets to quantiles and fractions.

    count ▲        ┌──── +Inf
          │    ┌───┘
          │ ┌──┘
          └─┴──┴───┴──▶ upper bound

Buckets of one group are given sorted by upper bound; counts grow with the bound, except for what
scraping and rounding do.
"""
# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from data_api.chassis.jit import (
    BOOL_ROWS,
    BOOL_ROWS_OUT,
    F64_ROWS,
    F64_ROWS_OUT,
    F64S,
    F64S_OUT,
    I64S,
    boolean,
    float64,
    int64,
    kernel,
    void,
)
from data_api.model import F64, I64, Bools

SMALL_DELTA = 1e-12  # Prometheus `smallDeltaTolerance`
_MIN_NORMAL = 2.2250738585072014e-308
_MAX_FLOAT = 1.7976931348623157e308


@kernel(boolean(float64, float64))
def nearly_equal(a: float, b: float) -> bool:
    """Whether two counts differ by rounding only. Source: Prometheus `util/almost.Equal`."""
    if a == b or (np.isnan(a) and np.isnan(b)):
        return True
    both = abs(a) + abs(b)
    apart = abs(a - b)
    if a == 0.0 or b == 0.0 or both < _MIN_NORMAL:
        return apart < SMALL_DELTA * _MIN_NORMAL
    return apart / min(both, _MAX_FLOAT) < SMALL_DELTA


@kernel(boolean(F64S_OUT, int64))
def make_monotonic(counts: F64, n: int) -> bool:
    """Counts never fall afterwards; True when more than rounding had to be repaired.

    Source: Prometheus `ensureMonotonicAndIgnoreSmallDeltas`.
    """
    forced = False
    before = counts[0]
    for i in range(1, n):
        now = counts[i]
        if now == before:
            continue
        if nearly_equal(before, now):
            counts[i] = before
        elif now < before:
            counts[i] = before
            forced = True
        else:
            before = now
    return forced


@kernel(float64(float64, F64S_OUT, F64S_OUT, int64))
def bucket_quantile(q: float, bounds: F64, counts: F64, n: int) -> float:
    """Quantile by linear interpolation within a bucket. Source: Prometheus `BucketQuantile`."""
    if n < 2:
        return np.nan
    observations = counts[n - 1]
    if observations == 0.0:
        return np.nan
    rank = q * observations
    b = 0
    while b < n - 1 and not counts[b] >= rank:
        b += 1
    if b == n - 1:
        return float(bounds[n - 2])
    if b == 0 and bounds[0] <= 0.0:
        return float(bounds[0])
    start = 0.0
    count = counts[b]
    if b > 0:
        start = bounds[b - 1]
        count -= counts[b - 1]
        rank -= counts[b - 1]
    return float(start + (bounds[b] - start) * (rank / count))


@kernel(float64(float64, F64S_OUT, F64S_OUT, int64))
def count_below(value: float, bounds: F64, counts: F64, n: int) -> float:
    """How many observations are below a value, spread evenly in each bucket."""
    before = 0.0
    below = 0.0 if bounds[0] > 0.0 else -np.inf
    for i in range(n):
        if below >= value:
            return before
        if bounds[i] > value:
            if not np.isinf(below):
                before += (counts[i] - before) * (value - below) / (bounds[i] - below)
                return float(min(before, counts[n - 1]))
            return float(counts[i])
        before = counts[i]
        below = bounds[i]
    return float(counts[n - 1])


@kernel(float64(float64, float64, F64S_OUT, F64S_OUT, int64))
def bucket_fraction(lower: float, upper: float, bounds: F64, counts: F64, n: int) -> float:
    """Share of observations in [lower, upper]. Source: Prometheus `BucketFraction`."""
    count = counts[n - 1]
    if count == 0.0 or np.isnan(lower) or np.isnan(upper):
        return np.nan
    if lower >= upper:
        return 0.0
    within = count_below(upper, bounds, counts, n) - count_below(lower, bounds, counts, n)
    return float(within / count)


@kernel(
    void(
        int64,
        F64_ROWS,
        BOOL_ROWS,
        F64S,
        I64S,
        I64S,
        F64S,
        F64S,
        F64_ROWS_OUT,
        BOOL_ROWS_OUT,
        BOOL_ROWS_OUT,
    )
)
def classic(
    fraction: int,
    values: F64,
    given: Bools,
    bounds: F64,
    order: I64,
    groups: I64,
    first: F64,
    second: F64,
    out: F64,
    present: Bools,
    forced: Bools,
) -> None:
    """Quantile (`first[step]`) or fraction (`first[step]` to `second[step]`) of each group.

    values, given: (buckets, steps); bounds: (buckets,) upper bounds. order: bucket rows sorted by
    group, then bound; group g owns ``order[groups[g]:groups[g + 1]]``. Buckets with one bound add
    up. NaN without a +Inf bucket. forced: where counts had to be made to grow.
    """
    uppers = np.empty(order.size, np.float64)
    counts = np.empty(order.size, np.float64)
    for g in range(groups.size - 1):
        for step in range(values.shape[1]):
            n = 0
            for i in range(groups[g], groups[g + 1]):
                row = order[i]
                if not given[row, step]:
                    continue
                if n > 0 and uppers[n - 1] == bounds[row]:
                    counts[n - 1] += values[row, step]
                else:
                    uppers[n] = bounds[row]
                    counts[n] = values[row, step]
                    n += 1
            if n == 0:
                continue
            present[g, step] = True
            q = first[step]
            if fraction:
                out[g, step] = np.nan
                if uppers[n - 1] == np.inf:
                    out[g, step] = bucket_fraction(q, second[step], uppers, counts, n)
            elif np.isnan(q):
                out[g, step] = np.nan
            elif q < 0.0:
                out[g, step] = -np.inf
            elif q > 1.0:
                out[g, step] = np.inf
            elif uppers[n - 1] != np.inf:
                out[g, step] = np.nan
            else:
                forced[g, step] = make_monotonic(counts, n)
                out[g, step] = bucket_quantile(q, uppers, counts, n)
