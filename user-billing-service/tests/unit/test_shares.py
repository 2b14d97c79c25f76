"""Laws of splitting: hours over teams, costs over anybody."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.costs import rules as costs
from user_billing.costs.rules import NOBODY, Over, Pool, Share, Split
from user_billing.errors import BadInput
from user_billing.identifiers import new_id
from user_billing.money import rules as money
from user_billing.teams import rules as teams
from user_billing.teams.rules import Hour, Weights

START = datetime(2026, 5, 1, tzinfo=UTC)
COUNTS = st.integers(0, 10**9)
SHARES = st.dictionaries(st.sampled_from(["", "a", "b", "c"]), st.builds(Weights, COUNTS, COUNTS))
METERS = st.sampled_from(["samples", "active_series", "stored_bytes"])
QUANTITIES = st.one_of(COUNTS.map(Decimal), st.decimals(0, 10**9, places=9))


@given(st.integers(-(10**12), 10**12), st.lists(st.fractions(0, 10**6), min_size=1, max_size=20))
def test_parts_sum_to_the_whole_and_are_near_what_is_exact(total, weights):
    weights[0] += 1
    parts = money.split(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total) * weight / sum(weights)) < 1


@given(st.integers(0, 10**12), st.integers(1, 50))
def test_equal_parts_differ_by_one_at_most_and_the_first_are_the_larger(total, count):
    parts = money.split(total, [1] * count)
    assert max(parts) - min(parts) <= 1
    assert parts == sorted(parts, reverse=True)


@given(METERS, QUANTITIES, st.one_of(st.none(), SHARES))
def test_an_hour_is_all_of_its_teams_and_nobodys(meter, quantity, shares):
    """Whole numbers stay whole; an hour that was not split, or has no weights, is nobody's."""
    parts = teams.split(Hour(START, meter, quantity), shares)
    assert sum(parts.values()) == quantity
    if quantity == quantity.to_integral_value():
        assert all(part == part.to_integral_value() for part in parts.values())
    if not shares:
        assert set(parts) == {""}


@given(st.lists(st.tuples(st.integers(0, 40), METERS, QUANTITIES), max_size=20), SHARES)
def test_teams_of_a_range_sum_to_its_hours(rows, shares):
    hours = [Hour(START + timedelta(hours=n), meter, quantity) for n, meter, quantity in rows]
    split = {START + timedelta(hours=n): shares for n in range(0, 40, 2)}
    sums = teams.by_team(hours, split)
    for meter in {hour.meter for hour in hours}:
        total = sum(hour.quantity for hour in hours if hour.meter == meter)
        assert sum(q for (_, of), q in sums.items() if of == meter) == total


def pool(amount, weights=(), *, spread=False, currency="EUR"):
    return Pool(
        "Bill", Over.TEAMS, START, START + timedelta(days=31), amount, currency,
        dict(weights), spread=spread,
    )  # fmt: skip


USAGE = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c", NOBODY]), st.sampled_from(["samples", "seats"])),
    COUNTS.map(Decimal),
)
WEIGHTS = st.dictionaries(
    st.sampled_from(["samples", "seats"]), st.fractions(Fraction(1, 100), 100)
)


@given(st.integers(0, 10**12), WEIGHTS, USAGE, st.booleans())
def test_a_cost_is_split_to_the_cent(amount, weights, usage, spread):
    shares = costs.split(pool(amount, weights, spread=spread), ["a", "b", "c"], usage)
    assert sum(share.amount for share in shares) == amount
    assert [share.part for share in shares[:3]] == ["a", "b", "c"]
    assert all(share.amount >= 0 for share in shares)
    if spread:
        assert len(shares) == 3
    if not weights:
        assert max(s.amount for s in shares[:3]) - min(s.amount for s in shares[:3]) <= 1


def test_a_cost_follows_weights_and_keeps_what_is_nobodys():
    usage = {
        ("a", "samples"): Decimal(60),
        ("b", "samples"): Decimal(20),
        ("", "samples"): Decimal(20),
    }
    weights = {"samples": Fraction(1)}
    assert costs.split(pool(10_000, weights), ["a", "b"], usage) == [
        Share("a", 6000), Share("b", 2000), Share("", 2000),
    ]  # fmt: skip
    assert costs.split(pool(10_000, weights, spread=True), ["a", "b"], usage) == [
        Share("a", 7500), Share("b", 2500),
    ]  # fmt: skip
    assert costs.split(pool(5), [], usage) == [Share("", 5)]


@pytest.mark.parametrize(
    "wrong",
    [
        pool(1, {"nonsense": Fraction(1)}),
        pool(1, {"samples": Fraction(0)}),
        pool(1, currency="XXQ"),
    ],
)
def test_pools_that_cannot_be_split_are_refused(wrong):
    with pytest.raises(BadInput):
        costs.check(wrong)


def test_exports_say_the_shares_and_are_no_formulas():
    """Both files sum to the pool; a team's name is text to whatever opens the file."""
    team = new_id()
    shares, names = [Share(str(team), 6001), Share("", 3999)], {str(team): '=HYPERLINK("x")'}
    bearers = Split(new_id(), pool(10_000), shares, names).bearers
    plain = list(csv.DictReader(io.StringIO(costs.chargeback(pool(10_000), bearers))))
    assert [row["amount"] for row in plain] == ["60.01", "39.99"]
    assert [row["team"] for row in plain] == ['\'=HYPERLINK("x")', "unattributed"]
    focus = list(csv.DictReader(io.StringIO(costs.focus(pool(10_000), bearers))))
    assert sum(Decimal(row["BilledCost"]) for row in focus) == 100
    assert {row["BillingCurrency"] for row in focus} == {"EUR"}
    assert costs.safe("-19.00") == "-19.00"
    assert costs.safe("-19.00|cmd") == "'-19.00|cmd"
