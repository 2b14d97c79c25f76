"""Taxes, totals, credits and adjustments add up, whatever the currency and the interleaving."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_billing.errors import BadInput, Conflict
from user_billing.invoices import letters, rules
from user_billing.invoices.rules import Customer, Key, Position, Rate, Tax
from user_billing.model import Audience
from user_billing.rating.model import Line, LineKind, Period

START = datetime(2026, 5, 1, tzinfo=UTC)
MAY = Period(START, datetime(2026, 6, 1, tzinfo=UTC))
INVOICE = UUID(int=7)
VAT = Tax("VAT", Decimal(19))
RATES = [
    Rate("DE", date(2020, 1, 1), date(2020, 6, 30), "VAT", Decimal(19)),
    Rate("DE", date(2020, 7, 1), date(2020, 12, 31), "VAT", Decimal(16)),
    Rate("DE", date(2021, 1, 1), None, "VAT", Decimal(19)),
    Rate("AT", date(2020, 1, 1), None, "USt", Decimal(20)),
]


def line(amount, kind=LineKind.USAGE, meter="m"):
    return Line(kind, "Metered", meter, MAY, Decimal(1), "x", amount, {})


def position(amount, tax=VAT, *, adjusts=None):
    kind = LineKind.USAGE if adjusts is None else LineKind.ADJUSTMENT
    of = line(amount, kind)
    return Position(of, tax, START, rules.key_of(of), adjusts)


def test_tax_is_of_the_sum():
    """Nine lines of 0.07 at 19 %: 0.12, where a tax a line would have been 0.09."""
    sums = rules.totals([(VAT, 7)] * 9)
    assert (sums.subtotal, sums.tax, sums.gross) == (63, 12, 75)
    assert 9 * rules.tax_on(7, Decimal(19)) == 9


taxes = st.sampled_from([VAT, Tax("VAT", Decimal("5.5")), Tax("none", Decimal(0), "why")])
amounts = st.integers(-(10**12), 10**12)


@given(st.lists(st.tuples(taxes, amounts), max_size=12))
def test_totals_are_those_of_slow_fractions(parts):
    """Every rate's tax is its sum's, to the nearest minor unit, halves away from zero."""
    sums = rules.totals(parts)
    assert sums.subtotal == sum(amount for _, amount in parts)
    assert (
        sums.gross
        == sums.subtotal + sums.tax
        == sums.subtotal + sum(part.amount for part in sums.taxes)
    )
    for part in sums.taxes:
        net = sum(amount for tax, amount in parts if tax == part.tax)
        exact = Fraction(abs(net)) * Fraction(part.tax.percent) / 100
        away = (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)
        assert (part.net, abs(part.amount)) == (net, away)


@given(
    st.lists(st.tuples(taxes, st.integers(0, 10_000)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5_000)), max_size=20),
)
def test_credits_of_every_line_sum_to_the_invoice(parts, wanted):
    """Any credits that lines have left, then the rest: net and tax are the invoice's exactly, and
    no line is credited beyond itself.
    """
    positions = [position(amount, tax) for tax, amount in parts]
    before, net, tax = {}, 0, 0
    credits_ = [{place % len(parts) + 1: amount} for place, amount in wanted]
    for credit in [*credits_, None]:
        credit = rules.remaining(positions, before) if credit is None else credit  # noqa: PLW2901
        try:
            rules.check_credits(positions, before, credit)
        except Conflict:
            assert not credit or any(
                before.get(n, 0) + a > positions[n - 1].line.amount for n, a in credit.items()
            )
            continue
        sums = rules.credit_totals(positions, before, credit)
        net, tax = net + sums.subtotal, tax + sums.tax
        for n, amount in credit.items():
            before[n] = before.get(n, 0) + amount
            assert before[n] <= positions[n - 1].line.amount
    whole = rules.totals_of(positions)
    assert (net, tax) == (whole.subtotal, whole.tax)


@given(
    st.lists(st.integers(-2_000, 3_000), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(-5_000, 5_000), taxes), max_size=5),
)
def test_a_draft_is_never_negative_and_gives_as_much_as_it_can(own, back):
    """What is given back is cut to what there is; another cent would not have fitted."""
    positions = [position(amount) for amount in own]
    positions += [position(amount, tax, adjusts=INVOICE) for amount, tax in back]
    result = rules.affordable(positions)
    gross = rules.totals_of(result).gross
    assert gross >= 0
    if rules.totals_of(positions).gross >= 0:
        assert result == positions
    missing = sum(p.line.amount for p in positions) - sum(p.line.amount for p in result)
    assert missing <= 0
    if missing:
        cut = [p for p in positions if p.line.amount < 0]
        assert {p.line.amount for p in positions if p.line.amount > 0} <= {
            p.line.amount for p in result
        }
        least = min(rules.totals_of([*result, position(-1, p.tax)]).gross for p in cut)
        assert least < 0


def test_adjustments_are_what_is_missing():
    """Per kind, meter and time: more, less, new, gone; and nothing where nothing changed."""
    other = Key(LineKind.USAGE, "gone", MAY)
    billed = {rules.key_of(line(100)): 70, rules.key_of(line(5, meter="same")): 5, other: 9}
    lines = [line(60), line(40), line(5, meter="same"), line(8, meter="new")]
    made = list(rules.adjustments(lines, billed, INVOICE, "INV-000001"))
    assert [(key.meter, of.amount) for key, of in made] == [("m", 30), ("new", 8), ("gone", -9)]
    assert {of.kind for _, of in made} == {LineKind.ADJUSTMENT}
    assert {of.period for _, of in made} == {MAY}
    assert "INV-000001" in made[0][1].description


@pytest.mark.parametrize(
    ("seller", "customer", "on", "expected"),
    [
        ("DE", Customer("DE"), date(2020, 6, 30), Tax("VAT", Decimal(19))),
        ("DE", Customer("DE"), date(2020, 7, 1), Tax("VAT", Decimal(16))),
        ("DE", Customer("DE", "DE136695976"), date(2026, 1, 1), Tax("VAT", Decimal(19))),
        ("DE", Customer("AT"), date(2026, 1, 1), Tax("USt", Decimal(20))),
        ("DE", Customer("FR"), date(2026, 1, 1), Tax("VAT", Decimal(19))),
    ],
    ids=["last day", "first day", "vat id at home", "consumer abroad", "consumer, no rate there"],
)
def test_tax_by_country_and_day(seller, customer, on, expected):
    """The customer's country, else the seller's, by the day on which the service ended."""
    assert rules.tax_of(seller, customer, RATES, on) == expected


@pytest.mark.parametrize(
    ("seller", "customer", "word"),
    [
        ("DE", Customer("AT", "ATU13585627"), "Reverse charge"),
        ("DE", Customer("CH"), "Not subject to tax"),
        ("CH", Customer("DE"), "Not subject to tax"),
        ("DE", Customer("DE", exempt="Article 151"), "Article 151"),
    ],
)
def test_no_tax_says_why(seller, customer, word):
    """Reverse charge, other countries and exemptions are 0 % with a printed note."""
    tax = rules.tax_of(seller, customer, RATES, date(2026, 1, 1))
    assert tax.percent == 0
    assert word in tax.note


def test_a_missing_rate_is_said():
    """Nothing is invoiced at a rate that nobody entered."""
    with pytest.raises(Conflict, match="no tax rate of DE on 2019-01-01"):
        rules.tax_of("DE", Customer("DE"), RATES, date(2019, 1, 1))


@pytest.mark.parametrize(
    ("text", "country", "stored"),
    [
        ("de 136 695 976", "DE", "DE136695976"),
        ("EL094259216", "GR", "EL094259216"),
        ("CHE-116.281.710", "CH", "CHE-116.281.710"),
        ("", "DE", ""),
    ],
)
def test_vat_ids_are_kept_compact(text, country, stored):
    """Inside the EU by the check digits of their country, elsewhere as they were written."""
    assert rules.vat_id(text, country) == stored


@pytest.mark.parametrize(("text", "country"), [("DE136695977", "DE"), ("DE136695976", "FR")])
def test_wrong_vat_ids_are_refused(text, country):
    """A wrong digit, or another country's."""
    with pytest.raises(BadInput, match="vat_id"):
        rules.vat_id(text, country)


def test_countries_are_those_of_iso():
    """Groups and numbers that CLDR has too are none."""
    assert rules.country("DE") == "DE"
    for text in ("EU", "150", "de", "", "XX1"):
        with pytest.raises(BadInput, match="country"):
            rules.country(text)


def test_rates_of_a_country_do_not_overlap():
    """Neither an open end nor a day may have two rates."""
    for wrong in ((date(2019, 1, 1), None), (date(2020, 6, 30), date(2020, 6, 30))):
        with pytest.raises(BadInput, match="overlaps"):
            rules.check_rate(Rate("DE", *wrong, "VAT", Decimal(7)), RATES)
    rules.check_rate(Rate("DE", date(2019, 1, 1), date(2019, 12, 31), "VAT", Decimal(7)), RATES)


def test_closing_waits_for_the_last_source_and_no_longer_than_the_grace():
    """All past the end: complete. Else nothing until the grace ran out, then with names."""
    end, grace = MAY.end, timedelta(hours=24)
    all_past = dict.fromkeys((Audience.DIS, Audience.DAS), end)
    assert rules.missing_at_close(end, all_past, grace, end) == []
    late = {**all_past, Audience.DAS: end - timedelta(seconds=1), Audience.APS: None}
    before = end + grace - timedelta(seconds=1)
    assert rules.missing_at_close(end, late, grace, before) is None
    assert rules.missing_at_close(end, late, grace, end + grace) == ["aps", "das"]


def test_arabic_is_joined_and_put_in_the_order_in_which_it_is_seen():
    """Glyphs of their place in the word, from left to right; other text is as it was."""
    assert letters.visual("شركة") == "\ufe94\ufedb\ufeae\ufeb7"
    assert letters.visual("Łódź ไทย Мир") == "Łódź ไทย Мир"
