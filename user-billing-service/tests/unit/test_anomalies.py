"""Laws of the guard: what looks like a mistake, since when, and what was too much."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_billing.quotas import anomalies
from user_billing.quotas.anomalies import Kind, State
from user_billing.quotas.forecast import HOUR, slot

LAST = datetime(2026, 5, 15, 12, tzinfo=UTC)


def usage(hours, factor=1, lasting=0, of=lambda _: 100_000):
    """Of `hours` hours up to LAST; the last `lasting` are `factor` times as much."""
    return {
        LAST - n * HOUR: Decimal(of(LAST - n * HOUR)) * (factor if n < lasting else 1)
        for n in range(hours)
    }


def begun(hours, after=None, meter="samples"):
    return anomalies.beginning(meter, hours, LAST, after)


def day_and_night(hour):
    return 300_000 if 8 <= hour.hour < 20 and slot(hour) < 120 else 100_000


@pytest.mark.parametrize("history", [36, 200, 700])
@pytest.mark.parametrize("lasting", [1, 5, 12])
def test_twice_as_much_is_noticed_since_its_first_hour(history, lasting):
    assert begun(usage(history, 2, lasting)) == LAST - (lasting - 1) * HOUR


@settings(max_examples=20)
@given(st.integers(200, 700), st.data())
def test_what_every_week_does_is_no_mistake(history, data):
    """Days and nights with a tenth of noise."""
    noise = st.integers(90, 110)
    hours = usage(history, of=day_and_night)
    noisy = {hour: n * data.draw(noise) / 100 for hour, n in list(hours.items())[:40]}
    if history >= 24 * 15:
        assert begun(hours | noisy) is None


def test_what_is_no_mistake():
    """A start from nothing, less than a day of history, a third more, next to nothing, a fall."""
    assert begun(usage(20, 5, 3)) is None
    assert begun({LAST: Decimal(10**9), LAST - 100 * HOUR: Decimal(0)}) is None
    assert begun(usage(700, Decimal("1.3"), 3)) is None
    assert begun(usage(700, 3, 3, of=lambda _: 100)) is None
    assert begun(usage(700, Decimal("0.1"), 3)) is None


def test_what_is_over_is_not_noticed_again():
    """After its end, and while it is looked at hour by hour for a day."""
    hours = usage(700, 2, 5)
    since = begun(hours)
    for n in range(1, 40):
        hours[LAST + n * HOUR] = Decimal(100_000)
        episode = anomalies.episode(hours, since, LAST + n * HOUR)
        assert (episode.state, episode.until) == (State.ENDED, LAST + HOUR)
        assert anomalies.beginning("samples", hours, LAST + n * HOUR, episode.until) is None


@pytest.mark.parametrize("factor", [2, 3])
def test_an_episode_counts_what_was_too_much(factor):
    """Actual - expected is the credit; it ends in the first hour as expected."""
    hours = usage(700, factor, 5) | {LAST + HOUR: Decimal(100_000)}
    episode = anomalies.episode(hours, LAST - 4 * HOUR, LAST + HOUR)
    assert (episode.state, episode.until) == (State.ENDED, LAST + HOUR)
    assert episode.actual - episode.expected == 5 * (factor - 1) * 100_000
    assert anomalies.factor(episode.actual, episode.expected) == factor


def test_what_stays_for_a_week_is_the_new_normal():
    """And after it, nothing is an anomaly by being as much."""
    hours = usage(900, 2, 180)
    since = LAST - 179 * HOUR
    episode = anomalies.episode(hours, since, LAST)
    assert (episode.state, episode.until) == (State.LASTING, since + 168 * HOUR)
    assert begun(hours, after=episode.until) is None


@pytest.mark.parametrize(
    ("meter", "times", "series", "kind"),
    [
        ("samples", Fraction(2), Fraction(2), Kind.DUPLICATED),
        ("samples", Fraction(2), Fraction(1), Kind.DUPLICATED),
        ("samples", Fraction(4), Fraction(1), Kind.DENSER),
        ("samples", Fraction(4), Fraction(4), Kind.MORE_SERIES),
        ("active_series", Fraction(9), Fraction(9), Kind.MORE_SERIES),
    ],
)
def test_the_kind_follows_from_samples_and_series(meter, times, series, kind):
    assert anomalies.kind(meter, times, series) is kind
