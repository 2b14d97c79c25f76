"""Parts of dates against Python's own calendar."""

import calendar
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from data_api.promql.vector_functions import CALENDAR
from data_api.promql.vector_functions import calendar as part_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CYCLE_S = 146_097 * 86_400  # after 400 years the Gregorian calendar repeats itself, weekdays too
ORACLE = {
    "day_of_month": lambda date: date.day,
    "day_of_week": lambda date: date.isoweekday() % 7,
    "day_of_year": lambda date: date.timetuple().tm_yday,
    "days_in_month": lambda date: calendar.monthrange(date.year, date.month)[1],
    "hour": lambda date: date.hour,
    "minute": lambda date: date.minute,
    "month": lambda date: date.month,
    "year": lambda date: date.year,
}


def expected(name: str, seconds: float) -> float:
    """The part by Python's calendar, which knows one cycle well: 1970 up to 2369."""
    cycles, rest_s = divmod(math.trunc(seconds), CYCLE_S)
    part = ORACLE[name](EPOCH + timedelta(seconds=rest_s))
    return part + 400 * cycles if name == "year" else part


def sampled_times() -> np.ndarray:
    """Ends of days around every kind of year, and times at random near and far, both signs."""
    rng = np.random.default_rng(11)
    years = [*range(1890, 2110), 1600, 1, 4, 100, 400, 2300, 9999]
    days = np.array([(datetime(y, 1, 1, tzinfo=UTC) - EPOCH).days for y in years])
    days = (days[:, None] + np.array([0, 30, 31, 58, 59, 60, 364, 365])).ravel()
    edges = (days[:, None] * 86_400.0 + np.array([-1, -0.5, 0, 0.5, 1, 3599, 3600])).ravel()
    near = rng.uniform(-1e10, 1e10, 5_000)
    far = rng.uniform(-2.5e14, 2.5e14, 5_000)
    return np.concatenate(
        (edges, near, far, [0.0, -0.0, 253_402_300_799_999, -253_402_300_799_999])
    )


def test_functions_are_the_calendar_functions_of_the_language():
    """The oracle covers all of them."""
    assert set(CALENDAR) == set(ORACLE)


@pytest.mark.parametrize("name", sorted(ORACLE))
def test_part_of_a_date_is_pythons(name):
    """A part of a date is what Python's calendar says, also before 1970 and beyond year 9999."""
    times = sampled_times()
    wanted = np.array([expected(name, seconds) for seconds in times.tolist()], np.float64)
    np.testing.assert_array_equal(part_of(name, times), wanted)


@pytest.mark.parametrize("name", sorted(ORACLE))
def test_what_is_no_time_has_no_date(name):
    """NaN, infinities and numbers beyond any calendar give NaN, and only they do."""
    values = np.array([math.nan, math.inf, -math.inf, 2.6e14, -2.6e14, 1e300, -1e300, 0.0])
    parts = part_of(name, values)
    assert np.isnan(parts[:-1]).all()
    assert parts[-1] == expected(name, 0.0)
