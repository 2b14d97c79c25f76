"""Amounts are exact, in whole minor units, and rounded in one place."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.errors import BadInput
from user_billing.money import rules as money

BIGINT_MAX = 9_223_372_036_854_775_807
CURRENCIES = {"EUR": 2, "JPY": 0, "BHD": 3}


@given(st.integers(-BIGINT_MAX, BIGINT_MAX), st.sampled_from(sorted(CURRENCIES)))
def test_what_is_written_is_read_again(minor, currency):
    """With all decimals of the currency, up to the largest BIGINT."""
    text = money.text(minor, currency)
    assert money.parse(Decimal(text), currency) == minor
    assert len(text.partition(".")[2]) == CURRENCIES[currency] == money.exponent(currency)


@pytest.mark.parametrize(
    ("amount", "currency", "word"),
    [
        ("0.001", "EUR", "decimals_max=2"), ("0.5", "JPY", "decimals_max=0"),
        (str(BIGINT_MAX + 1), "JPY", "max=9223372036854775807"),
        (str(-BIGINT_MAX - 1), "JPY", "smaller amount"),
        ("1", "XYZ", "ISO 4217"), ("1", "eur", "ISO 4217"),
    ],
)  # fmt: skip
def test_amounts_that_a_currency_does_not_have_are_refused(amount, currency, word):
    with pytest.raises(BadInput, match=word):
        money.parse(Decimal(amount), currency)


@given(st.fractions(-(10**9), 10**9))
def test_the_nearest_whole_number_and_halves_away_from_zero(amount):
    rounded = money.round_half_away(amount)
    assert abs(rounded - amount) <= Fraction(1, 2)
    if abs(rounded - amount) == Fraction(1, 2):
        assert abs(rounded) > abs(amount)
    assert money.round_half_away(-amount) == -rounded
    half = int(amount) + Fraction(1, 2)
    assert money.round_half_away(half) == (int(amount) + 1 if half > 0 else int(amount))


@given(st.integers(-30, 30), st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_shares_of_what_is_owed_are_those_of_what_is_due_negated(total, weights):
    weights[-1] += 1
    shares = money.split(total, weights)
    assert sum(shares) == total
    assert money.split(-total, weights) == [-share for share in shares]


def test_the_first_of_equal_remainders_gets_the_unit():
    assert money.split(2, [1, 1, 1]) == [1, 1, 0]
    assert money.split(-1, [1, 2, 2]) == [0, -1, 0]


@pytest.mark.parametrize("weights", [[0, 0], [2, -1]])
def test_weights_that_nothing_can_be_split_by_are_an_error_of_the_caller(weights):
    with pytest.raises(AssertionError):
        money.split(1, weights)
