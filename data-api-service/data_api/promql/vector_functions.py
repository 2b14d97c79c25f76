"""Functions of each value by itself: arithmetic, trigonometry, clamping, calendar."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from data_api.model import F64, I64
from data_api.promql.values import Vector


def _sign(values: F64) -> F64:
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


ELEMENTWISE: dict[str, Callable[[F64], F64]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "deg": np.degrees,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rad": np.radians,
    "sgn": _sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}


def round_to(values: F64, nearest: F64) -> F64:
    """Each value at the nearest multiple of `nearest` (m,), halves up.

    Multiplies by the inverse, which keeps 0.1 exact where dividing would not. Source: `funcRound`.
    """
    inverse = 1.0 / nearest
    rounded: F64 = np.floor(values * inverse + 0.5) / inverse
    return rounded


def clamp(value: Vector, low: F64, high: F64) -> Vector:
    """Values kept in [low, high] (m,); absent at steps where those cross; NaN where one is NaN."""
    values = np.maximum(low, np.minimum(high, value.values))
    crossed = low > high
    return Vector(value.labels, values, value.present & ~crossed, value.unnamed).compact()


Times = npt.NDArray[np.datetime64]
_TIMES_S_MAX = 253_402_300_800 * 1000  # far past any calendar, and exact in int64 seconds
_DAY_S = 86_400


def _seconds_since(unit: str, times: Times) -> I64:
    """Seconds since the year (Y), month (M), day (D) or hour (h) of each time began."""
    seconds: I64 = (times - times.astype(f"M8[{unit}]")).astype(np.int64)
    return seconds


def _days_in_month(times: Times) -> I64:
    months = times.astype("M8[M]")
    following = months + np.timedelta64(1, "M")
    days: I64 = (following.astype("M8[D]") - months.astype("M8[D]")).astype(np.int64)
    return days


CALENDAR: dict[str, Callable[[Times], I64]] = {
    "day_of_month": lambda times: _seconds_since("M", times) // _DAY_S + 1,
    "day_of_week": lambda times: (times.astype("M8[D]").astype(np.int64) + 4) % 7,
    "day_of_year": lambda times: _seconds_since("Y", times) // _DAY_S + 1,
    "days_in_month": _days_in_month,
    "hour": lambda times: _seconds_since("D", times) // 3600,
    "minute": lambda times: _seconds_since("h", times) // 60,
    "month": lambda times: times.astype("M8[M]").astype(np.int64) % 12 + 1,
    "year": lambda times: times.astype("M8[Y]").astype(np.int64) + 1970,
}


def calendar(name: str, values: F64) -> F64:
    """A part of the date of Unix seconds, in UTC; NaN for what is no time at all.

    Fractions of a second are cut towards zero, as upstream does. Proleptic Gregorian calendar.
    """
    is_time = np.abs(values) < _TIMES_S_MAX
    times = np.where(is_time, values, 0.0).astype(np.int64).astype("M8[s]")
    return np.where(is_time, CALENDAR[name](times), np.nan)
