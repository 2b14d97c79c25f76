"""Functions of range vectors: windows in, one value a step out."""

from collections.abc import Callable

import numpy as np

from ..model import F64, I64, METRIC_NAME, Bools
from .errors import EvaluationError
from .kernels import windows as kernels
from .nodes import Call
from .numerals import format_short
from .values import Vector, Windows

_FOLDS = {
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
}
_GROWTHS = {"rate": (1, 1), "increase": (1, 0), "delta": (0, 0)}
KEEP_NAME = frozenset({"last_over_time", "first_over_time"})
NAMES = frozenset(
    {
        *_FOLDS,
        *_GROWTHS,
        "deriv",
        "predict_linear",
        "quantile_over_time",
        "double_exponential_smoothing",
    }
)
_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")

Fill = Callable[[I64, F64, Bools], None]


def evaluate(name: str, windows: Windows, scalars: list[F64], steps_ms: I64) -> Vector:
    """The function `name` over all windows; rows keep their names."""
    columns = windows.columns
    samples = (columns.offsets, columns.timestamps_ms, columns.values)
    length = windows.range_ms
    if name in _FOLDS:
        op = _FOLDS[name]

        def fill(ends: I64, out: F64, present: Bools) -> None:
            kernels.fold(op, *samples, ends, length, out, present)

        return _same_windows_once(windows, fill)
    if name in _GROWTHS:
        is_counter, is_rate = _GROWTHS[name]

        def fill(ends: I64, out: F64, present: Bools) -> None:
            kernels.growth(*samples, ends, length, is_counter, is_rate, out, present)

        return _same_windows_once(windows, fill)
    out, present = _blank(windows, windows.ends_ms.size)
    ends = windows.ends_ms
    match name:
        case "deriv":
            kernels.line(*samples, ends, length, steps_ms, np.zeros(ends.size), 0, out, present)
        case "predict_linear":
            kernels.line(*samples, ends, length, steps_ms, scalars[0], 1, out, present)
        case "quantile_over_time":
            kernels.quantile(*samples, ends, length, scalars[0], out, present)
        case "double_exponential_smoothing":
            smoothing, trend = scalars
            _check_factor("smoothing", smoothing)
            _check_factor("trend", trend)
            kernels.smoothing(*samples, ends, length, smoothing, trend, out, present)
        case _:
            raise AssertionError(name)
    return Vector(columns.labels, out, present, windows.unnamed)


def _check_factor(which: str, factors: F64) -> None:
    for factor in factors:
        if factor <= 0 or factor >= 1:
            raise EvaluationError(
                reason=f"invalid {which} factor. Expected: 0 < {which[0]}f < 1, got: {factor:f}"
            )


def _same_windows_once(windows: Windows, fill: Fill) -> Vector:
    """Under `@` all windows are one: computed once, seen at every step."""
    steps = windows.ends_ms.size
    fixed = steps > 1 and bool((windows.ends_ms == windows.ends_ms[0]).all())
    ends = windows.ends_ms[:1] if fixed else windows.ends_ms
    out, present = _blank(windows, ends.size)
    fill(np.ascontiguousarray(ends), out, present)
    if fixed:
        out = np.repeat(out, steps, axis=1)
        present = np.repeat(present, steps, axis=1)
    return Vector(windows.columns.labels, out, present, windows.unnamed)


def _blank(windows: Windows, steps: int) -> tuple[F64, Bools]:
    shape = (len(windows.columns.labels), steps)
    return np.zeros(shape), np.zeros(shape, np.bool_)


def suspicious_counters(call: Call, result: Vector) -> list[str]:
    """Names of series whose rate was taken though they do not look like counters."""
    if call.name not in {"rate", "increase"}:
        return []
    names = {labels.get(METRIC_NAME, "") for labels in result.labels}
    return sorted(name for name in names if name and not name.endswith(_COUNTER_SUFFIXES))


def quantile_problem(quantiles: F64) -> str | None:
    """What is wrong with the first quantile outside [0, 1], if one is."""
    for q in quantiles:
        if not 0 <= q <= 1:
            return f"quantile value should be between 0 and 1, got {format_short(float(q))}"
    return None
