"""Which grants pay, and for how long one lasts that got something back."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.errors import BadInput
from user_billing.wallets import rules
from user_billing.wallets.rules import NewGrant, Part, Source

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
AMOUNTS = st.integers(min_value=0, max_value=40)


@given(st.lists(AMOUNTS, max_size=8), AMOUNTS)
def test_cent_by_cent_from_the_first_that_has_one(amounts, total):
    """Shares are what comes of taking one minor unit after the other from the first part left."""
    left, drawn = list(amounts), [0] * len(amounts)
    for _ in range(total):
        place = next((n for n, amount in enumerate(left) if amount), None)
        if place is not None:
            left[place] -= 1
            drawn[place] += 1
    parts = [Part(UUID(int=n), amount) for n, amount in enumerate(amounts)]
    expected = [Part(UUID(int=n), amount) for n, amount in enumerate(drawn) if amount]
    assert rules.share(parts, total) == expected


def test_what_is_given_back_lasts_a_month():
    """A grant that ends soon, or has ended, is extended; one that ends later or never is not."""
    month, year = timedelta(days=30), timedelta(days=365)
    assert rules.expiry_after_return(NOW - year, NOW) == NOW + month
    assert rules.expiry_after_return(NOW + year, NOW) == NOW + year
    assert rules.expiry_after_return(None, NOW) is None


@pytest.mark.parametrize(
    ("amount", "ends_in_s", "grants", "field"),
    [
        (1, 0, 0, "expires_at"),
        (1, 9, rules.GRANTS_MAX, "currency"),
    ],
)
def test_what_is_no_grant(amount, ends_in_s, grants, field):
    """What is over already, one grant too many."""
    ends = NOW + timedelta(seconds=ends_in_s)
    grant = NewGrant("EUR", amount, Source.PAID, "prepaid", 100, ends)
    with pytest.raises(BadInput, match=f"field={field}"):
        rules.check_grant(grant, grants, NOW)
