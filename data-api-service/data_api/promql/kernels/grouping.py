"""Aggregations of series into groups, a whole (series, steps) block at once."""
# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from data_api.chassis.jit import (
    BOOL_ROWS,
    BOOL_ROWS_OUT,
    F64_ROWS,
    F64_ROWS_OUT,
    F64S,
    I64S,
    int64,
    kernel,
    void,
)
from data_api.model import F64, I64, Bools
from data_api.promql.kernels.sums import add, quantile_sorting

SUM, AVG, MIN, MAX, COUNT, GROUP, STDDEV, STDVAR = range(8)


@kernel(void(int64, F64_ROWS, BOOL_ROWS, I64S, F64_ROWS_OUT, BOOL_ROWS_OUT))
def aggregate(op: int, values: F64, given: Bools, groups: I64, out: F64, present: Bools) -> None:
    """`op` of the series of each group at each step; `groups[row]` is the row of `out`.

    out, present: (groups, steps), zeroed. Sums are compensated and the mean survives the overflow
    of its sum. Source: Prometheus `rangeEvalAgg`'s `aggregation`.
    """
    steps = values.shape[1]
    counts = np.zeros(out.shape, np.float64)
    rests = np.zeros(out.shape, np.float64)
    means = np.zeros(out.shape, np.float64)
    incremental = np.zeros(out.shape, np.bool_)
    for row in range(values.shape[0]):
        g = groups[row]
        for step in range(steps):
            if not given[row, step]:
                continue
            value = values[row, step]
            first = not present[g, step]
            present[g, step] = True
            counts[g, step] += 1.0
            count = counts[g, step]
            if op == SUM:
                out[g, step], rests[g, step] = add(value, out[g, step], rests[g, step])
            elif op == AVG:
                if not incremental[g, step]:
                    new_sum, new_rest = add(value, out[g, step], rests[g, step])
                    if first or not np.isinf(new_sum):
                        out[g, step] = new_sum
                        rests[g, step] = new_rest
                        continue
                    incremental[g, step] = True
                    means[g, step] = out[g, step] / (count - 1.0)
                    rests[g, step] /= count - 1.0
                q = (count - 1.0) / count
                means[g, step], rests[g, step] = add(
                    value / count, q * means[g, step], q * rests[g, step]
                )
            elif op == MIN:
                if first or value < out[g, step] or np.isnan(out[g, step]):
                    out[g, step] = value
            elif op == MAX:
                if first or value > out[g, step] or np.isnan(out[g, step]):
                    out[g, step] = value
            elif op in (STDDEV, STDVAR):
                delta = value - means[g, step]
                means[g, step] += delta / count
                out[g, step] += delta * (value - means[g, step])
    for g in range(out.shape[0]):
        for step in range(steps):
            if op == SUM:
                if not np.isinf(out[g, step]):
                    out[g, step] += rests[g, step]
            elif op == AVG:
                if incremental[g, step]:
                    out[g, step] = means[g, step] + rests[g, step]
                elif present[g, step]:
                    n = counts[g, step]
                    out[g, step] = out[g, step] / n + rests[g, step] / n
            elif op == COUNT:
                out[g, step] = counts[g, step]
            elif op == GROUP:
                out[g, step] = 1.0
            elif op in (STDDEV, STDVAR) and present[g, step]:
                out[g, step] /= counts[g, step]
                if op == STDDEV:
                    out[g, step] = np.sqrt(out[g, step])


@kernel(void(F64_ROWS, BOOL_ROWS, I64S, I64S, F64S, F64_ROWS_OUT, BOOL_ROWS_OUT))
def quantile(
    values: F64,
    given: Bools,
    order: I64,
    bounds: I64,
    quantiles: F64,
    out: F64,
    present: Bools,
) -> None:
    """The `quantiles[step]`-quantile of each group.

    order: rows sorted by group; group g owns ``order[bounds[g]:bounds[g + 1]]``.
    """
    scratch = np.empty(values.shape[0], np.float64)
    for g in range(bounds.size - 1):
        for step in range(values.shape[1]):
            n = 0
            for i in range(bounds[g], bounds[g + 1]):
                if given[order[i], step]:
                    scratch[n] = values[order[i], step]
                    n += 1
            if n:
                out[g, step] = quantile_sorting(quantiles[step], scratch, n)
                present[g, step] = True
