"""Laws of meters: rounding, hours, and what an organisation may make."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.errors import BadInput
from user_billing.meters import rules
from user_billing.meters.rules import Aggregation

zones = st.integers(-12 * 4, 14 * 4).map(lambda n: timezone(timedelta(minutes=15 * n)))
instants = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 20), timezones=zones)  # noqa: DTZ001
METER = rules.own("calls", "calls", Aggregation.SUM, "")


@given(st.fractions(-(10**6), 10**6, max_denominator=10**12))
def test_a_quantity_is_the_nearest_one_of_9_decimals(exact):
    """Half away from zero."""
    rounded = Fraction(rules.quantity(exact))
    assert abs(rounded - exact) <= Fraction(1, 2 * 10**9)
    assert abs(rounded) >= abs(exact) or abs(rounded - exact) < Fraction(1, 2 * 10**9)
    assert rounded * 10**9 == int(rounded * 10**9)


@given(st.decimals(0, 10**12, places=10))
def test_a_quantity_is_what_postgres_rounds_to(exact):
    wide = Context(prec=60)
    expected = exact.quantize(Decimal("1e-9"), ROUND_HALF_UP, wide)
    assert rules.quantity(Fraction(exact)) == expected


@given(instants, instants)
def test_hours_between_are_those_that_begin_there(start, end):
    """Counted one by one, at bounds of any zone."""
    start, end = sorted((start, end))
    hour = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    number = 0
    while hour < end:
        number += hour >= start
        hour += timedelta(hours=1)
    assert rules.hours_between(start, end) == number


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"code": "9lives"}, "code"),
        ({"code": "a" * 64}, "code"),
        ({"code": "samples"}, "code"),
        ({"code": "samples_ingested"}, "code"),
        ({"unit": ""}, "unit"),
        ({"unit": "a\nb"}, "unit"),
        ({"rule": "x" * 501}, "rule"),
    ],
)
def test_a_meter_that_cannot_be_is_refused_by_name(changed, field):
    rules.check(METER)
    with pytest.raises(BadInput, match=field):
        rules.check(replace(METER, **changed))


def test_every_meter_says_its_rule():
    """In words, for whoever reads a bill; codes and names in hourly rows are unique."""
    assert all(meter.rule and meter.aggregation_rule for meter in rules.BUILT_IN)
    assert set(rules.RULES) == set(Aggregation)
    assert len({meter.code for meter in rules.BUILT_IN}) == len(rules.BY_NAME)
