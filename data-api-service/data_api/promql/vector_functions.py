"""Functions of each value by itself: arithmetic, trigonometry, clamping, calendar."""

from collections.abc import Callable

import numpy as np

from data_api.model import F64
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


_DAY_S = 86_400
_TIMES_MAX_S = 253_402_300_800 * 1000  # far past any calendar; int64 arithmetic stays exact


def _civil(values: F64) -> tuple[F64, F64, F64, F64]:
    """Year, month, day and day number since 1970-01-01 of Unix seconds, UTC, proleptic Gregorian.

    Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    """
    days = np.floor_divide(np.trunc(values), _DAY_S)
    z = days + 719_468
    era = np.floor_divide(z, 146_097)
    doe = z - era * 146_097
    yoe = np.floor_divide(
        doe
        - np.floor_divide(doe, 1460)
        + np.floor_divide(doe, 36_524)
        - np.floor_divide(doe, 146_096),
        365,
    )
    doy = doe - (365 * yoe + np.floor_divide(yoe, 4) - np.floor_divide(yoe, 100))
    mp = np.floor_divide(5 * doy + 2, 153)
    day = doy - np.floor_divide(153 * mp + 2, 5) + 1
    month = np.where(mp < 10, mp + 3, mp - 9)
    year = yoe + era * 400 + (month <= 2)
    return year, month, day, days


def _is_leap(year: F64) -> F64:
    leap: F64 = (np.mod(year, 4) == 0) & ((np.mod(year, 100) != 0) | (np.mod(year, 400) == 0))
    return leap


_MONTH_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.float64)
_DAYS_BEFORE = np.concatenate(([0.0], np.cumsum(_MONTH_DAYS)[:-1]))


def calendar(name: str, values: F64) -> F64:
    """A part of the date of Unix seconds, in UTC; NaN for what is no time at all."""
    sane = np.isfinite(values) & (np.abs(values) < _TIMES_MAX_S)
    seconds = np.where(sane, values, 0.0)
    result: F64
    match name:
        case "hour":
            result = np.floor_divide(np.mod(np.trunc(seconds), _DAY_S), 3600)
        case "minute":
            result = np.floor_divide(np.mod(np.trunc(seconds), 3600), 60)
        case _:
            result = _date_part(name, seconds)
    return np.where(sane, result, np.nan)


def _date_part(name: str, seconds: F64) -> F64:
    year, month, day, days = _civil(seconds)
    index = month.astype(np.int64) - 1
    part: F64
    match name:
        case "year":
            part = year
        case "month":
            part = month
        case "day_of_month":
            part = day
        case "day_of_week":
            part = np.mod(days + 4, 7)
        case "day_of_year":
            part = _DAYS_BEFORE[index] + day + ((month > 2) & (_is_leap(year) != 0))
        case "days_in_month":
            part = _MONTH_DAYS[index] + ((month == 2) & (_is_leap(year) != 0))
        case _:
            raise AssertionError(name)
    return part


CALENDAR = frozenset(
    {
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "days_in_month",
        "hour",
        "minute",
        "month",
        "year",
    }
)
