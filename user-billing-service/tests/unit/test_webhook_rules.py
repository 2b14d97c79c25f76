"""How long a delivery is tried, and where it may go."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.errors import BadInput
from user_billing.webhooks import rules
from user_billing.webhooks.rules import State

QUEUED = datetime(2026, 11, 30, tzinfo=UTC)


@given(st.data())
def test_a_delivery_ends_within_three_days(data):
    """Whatever chance says, pauses never shrink below 0.8 of what they should be, the attempts are
    between 10 and 16, and the last is in the third day.
    """
    now, attempt, state = QUEUED, 0, State.PENDING
    while state is State.PENDING:
        attempt += 1
        last, chance = now, data.draw(st.integers(0, 400))
        status = data.draw(st.sampled_from([None, 100, 199, 300, 302, 404, 429, 500]))
        state, now = rules.after_attempt(status, attempt, QUEUED, now, chance)
        assert state is State.FAILED or now - last >= timedelta(seconds=4)
    assert state is State.FAILED
    assert 10 <= attempt <= 16
    assert timedelta(days=2) <= last - QUEUED <= timedelta(days=3)
    assert rules.is_given_up(state, None, QUEUED, last)


def test_what_ends_it_at_once():
    """2xx is success, 410 the end of the endpoint; one failure of an endpoint that works is not."""
    assert rules.after_attempt(204, 1, QUEUED, QUEUED, 0) == (State.DELIVERED, QUEUED)
    assert rules.after_attempt(410, 1, QUEUED, QUEUED, 0) == (State.FAILED, QUEUED)
    assert rules.is_given_up(State.FAILED, 410, QUEUED, QUEUED)
    assert not rules.is_given_up(State.DELIVERED, 200, None, QUEUED)
    assert not rules.is_given_up(State.FAILED, 500, QUEUED, QUEUED + timedelta(hours=1))
    assert not rules.is_given_up(State.PENDING, 500, QUEUED, QUEUED + timedelta(days=9))


@pytest.mark.parametrize(
    "url",
    ["http://example.org", "ftp://example.org", "https://", "https://a:b@example.org", "x",
     "https://example.org/" + "x" * 2_000, "https://[::1", "//example.org"],
)  # fmt: skip
def test_urls_that_are_refused(url):
    """Only https to a host, without a password, and short."""
    with pytest.raises(BadInput, match="url"):
        rules.check_url(url, plain_http=False)


def test_plain_http_is_for_allowed_networks():
    """Where the operator allows a network, http is good enough."""
    assert rules.check_url("http://10.0.0.1:80/x", plain_http=True) == "http://10.0.0.1:80/x"
    assert rules.check_url("https://example.org/x?y=z", plain_http=False)
