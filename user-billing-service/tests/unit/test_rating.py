"""Rating against a slow obvious oracle, and against published price examples."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.errors import BadInput
from user_billing.meters.rules import Aggregation, Meter
from user_billing.money import rules as money
from user_billing.plans import rules as plans
from user_billing.plans.rules import Model, PlanVersion, Price, Tier
from user_billing.plans.views import PriceBody
from user_billing.rating import rules
from user_billing.rating.model import LineKind, MeterUsage, Period
from user_billing.rating.rules import Segment, rate

START = datetime(2026, 5, 1, tzinfo=UTC)
MAY = Period(START, datetime(2026, 6, 1, tzinfo=UTC))
SUM = Meter("m", "samples", Aggregation.SUM, "", "m")
LEVEL = Meter("m", "series", Aggregation.P95, "", "m")
AMOUNTS = st.integers(0, 10**12)
UNITS = st.decimals(0, 10, places=9).map(Fraction)


def plan(*prices, recurring=0, minimum=0, currency="EUR", n=1):
    return PlanVersion("p", n, "P", currency, recurring, minimum, prices)


def used(quantity):
    return MeterUsage(Decimal(quantity), 744, "digest")


def cost(price, quantity, *, currency="EUR", meter=SUM):
    rated = rate(
        [Segment(plan(price, currency=currency), MAY, {"m": used(quantity)})], MAY, {"m": meter}
    )
    (line,) = rated.lines
    assert rules.recompute(line.derivation) == line.amount
    return money.text(line.amount, currency)


def tiers(*ends_and_prices):
    return tuple(
        Tier(None if end is None else Fraction(end), Fraction(unit))
        for end, unit in ends_and_prices
    )


AMAZON = tiers(("2e9", "0.90e-7"), ("252e9", "0.35e-7"), (None, "0.16e-7"))


@pytest.mark.parametrize(
    ("price", "quantity", "currency", "amount"),
    [
        # Amazon Managed Service for Prometheus: samples of one month in three tiers, $ per 10 M
        (Price("m", Model.GRADUATED, tiers=AMAZON), 2_000_000_000, "USD", "180.00"),
        (Price("m", Model.GRADUATED, tiers=AMAZON), 7_500_000_000, "USD", "372.50"),
        (Price("m", Model.GRADUATED, tiers=AMAZON), 252_000_000_000, "USD", "8930.00"),
        (Price("m", Model.GRADUATED, tiers=AMAZON), 300_000_000_000, "USD", "9698.00"),
        # Grafana Cloud: $6.50 per 1,000 series past 10,000, by the 95th percentile
        (Price("m", Model.PER_UNIT, Fraction(10_000), Fraction("0.0065")), 10_000, "USD", "0.00"),
        (Price("m", Model.PER_UNIT, Fraction(10_000), Fraction("0.0065")), 45_321, "USD", "229.59"),
        # 5 a package of 1,000, begun ones whole
        (Price("m", Model.PACKAGE, unit=Fraction(5), package=Fraction(1000)), 0, "EUR", "0.00"),
        (Price("m", Model.PACKAGE, unit=Fraction(5), package=Fraction(1000)), 1, "EUR", "5.00"),
        (Price("m", Model.PACKAGE, unit=Fraction(5), package=Fraction(1000)), 1000, "EUR", "5.00"),
        (Price("m", Model.PACKAGE, unit=Fraction(5), package=Fraction(1000)), 1001, "EUR", "10.00"),
        # volume: all units at the price of the tier that the quantity ends in
        (Price("m", Model.VOLUME, tiers=tiers((100, 2), (None, 1))), 100, "EUR", "200.00"),
        (Price("m", Model.VOLUME, tiers=tiers((100, 2), (None, 1))), 101, "EUR", "101.00"),
        # currencies without decimals and with three
        (Price("m", Model.PER_UNIT, unit=Fraction("0.5")), 3, "JPY", "2"),
        (Price("m", Model.PER_UNIT, unit=Fraction("0.0005")), 3, "BHD", "0.002"),
        (Price("m", Model.PER_UNIT, unit=Fraction("12.3456")), 1, "KWD", "12.346"),
    ],
)
def test_published_prices(price, quantity, currency, amount):
    assert cost(price, quantity, currency=currency) == amount


@st.composite
def stairs(draw):
    ends = sorted(draw(st.sets(st.integers(1, 10**6), max_size=4)))
    return tuple(
        Tier(None if end is None else Fraction(end), draw(UNITS), draw(UNITS))
        for end in [*ends, None]
    )


def exact(parts):
    """What the steps of a computation sum to."""
    return sum(part.units * part.unit + part.flat for part in parts)


def slow_graduated(tiers, units, share):
    """Unit by unit, what each costs where it lies; flat prices of the tiers that are entered."""
    total, low = Fraction(0), Fraction(0)
    for tier in tiers:
        high = tier.upto * share if tier.upto is not None else None
        inside = max(Fraction(0), (units if high is None else min(units, high)) - low)
        total += inside * tier.unit + (tier.flat * share if units > low else 0)
        low = high if high is not None else low
    return total


@given(stairs(), st.integers(0, 2 * 10**6), st.fractions(Fraction(1, 1000), 1))
def test_graduated_prices_are_those_of_the_oracle(stairs, units, share):
    price = Price("m", Model.GRADUATED, tiers=stairs)
    parts = plans.parts(price, Fraction(units), share)
    assert exact(parts) == slow_graduated(stairs, units, share)
    assert sum(part.units for part in parts) == units


@pytest.mark.parametrize("aggregation", Aggregation)
def test_what_is_summed_grows_with_time_and_what_is_not_is_a_level(aggregation):
    """Half of a period has half of a sum's included units; a level's amount is halved instead."""
    price = Price("m", Model.PER_UNIT, Fraction(4), Fraction(1))
    half = Period(START, START + (MAY.end - START) / 2)
    meter = Meter("m", "x", aggregation, "", "m")
    (line,) = rate([Segment(plan(price), half, {"m": used(10)})], MAY, {"m": meter}).lines
    assert line.amount == (800 if aggregation in {"sum", "count"} else 300)


@given(stairs(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_never_costs_less(stairs, some, more):
    price = Price("m", Model.GRADUATED, tiers=stairs)

    def of(quantity):
        return exact(plans.parts(price, Fraction(quantity)))

    assert of(some) <= of(some + more)


HALF = Fraction(1, 2)
ENTRY = (Tier(Fraction(10), Fraction(2), Fraction(6)), Tier(None, Fraction(1), Fraction(8)))


@pytest.mark.parametrize(
    ("price", "quantity", "steps"),
    [
        # a half of a period: half of the included units, of the tiers' ends and the flat prices
        (Price("m", Model.PER_UNIT, Fraction(4), Fraction(3)), 5, [(3, 3, 0)]),
        (Price("m", Model.PER_UNIT, Fraction(4), Fraction(3)), 1, [(0, 3, 0)]),
        (Price("m", Model.PER_UNIT), 5, [(5, 0, 0)]),
        (Price("m", Model.PACKAGE, Fraction(4), Fraction(3)), 5, [(3, 3, 0)]),
        (Price("m", Model.GRADUATED, tiers=ENTRY), 0, [(0, 2, 0)]),
        (Price("m", Model.GRADUATED, tiers=ENTRY), 5, [(5, 2, 3)]),
        (Price("m", Model.GRADUATED, tiers=ENTRY), 6, [(5, 2, 3), (1, 1, 4)]),
        (Price("m", Model.VOLUME, tiers=ENTRY), 0, [(0, 2, 0)]),
        (Price("m", Model.VOLUME, tiers=ENTRY), 5, [(5, 2, 3)]),
        (Price("m", Model.VOLUME, tiers=ENTRY), 6, [(6, 1, 4)]),
    ],
)
def test_the_steps_of_half_a_period(price, quantity, steps):
    """Only tiers that are entered have a step and a flat price; what is included is no step."""
    parts = plans.parts(price, Fraction(quantity), HALF)
    assert [(part.units, part.unit, part.flat) for part in parts] == steps


def test_without_a_share_the_period_is_a_whole_one():
    price = Price("m", Model.GRADUATED, Fraction(4), tiers=ENTRY)
    assert plans.parts(price, Fraction(15)) == plans.parts(price, Fraction(15), Fraction(1))


cuts = st.lists(st.integers(1, 743), unique=True, max_size=5).map(sorted)


def segments(cuts, versions, usage):
    """May, cut at these hours."""
    edges = [0, *cuts, 744]
    times = [START + timedelta(hours=hour) for hour in edges]
    return [
        Segment(versions[place % len(versions)], Period(*times[place : place + 2]), usage(place))
        for place in range(len(edges) - 1)
    ]


@given(cuts, st.integers(1, 10**9))
def test_the_parts_of_a_price_sum_to_it(cuts, recurring):
    rated = rate(segments(cuts, [plan(recurring=recurring)], lambda _: {}), MAY, {})
    assert sum(line.amount for line in rated.lines) == recurring
    assert all((line.kind is LineKind.PRORATION) == bool(cuts) for line in rated.lines)


@given(cuts, st.data())
def test_usage_is_charged_once_whatever_the_changes(cuts, data):
    """A to B to A: with one price a unit in both, the sum is what the whole usage costs."""
    price = Price("m", Model.PER_UNIT, unit=Fraction(1))
    quantities = [data.draw(st.integers(0, 10**6)) for _ in range(len(cuts) + 1)]
    versions = [plan(price), plan(price, n=2)]
    rated = rate(
        segments(cuts, versions, lambda place: {"m": used(quantities[place])}), MAY, {"m": SUM}
    )
    assert sum(line.amount for line in rated.lines) == 100 * sum(quantities)


@given(cuts, st.integers(0, 10**6))
def test_a_level_that_stays_costs_what_it_costs_without_changes(cuts, series):
    price = Price("m", Model.GRADUATED, Fraction(100), tiers=tiers((1000, "0.01"), (None, "0.005")))
    parts = segments(cuts, [plan(price)], lambda _: {"m": used(series)})
    amounts = [line.amount for line in rate(parts, MAY, {"m": LEVEL}).lines]
    whole = (
        rate([Segment(plan(price), MAY, {"m": used(series)})], MAY, {"m": LEVEL}).lines[0].amount
    )
    assert abs(sum(amounts) - whole) <= len(amounts)  # each line is rounded once


def test_a_zero_with_a_huge_exponent_is_zero():
    """As text it would be a number of so many digits when it is read again."""
    body = PriceBody(meter="m", model=Model.PER_UNIT, unit=Decimal("0E+999999999"))
    assert body.model_dump(mode="json")["unit"] == "0"


def test_the_minimum_of_segments_sums_to_that_of_the_period():
    """Two halves of an odd minimum are not rounded up twice."""
    half = START + (MAY.end - START) / 2
    parts = [Period(START, half), Period(half, MAY.end)]
    rated = rate([Segment(plan(minimum=101), part, {}) for part in parts], MAY, {})
    assert [line.amount for line in rated.lines] == [51, 50]


def test_the_minimum_fills_what_is_missing():
    price = Price("m", Model.PER_UNIT, unit=Fraction(1))
    low = rate(
        [Segment(plan(price, recurring=200, minimum=1000), MAY, {"m": used(3)})], MAY, {"m": SUM}
    )
    assert [(line.kind, line.amount) for line in low.lines] == [
        (LineKind.PLAN, 200), (LineKind.USAGE, 300), (LineKind.MINIMUM, 500),
    ]  # fmt: skip
    high = rate([Segment(plan(price, minimum=1000), MAY, {"m": used(10)})], MAY, {"m": SUM})
    assert [line.amount for line in high.lines] == [1000]


def test_a_derivation_says_all_that_its_amount_was_computed_from():
    """Of a plan's price, of a meter and of a minimum, for the first half of May."""
    price = Price("m", Model.GRADUATED, Fraction(4), tiers=ENTRY)
    half = Period(START, START + (MAY.end - START) / 2)
    version = plan(price, recurring=200, minimum=10_000, n=7)
    lines = rate([Segment(version, half, {"m": used(7)})], MAY, {"m": SUM}).lines
    assert [line.derivation for line in lines] == [
        {"engine": 1, "rule": "recurring", "plan": "p", "version": 7, "price": 200,
         "share": "1/2", "amount": 100},
        {"engine": 1, "rule": "graduated", "plan": "p", "version": 7, "currency": "EUR",
         "meter": "m", "quantity": "7", "hours": 744, "hours_digest": "digest", "included": "2",
         "package": "1", "share": "1", "parts": [{"units": "5", "unit": "2", "flat": "3"}],
         "rounding": "once, half away from zero"},
        {"engine": 1, "rule": "minimum", "plan": "p", "version": 7, "minimum": 10_000,
         "share": "1/2", "amount": 3_600},
    ]  # fmt: skip
    assert [rules.recompute(line.derivation) for line in lines] == [100, 1300, 3600]
    assert [(line.amount, line.quantity, line.unit) for line in lines] == [
        (100, 1, "period"), (1300, 7, "samples"), (3600, 1, "period"),
    ]  # fmt: skip
    assert [line.description for line in lines] == ["P", "m", "P: minimum"]


def test_the_level_of_a_part_of_a_period_is_charged_for_its_share():
    """Half of the time: the tiers of a whole period, half of the amount."""
    price = Price("m", Model.GRADUATED, Fraction(4), tiers=ENTRY)
    half = Period(START, START + (MAY.end - START) / 2)
    (line,) = rate([Segment(plan(price), half, {"m": used(9)})], MAY, {"m": LEVEL}).lines
    assert (line.derivation["included"], line.derivation["share"]) == ("4", "1/2")
    assert line.amount == 800  # (5 units × 2 + 6 for entering) / 2


def test_the_order_in_which_meters_are_read_changes_no_hash():
    of = [{"m": used(1), "o": used(2)}, {"o": used(2), "m": used(1)}]
    assert len({rules.input_hash([Segment(plan(), MAY, usage)], MAY) for usage in of}) == 1


def test_usage_without_a_price_is_free_and_a_price_without_usage_has_no_line():
    price = Price("m", Model.PER_UNIT, unit=Fraction(1))
    assert rate([Segment(plan(price), MAY, {"o": used(5)})], MAY, {"m": SUM}).lines == ()


@pytest.mark.parametrize(("minimum", "lines"), [(299, [300]), (300, [300]), (301, [300, 1])])
def test_a_minimum_that_is_reached_has_no_line(minimum, lines):
    price = Price("m", Model.PER_UNIT, unit=Fraction(1))
    rated = rate([Segment(plan(price, minimum=minimum), MAY, {"m": used(3)})], MAY, {"m": SUM})
    assert [line.amount for line in rated.lines] == lines
    assert rated.total == sum(lines)


def test_the_same_input_has_the_same_hash_and_lines_and_another_has_not():
    def of(quantity=5, digest="digest", n=1):
        usage = {"m": MeterUsage(Decimal(quantity), 744, digest)}
        return rate([Segment(plan(Price("m", Model.PER_UNIT), n=n), MAY, usage)], MAY, {"m": SUM})

    assert of() == of()
    assert (
        len({of().input_hash, of(6).input_hash, of(digest="x").input_hash, of(n=2).input_hash}) == 4
    )


@pytest.mark.parametrize(
    "prices",
    [
        (Price("m", Model.PER_UNIT), Price("m", Model.PER_UNIT)),
        (Price("m", Model.PER_UNIT, tiers=tiers((None, 1))),),
        (Price("m", Model.VOLUME),),
        (Price("m", Model.GRADUATED, tiers=tiers((5, 1))),),
        (Price("m", Model.GRADUATED, tiers=tiers((5, 1), (5, 1), (None, 1))),),
        (Price("m", Model.GRADUATED, tiers=tiers((None, 1), (None, 1))),),
        (Price("m", Model.GRADUATED, tiers=tiers((5, 1), (None, 1), (None, 1))),),
        (Price("m", Model.GRADUATED, tiers=tiers((0, 1), (None, 1))),),
        (Price("m", Model.GRADUATED, tiers=tiers((6, 1), (5, 1), (None, 1))),),
        (Price("m", Model.PACKAGE, package=Fraction(0)),),
    ],
)
def test_prices_that_cannot_be_computed_with_are_refused(prices):
    with pytest.raises(BadInput):
        plans.check(plan(*prices))


@pytest.mark.parametrize(
    "prices",
    [
        (),
        (Price("m", Model.PER_UNIT), Price("o", Model.PER_UNIT)),
        (Price("m", Model.PACKAGE, package=Fraction(1, 2)),),
        (Price("m", Model.VOLUME, tiers=tiers((None, 1))),),
        (Price("m", Model.GRADUATED, tiers=tiers(("0.5", 1), (1, 1), (None, 1))),),
    ],
)
def test_prices_that_can_be_computed_with_pass(prices):
    plans.check(plan(*prices))


def test_usage_is_multiplied_exactly_and_rounded_to_nine_decimals():
    """A what-if of a quarter of the samples has a quarter of them, and claims no hours."""
    used_now = MeterUsage(Decimal("12.5"), 7, "digest")
    assert rules.times(used_now, Fraction(1, 4)) == MeterUsage(Decimal("3.125"), 0, "")
    assert rules.times(used_now, Fraction(1, 3)).quantity == Decimal("4.166666667")
