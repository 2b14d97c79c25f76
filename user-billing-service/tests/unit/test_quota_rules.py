"""Laws of quotas: which thresholds are reached, and what they cap."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.errors import BadInput, NotFound
from user_billing.quotas import rules
from user_billing.quotas.rules import Action, Cap, Quota

LIMITS = st.decimals("0.000000001", "9" * 28, places=9)


def quota(action=Action.WARN, limit="1000", **more):
    return Quota(**{"meter": "samples", "thresholds": (50, 80, 100), **more}, action=action,
                 limit=Decimal(limit))  # fmt: skip


@given(LIMITS, st.integers(1, 1000), st.integers(-1, 1))
def test_a_threshold_is_reached_exactly_at_its_percentage(limit, threshold, off):
    """Not a billionth earlier or later, whatever the size."""
    used = Fraction(limit) * threshold / 100 + Fraction(off, 10**12)
    reached = rules.reached(quota(limit=limit, thresholds=(threshold,)), used)
    assert reached == ((threshold,) if off >= 0 else ())


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=10), st.fractions(0, 10_000))
def test_more_usage_reaches_no_fewer_thresholds(thresholds, used):
    of = rules.checked(quota(thresholds=tuple(thresholds)))
    assert of.thresholds == tuple(sorted(set(thresholds)))
    less, more = rules.reached(of, used), rules.reached(of, used + 1)
    assert more[: len(less)] == less


@pytest.mark.parametrize(
    ("used", "cap"),
    [
        (999, Cap()),
        (1000, Cap(60_000)),
        (2000, Cap(60_000, "the quota of 2000 samples a month is used up")),
    ],
)
def test_resolution_is_lowered_before_samples_are_refused(used, cap):
    """A quota that only warns caps nothing."""
    quotas = [
        quota(limit=1),
        rules.checked(quota(Action.DEGRADE)),
        quota(Action.BLOCK, "2000.000000000"),
    ]
    assert rules.cap(quotas, {"samples": Fraction(used)}) == cap


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"meter": "beans"}, NotFound),
        ({"meter": "active_series", "action": Action.BLOCK}, NotFound),
        ({"interval_ms": 60_000}, BadInput),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(wrong, error):
    with pytest.raises(error):
        rules.checked(quota(**wrong))
