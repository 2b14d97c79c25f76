"""Billing periods over months, zones and clock changes; changes of plan."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from user_billing.errors import BadInput
from user_billing.identifiers import new_id
from user_billing.rating.model import Period
from user_billing.subscriptions import rules
from user_billing.subscriptions.rules import Span, Terms, When, period_at
from user_billing.subscriptions.views import TermsBody

ZONES = ("Pacific/Kiritimati", "America/Juneau", "Asia/Kathmandu", "UTC", "Europe/Paris")
HOUR = timedelta(hours=1)
hours = st.integers(0, 24 * 40).map(lambda n: datetime(2026, 3, 1, tzinfo=UTC) + n * HOUR)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("anchor_day", [1, 15, 28, 29, 30, 31])
def test_periods_follow_each_other_at_local_midnight_of_the_day(zone, anchor_day):
    """Eight years: leap Februaries, both clock changes; short months end on their last day."""
    terms, at = Terms(anchor_day, zone), datetime(2023, 12, 31, 12, tzinfo=UTC)
    for _ in range(96):
        period = period_at(terms, at)
        assert period.start <= at < period.end
        local = period.end.astimezone(ZoneInfo(zone))
        following = local.replace(day=28) + timedelta(days=4)
        last_day = (following - timedelta(days=following.day)).day
        assert local.day == min(anchor_day, last_day)
        assert (local.hour, local.minute) == (0, 0)
        assert period_at(terms, period.start) == period
        assert period_at(terms, period.end).start == period.end
        assert period_at(terms, period.end - timedelta(microseconds=1)) == period
        at = period.end


def test_a_month_with_a_clock_change_is_an_hour_shorter_or_longer():
    terms = Terms(1, "Europe/Paris")
    march = period_at(terms, datetime(2026, 3, 10, tzinfo=UTC))
    october = period_at(terms, datetime(2026, 10, 10, tzinfo=UTC))
    assert march.end - march.start == timedelta(days=31) - HOUR
    assert october.end - october.start == timedelta(days=31) + HOUR


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../x"])
def test_zones_that_nobody_knows_are_refused(zone):
    with pytest.raises(BadInput):
        rules.check(Terms(1, zone))


@pytest.mark.parametrize("day", [0, 32])
def test_days_that_no_month_has_are_refused(day):
    with pytest.raises(ValidationError, match="anchor_day"):
        TermsBody(anchor_day=day)


@given(st.lists(st.tuples(st.sampled_from("abc"), hours), max_size=8))
def test_whatever_the_changes_spans_are_in_order_and_do_not_overlap(changes):
    spans = []
    for plan, at in sorted(changes, key=lambda change: change[1]):
        spans = rules.changed(spans, Span(new_id(), plan, 1, at))
        assert spans[-1].end is None
        assert spans[-1].plan == plan
        for before, after in pairwise(spans):
            assert before.start < before.end == after.start


@given(hours)
def test_there_and_back_in_the_same_hour_is_no_change(at):
    spans = [Span(new_id(), "a", 1, datetime(2026, 1, 1, tzinfo=UTC))]
    there = rules.changed(spans, Span(new_id(), "b", 1, at))
    assert rules.changed(there, Span(new_id(), "a", 1, at)) == spans


@given(hours, hours)
def test_the_parts_of_a_period_cover_what_the_spans_cover(first, second):
    period = Period(datetime(2026, 3, 5, tzinfo=UTC), datetime(2026, 4, 5, tzinfo=UTC))
    early, late = sorted((first, second))
    spans = rules.changed([Span(new_id(), "a", 1, early)], Span(new_id(), "b", 1, late))
    parts = [part for _, part in rules.clipped(spans, period)]
    covered = sum((part.end - part.start for part in parts), timedelta())
    assert covered == max(period.end - max(early, period.start), timedelta())


def span(plan, start, end=None, n=1):
    """Of days of March."""
    first = datetime(2026, 3, 1, tzinfo=UTC)
    days = [None if day is None else first + timedelta(days=day) for day in (start, end)]
    return Span(new_id(), plan, n, *days)


def test_a_change_ends_what_runs_and_takes_the_place_of_what_was_to_come():
    """What was over before stays as it is; a span that would be empty is gone."""
    before = [span("a", 0, 5), span("b", 7, 20), span("c", 20)]
    new = span("d", 10)
    ended = [before[0], replace(before[1], end=new.start)]
    assert rules.changed(before, new) == [*ended, new]
    assert rules.ended_at(before, before[1].start) == before[:1]
    assert rules.ended_at([], new.start) == []


def test_only_the_same_version_without_a_gap_is_no_change():
    before = [span("a", 0)]
    assert rules.changed(before, span("a", 5)) == before
    assert rules.changed(before, span("a", 5, 8)) == [replace(before[0], end=span("a", 8).start)]
    for other in (span("a", 5, n=2), span("b", 5)):
        assert rules.changed(before, other) == [replace(before[0], end=other.start), other]
    second = [span("b", 0, 2, n=2), span("a", 2)]
    assert rules.changed(second, span("a", 5)) == second
    gap = [span("a", 0, 4)]
    new = span("a", 5)
    assert rules.changed(gap, new) == [*gap, new]


def test_parts_of_a_period_are_cut_at_both_ends_and_in_order():
    """A span that only touches the period has no part in it."""
    period = Period(span("", 5).start, span("", 10).start)
    late, early = span("b", 7), span("a", 0, 7)
    touching = [span("x", 0, 5), span("y", 10, 12)]
    assert rules.clipped([late, *touching, early], period) == [
        (early, Period(period.start, early.end)), (late, Period(late.start, period.end)),
    ]  # fmt: skip


def test_a_change_takes_effect_this_hour_or_at_the_end_of_the_period():
    """Never before the period begins: in Kathmandu, that is a quarter past an hour of UTC."""
    period = period_at(Terms(1, "Asia/Kathmandu"), datetime(2026, 3, 10, tzinfo=UTC))
    now = datetime(2026, 3, 10, 7, 59, 58, 999_999, UTC)
    assert rules.effective_at(When.NOW, period, now) == datetime(2026, 3, 10, 7, tzinfo=UTC)
    assert rules.effective_at(When.NOW, period, period.start) == period.start
    assert rules.effective_at(When.PERIOD_END, period, now) == period.end
    assert rules.hour_of(now.astimezone(ZoneInfo("Asia/Kathmandu"))) == rules.hour_of(now)
