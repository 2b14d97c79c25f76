"""Laws of forecasts: exact where usage repeats itself, honest where little is known."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_billing.quotas.forecast import HOUR, Method, forecast, model, slot
from user_billing.quotas.rules import month

NOW = datetime(2026, 5, 15, 12, 40, tzinfo=UTC)
MONTH = month(NOW)
LAST = NOW.replace(minute=0)
REST = int((MONTH.end - LAST) / HOUR)


def usage(of, hours, begun=0):
    """of(hour) for `hours` whole hours before NOW, and `begun` in the present one."""
    past = {LAST - n * HOUR: Decimal(of(LAST - n * HOUR)) for n in range(1, hours + 1)}
    return past | ({LAST: Decimal(begun)} if begun else {})


def test_without_usage_there_is_nothing_to_expect():
    of = forecast({}, NOW, MONTH, limit=Decimal(1))
    assert of.method is Method.NONE
    assert (of.used, of.quantity, of.low, of.high, of.reached_at) == (0, 0, 0, 0, None)


@pytest.mark.parametrize("hours", [24, 100, 167, 168, 672, 5000])
def test_flat_usage_goes_on_exactly(hours):
    """Also the present hour is filled up, not counted twice."""
    data = usage(lambda _: 10, hours, begun=4)
    of = forecast(data, NOW, MONTH)
    used = sum(quantity for hour, quantity in data.items() if hour >= MONTH.start)
    assert (of.used, of.quantity) == (used, used + 6 + 10 * (REST - 1))
    if hours >= 72:
        assert of.low == of.quantity == of.high
    else:
        assert of.low < of.quantity < of.high


@settings(max_examples=25)
@given(st.lists(st.integers(0, 10**12), min_size=168, max_size=168), st.integers(1, 4))
def test_a_week_that_repeats_itself_is_forecast_exactly(week, weeks):
    """Against the sum of the coming hours; the band is as wide as less than three days leave it."""
    data = usage(lambda hour: week[slot(hour)], weeks * 168)
    of = forecast(data, NOW, MONTH)
    coming = sum(week[slot(LAST + n * HOUR)] for n in range(REST))
    used = sum(quantity for hour, quantity in data.items() if hour >= MONTH.start)
    assert of.method is (Method.PROFILE if any(week) else Method.NONE)
    assert of.quantity == used + coming
    days = sum(any(week[(slot(LAST) + 24 * day + n) % 168] for n in range(24)) for day in range(7))
    if days >= 3 or not coming:
        assert of.low == of.quantity == of.high
    else:
        assert of.low < of.quantity < of.high


def test_growth_is_seen_and_inside_the_band():
    """A tenth more each week: more than the mean of the four weeks, with the future in the band."""

    def grown(hour):
        return Decimal(1000) * Decimal("1.1") ** int((hour - LAST).days // 7 + 5)

    data = usage(grown, 672)
    of = forecast(data, NOW, MONTH)
    mean = sum(data.values()) / 672
    assert of.quantity - of.used > mean * REST
    assert of.low < of.quantity <= of.high


def test_one_hour_old_is_linear_and_wide():
    of = forecast(usage(lambda _: 60, 1), NOW, MONTH)
    assert of.method is Method.LINEAR
    assert of.quantity - of.used == 60 * REST
    assert of.low - of.used == 30 * REST
    assert of.high - of.used == 120 * REST
    begun = forecast(usage(lambda _: 0, 0, begun=60), NOW, MONTH)
    assert (begun.method, begun.used, begun.quantity) == (Method.LINEAR, 60, 60 + 60 * (REST - 1))


def test_one_strange_day_does_not_move_the_profile():
    """A day of a hundredfold two weeks ago changes neither forecast nor level."""
    strange = {LAST - n * HOUR: Decimal(1000) for n in range(300, 324)}
    data = usage(lambda _: 10, 672)
    assert forecast(data | strange, NOW, MONTH).quantity - forecast(data, NOW, MONTH).quantity == (
        24 * 990 if MONTH.start <= LAST - 300 * HOUR else 0
    )


@given(st.integers(1, 5000))
def test_the_limit_is_reached_in_the_hour_in_which_the_sum_reaches_it(limit):
    """Against adding up hour by hour."""
    data = usage(lambda hour: slot(hour) % 5, 336)
    of = forecast(data, NOW, MONTH, limit=Decimal(limit))
    total, expected = int(of.used), None
    for hour in (LAST + n * HOUR for n in range(REST)):
        total += slot(hour) % 5
        if total >= limit:
            expected = hour
            break
    assert of.reached_at == expected


def test_a_level_counts_with_its_highest_hour():
    data = usage(slot, 672)
    of = forecast(data, NOW, MONTH, is_level=True, limit=Decimal(167))
    assert (of.used, of.quantity, of.reached_at) == (167, 167, LAST)
    assert forecast(data, NOW, MONTH, is_level=True, limit=Decimal(168)).reached_at is None


def test_the_model_is_of_whole_hours_of_four_weeks():
    """What lies before, and the present hour, changes nothing."""
    data = usage(lambda _: 10, 672)
    assert model(data | {LAST: Decimal(7), LAST - 1000 * HOUR: Decimal(10**9)}, NOW) == model(
        data, NOW
    )


def test_months_have_their_length():
    """Also from a zone in which the month is another one already."""
    for year, number, days in ((2026, 2, 28), (2028, 2, 29), (2026, 12, 31)):
        of = month(datetime(year, number, 28, 23, 59, tzinfo=UTC))
        assert (of.start.day, of.end - of.start) == (1, timedelta(days=days))
