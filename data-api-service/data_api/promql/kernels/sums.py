"""Sums that keep what floating point drops, and the statistics made of them."""

import numpy as np

from data_api.chassis.jit import F64_PAIR, F64S, F64S_OUT, float64, int64, kernel
from data_api.model import F64


@kernel(F64_PAIR(float64, float64, float64))
def add(term: float, total: float, rest: float) -> tuple[float, float]:
    """`total + term`, and the low-order part lost so far (Neumaier's variant of Kahan's sum).

    Source: Prometheus `util/kahansum.Inc`.
    """
    t = total + term
    if np.isinf(t):
        return t, 0.0
    if abs(total) >= abs(term):
        return t, rest + ((total - t) + term)
    return t, rest + ((term - t) + total)


@kernel(float64(F64S, int64, int64))
def total(values: F64, start: int, end: int) -> float:
    """Sum of ``values[start:end]``. Source: Prometheus `funcSumOverTime`."""
    s = 0.0
    c = 0.0
    for i in range(start, end):
        s, c = add(values[i], s, c)
    if np.isinf(s):
        return s
    return float(s + c)


@kernel(float64(F64S, int64, int64))
def mean(values: F64, start: int, end: int) -> float:
    """Arithmetic mean of ``values[start:end]``, not empty; finite where the sum would overflow.

    The sum is rounded before it is divided, so that the mean depends on it alone, and not on the
    order in which it was added up (docs/adr/0021-rollups.md). Source: Prometheus `funcAvgOverTime`,
    which divides both parts of the sum: at most the last bit differs.
    """
    s = values[start]
    m = 0.0
    c = 0.0
    incremental = False
    for i in range(start + 1, end):
        count = float(i - start + 1)
        if not incremental:
            new_s, new_c = add(values[i], s, c)
            if not np.isinf(new_s):
                s = new_s
                c = new_c
                continue
            incremental = True
            m = s / (count - 1.0)
            c = c / (count - 1.0)
        q = (count - 1.0) / count
        m, c = add(values[i] / count, q * m, q * c)
    if incremental:
        return float(m + c)
    return float((s + c) / float(end - start))


@kernel(float64(F64S, int64, int64))
def variance(values: F64, start: int, end: int) -> float:
    """Population variance (Welford) of ``values[start:end]``. Source: `varianceOverTime`."""
    count = 0.0
    m = 0.0
    cm = 0.0
    aux = 0.0
    caux = 0.0
    for i in range(start, end):
        count += 1.0
        delta = values[i] - (m + cm)
        m, cm = add(delta / count, m, cm)
        aux, caux = add(delta * (values[i] - (m + cm)), aux, caux)
    return float((aux + caux) / count)


@kernel(float64(float64, F64S_OUT, int64))
def quantile_sorting(q: float, scratch: F64, n: int) -> float:
    """The q-quantile of ``scratch[:n]``, which is left sorted, NaN first.

    NaN for n = 0 or q NaN; -Inf below 0, +Inf above 1. Source: Prometheus `quantile`.
    """
    if n == 0 or np.isnan(q):
        return np.nan
    if q < 0.0:
        return -np.inf
    if q > 1.0:
        return np.inf
    part = scratch[:n]
    part.sort()  # NaN go last here and first upstream: rotate them
    nans = 0
    while nans < n and np.isnan(part[n - 1 - nans]):
        nans += 1
    rank = q * float(n - 1)
    lower = int(max(0.0, np.floor(rank)))
    upper = min(n - 1, lower + 1)
    weight = rank - np.floor(rank)
    low = np.nan if lower < nans else part[lower - nans]
    high = np.nan if upper < nans else part[upper - nans]
    return float(low * (1.0 - weight) + high * weight)
