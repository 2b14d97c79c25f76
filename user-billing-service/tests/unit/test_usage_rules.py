"""Laws of reports about an hour."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from user_billing.errors import BadInput
from user_billing.identifiers import new_id
from user_billing.model import Audience
from user_billing.usage import rules
from user_billing.usage.rules import Outcome, Reading, Report, Step

HOUR = datetime(2026, 5, 1, 12, tzinfo=UTC)
REPORT = Report(new_id(), HOUR, 3, {"samples": Reading(Decimal(7))})


@pytest.mark.parametrize(
    ("revision", "quantity", "outcome"),
    [
        (3, 7, Outcome.STORED),
        (3, 8, Outcome.CONFLICT),
        (4, 8, Outcome.OLDER),
        (4, 7, Outcome.OLDER),
    ],
)
def test_the_outcome_follows_from_what_stands(revision, quantity, outcome):
    """One revision says one thing; a later one replaces it."""
    stands = {"samples": (revision, Reading(Decimal(quantity)))}
    assert rules.outcome(REPORT, stands) is outcome


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"hour": HOUR + timedelta(minutes=1)}, "hour"),
        ({"hour": HOUR.replace(tzinfo=timezone(timedelta(hours=5, minutes=30)))}, "hour"),
        ({"hour": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))}, "hour"),
        ({"readings": {"beans": Reading(Decimal(1))}}, "beans"),
        ({"readings": {"samples": Reading(Decimal(1), (1,) * 60)}}, "samples"),
        ({"readings": {"active_series": Reading(Decimal(1), (1,) * 59)}}, "active_series"),
    ],
)
def test_a_report_that_cannot_be_is_refused_by_name(changed, word):
    with pytest.raises(BadInput, match=word):
        rules.check(Audience.DIS, replace(REPORT, **changed))


def test_a_meter_is_reported_by_its_source_alone():
    with pytest.raises(BadInput, match="samples"):
        rules.check(Audience.DAS, REPORT)


@pytest.mark.parametrize(
    ("days", "step", "fits"),
    [
        (41, Step.HOUR, True),
        (42, Step.HOUR, False),
        (1000, Step.DAY, True),
        (1001, Step.DAY, False),
    ],
)
def test_an_answer_has_a_bound(days, step, fits):
    """Of hours some forty days, of days a thousand."""
    if fits:
        rules.check_range(HOUR, HOUR + timedelta(days=days), step)
    else:
        with pytest.raises(BadInput, match="longer step"):
            rules.check_range(HOUR, HOUR + timedelta(days=days), step)
