"""Functions of range vectors: windows in, one value a step out."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from data_api.model import F64, I64, METRIC_NAME
from data_api.promql import native_windows
from data_api.promql.context import Notes
from data_api.promql.errors import EvaluationError
from data_api.promql.kernels import growth
from data_api.promql.kernels import windows as kernels
from data_api.promql.nodes import Call
from data_api.promql.pool import Pool
from data_api.promql.values import Vector, Windows, checkpoint

_OPS = {
    "sum_over_time": kernels.SUM,
    "avg_over_time": kernels.AVG,
    "min_over_time": kernels.MIN,
    "max_over_time": kernels.MAX,
    "count_over_time": kernels.COUNT,
    "last_over_time": kernels.LAST,
    "first_over_time": kernels.FIRST,
    "present_over_time": kernels.PRESENT,
    "stddev_over_time": kernels.STDDEV,
    "stdvar_over_time": kernels.STDVAR,
    "changes": kernels.CHANGES,
    "resets": kernels.RESETS,
    "ts_of_min_over_time": kernels.TS_OF_MIN,
    "ts_of_max_over_time": kernels.TS_OF_MAX,
    "ts_of_last_over_time": kernels.TS_OF_LAST,
    "ts_of_first_over_time": kernels.TS_OF_FIRST,
    "irate": kernels.IRATE,
    "idelta": kernels.IDELTA,
    "mad_over_time": kernels.MAD,
    "quantile_over_time": kernels.QUANTILE,
    "deriv": kernels.DERIV,
    "predict_linear": kernels.PREDICT,
    "double_exponential_smoothing": kernels.SMOOTHING,
    **native_windows.EXTRAPOLATED,
}
NAMES = frozenset(_OPS)
KEEP_NAME = frozenset({"last_over_time", "first_over_time"})
_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")

WORK_MAX = 10_000_000
"""Samples read between two checkpoints: a fraction of a second."""


def evaluate(
    name: str,
    windows: Windows,
    scalars: list[F64],
    steps_ms: I64,
    natives: tuple[Pool, Notes] | None = None,
) -> Vector:
    """The function `name` over all windows; rows keep their names. natives: where there are native
    histograms among the samples, the query's, and where notes about them go.

    Under `@` all windows are one: it is computed once for all steps, unless a parameter may change
    from step to step.
    """
    steps = windows.ends_ms.size
    fixed = steps > 1 and bool((windows.ends_ms == windows.ends_ms[0]).all()) and not scalars
    ends = np.ascontiguousarray(windows.ends_ms[:1] if fixed else windows.ends_ms)
    if natives is not None and name not in native_windows.NATIVE | native_windows.BOTH_KINDS:
        windows = native_windows.float_windows(windows, ends.size, natives[1])
    columns = windows.columns
    samples = columns.timestamps_ms, columns.values
    op, length = _OPS[name], windows.range_ms
    first, second = _parameters(name, scalars, steps_ms)
    shape = (len(columns.labels), ends.size)
    out, present = np.zeros(shape), np.zeros(shape, np.bool_)
    for start, stop, at in blocks(columns.offsets, ends, length):
        checkpoint()
        offsets, results = (
            columns.offsets[start : stop + 1],
            (out[start:stop, at], present[start:stop, at]),
        )
        if windows.edges:
            edges = windows.reach_ms, int(windows.edges == "smoothed")
            growth.from_edges(op, offsets, *samples, ends[at], length, *edges, *results)
        elif name in native_windows.EXTRAPOLATED:
            growth.extrapolated(op, offsets, *samples, ends[at], length, *results)
        else:
            kernels.fold(op, offsets, *samples, ends[at], length, first[at], second[at], *results)
    if natives is not None and name in native_windows.NATIVE:
        native_windows.fill(name, windows, *natives, out, present)
    if fixed:
        out, present = np.repeat(out, steps, axis=1), np.repeat(present, steps, axis=1)
    return Vector(columns.labels, out, present, windows.unnamed)


def blocks(offsets: I64, ends: I64, range_ms: int) -> Iterator[tuple[int, int, slice]]:
    """First row, end and steps of each block of bounded work: a kernel cannot be interrupted.

    Several rows with all their steps; of a row that is too much by itself some steps at a time.
    """
    step_ms = int(ends[1] - ends[0]) if ends.size > 1 else range_ms
    overlap = min(range_ms // max(step_ms, 1) + 1, ends.size)
    works = np.diff(offsets) * overlap + ends.size
    edges = np.flatnonzero(np.diff(np.cumsum(works) // WORK_MAX)) + 1
    heavy = np.flatnonzero(works > WORK_MAX)
    every = np.unique(np.concatenate(([0], edges, heavy, heavy + 1, [offsets.size - 1])))
    for first, last in pairwise(every.tolist()):
        parts = int(works[first]) // WORK_MAX + 1 if last == first + 1 else 1
        width = max(1, -(-ends.size // parts))
        for begin in range(0, ends.size, width):
            yield first, last, slice(begin, begin + width)


def _parameters(name: str, scalars: list[F64], steps_ms: I64) -> tuple[F64, F64]:
    """Both parameters of a function at each step, as `kernels.fold` has them."""
    if name == "predict_linear":
        return steps_ms.astype(np.float64), scalars[0]
    if name == "double_exponential_smoothing":
        _check_factor("smoothing", scalars[0])
        _check_factor("trend", scalars[1])
    first, *others = [np.ascontiguousarray(values) for values in scalars] or [
        np.zeros(steps_ms.size)
    ]
    return first, others[0] if others else first


def _check_factor(which: str, factors: F64) -> None:
    for factor in factors:
        if factor <= 0 or factor >= 1:
            raise EvaluationError(
                reason=f"invalid {which} factor. Expected: 0 < {which[0]}f < 1, got: {factor:f}"
            )


def suspicious_counters(call: Call, result: Vector) -> list[str]:
    """Names of series whose rate was taken though they do not look like counters."""
    if call.name not in {"rate", "increase"}:
        return []
    names = {labels.get(METRIC_NAME, "") for labels in result.labels}
    return sorted(name for name in names if name and not name.endswith(_COUNTER_SUFFIXES))
