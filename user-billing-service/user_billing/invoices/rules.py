"""Taxes, totals, credits and adjustments of documents. Pure.

    draft ──▶ approved ──▶ final     has a number, never changes; a full credit note voids it

Source: docs/adr/0038-invoices.md.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

from babel import Locale
from stdnum.eu import vat
from stdnum.exceptions import ValidationError

from user_billing.errors import BadInput, Conflict
from user_billing.meters.rules import BUILT_IN
from user_billing.model import Audience
from user_billing.money import rules as money
from user_billing.rating.model import Json, Line, LineKind, Period

STATEMENT_DAYS_MAX: Final = 400
TAX_RULE: Final = "Tax is computed once per rate, on the sum of its lines, and rounded once."
EU: Final = frozenset(code.upper() for code in vat.MEMBER_STATES) - {"XI"}
_VAT_PREFIX: Final = {"GR": "EL"}
_COUNTRIES: Final = frozenset(
    code for code in map(str, Locale("en").territories) if len(code) == 2 and code.isalpha()
) - {"EU", "UN", "ZZ"}


def check_statement(start: datetime, end: datetime) -> None:
    """Raises BadInput for a range that no statement is made of."""
    if not start < end or (end - start).days > STATEMENT_DAYS_MAX:
        raise BadInput(field="end", needs="a time after start", days_max=STATEMENT_DAYS_MAX)


class State(StrEnum):
    """Of an invoice."""

    DRAFT = "draft"
    APPROVED = "approved"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Rate:
    """A tax of a country from valid_from to valid_to, both days included; None: without end."""

    country: str
    valid_from: date
    valid_to: date | None
    name: str
    percent: Decimal


@dataclass(frozen=True, slots=True)
class Tax:
    """What is taken of a line. note: why it is nothing, printed on the document."""

    name: str
    percent: Decimal
    note: str = ""


@dataclass(frozen=True, slots=True)
class Customer:
    """The facts that decide about tax. exempt: the operator's reason to take none."""

    country: str
    vat_id: str = ""
    exempt: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """What re-rating compares: the same thing, charged for the same time."""

    kind: LineKind
    meter: str | None
    period: Period


@dataclass(frozen=True, slots=True)
class Position:
    """A line with its tax. of_period: start of the billing period that the amount belongs to;
    key: what it charges, also when it adjusts the charge of invoice `adjusts`.
    """

    line: Line
    tax: Tax
    of_period: datetime
    key: Key
    adjusts: UUID | None = None


@dataclass(frozen=True, slots=True)
class TaxSum:
    """One rate of a document: the sum of its lines and the tax of that sum."""

    tax: Tax
    net: int
    amount: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a document: subtotal + tax = gross."""

    taxes: tuple[TaxSum, ...]

    @property
    def subtotal(self) -> int:
        """Before tax."""
        return sum(part.net for part in self.taxes)

    @property
    def tax(self) -> int:
        """Of all rates."""
        return sum(part.amount for part in self.taxes)

    @property
    def gross(self) -> int:
        """With tax."""
        return self.subtotal + self.tax


def country(code: str) -> str:
    """A country of ISO 3166. Raises BadInput."""
    if code not in _COUNTRIES:
        raise BadInput(field="country", value=code, needs="two letters of ISO 3166: DE")
    return code


def vat_id(text: str, of_country: str) -> str:
    """The number without blanks. Raises BadInput when it is no VAT id of that country.

    Checked by its digits, offline; outside the EU it is any text.
    """
    if not text or of_country not in EU:
        return text.strip()
    try:
        number: str = vat.validate(text)
    except ValidationError as exc:
        raise BadInput(field="vat_id", value=text, detail=str(exc)) from exc
    if number[:2] != _VAT_PREFIX.get(of_country, of_country):
        raise BadInput(field="vat_id", value=text, needs=f"a VAT id of {of_country}")
    return number


def tax_of(seller: str, customer: Customer, rates: Iterable[Rate], on: date) -> Tax:
    """The tax of a service that ended on that day.

    Raises Conflict when the operator entered no rate for it.
    """
    if customer.exempt:
        return Tax("exempt", Decimal(0), customer.exempt)
    abroad = customer.country != seller
    if abroad and (customer.country not in EU or seller not in EU):
        return Tax("not taxed", Decimal(0), "Not subject to tax: customer in another country.")
    if abroad and customer.vat_id:
        return Tax("reverse charge", Decimal(0), "Reverse charge: the recipient owes the tax.")
    valid = [rate for rate in rates if rate.valid_from <= on and (rate.valid_to or on) >= on]
    for place in (customer.country, seller):
        for rate in valid:
            if rate.country == place:
                return Tax(rate.name, rate.percent)
    raise Conflict(detail=f"the seller has no tax rate of {seller} on {on}: enter it first")


def check_rate(rate: Rate, others: Iterable[Rate]) -> None:
    """Raises BadInput when the country has another rate at that time."""
    for other in others:
        starts_first = rate.valid_to is None or other.valid_from <= rate.valid_to
        ends_last = other.valid_to is None or other.valid_to >= rate.valid_from
        if other.country == rate.country and starts_first and ends_last:
            raise BadInput(field="valid_from", overlaps=f"{other.percent} % {other.valid_from}")


def tax_on(net: int, percent: Decimal) -> int:
    """Minor units of tax on `net`, rounded once."""
    return money.round_half_away(net * Fraction(percent) / 100)


def totals(parts: Iterable[tuple[Tax, int]]) -> Totals:
    """Of lines (their tax, their amount): tax per rate on the sum, in the order of appearance."""
    sums: dict[Tax, int] = {}
    for tax, amount in parts:
        sums[tax] = sums.get(tax, 0) + amount
    result = Totals(tuple(TaxSum(tax, n, tax_on(n, tax.percent)) for tax, n in sums.items()))
    if result.gross > money.MINOR_MAX:
        raise BadInput(field="total", value=result.gross, max=money.MINOR_MAX)
    return result


def totals_of(positions: Iterable[Position]) -> Totals:
    """Of the lines of a draft."""
    return totals((position.tax, position.line.amount) for position in positions)


def key_of(line: Line) -> Key:
    """What the line charges."""
    return Key(line.kind, line.meter, line.period)


def adjustments(
    lines: Sequence[Line], billed: Mapping[Key, int], invoice: UUID, number: str
) -> Iterator[tuple[Key, Line]]:
    """What is missing to `lines`, the period rated again, after what was billed of it.

    billed: minor units by key, in all documents that stand. Nothing when they agree.
    """
    rated: Counter[Key] = Counter()
    first: dict[Key, Line] = {}
    for line in lines:
        rated[key_of(line)] += line.amount
        first.setdefault(key_of(line), line)
    for key in [*first, *(key for key in billed if key not in first)]:
        difference = rated[key] - billed.get(key, 0)
        if not difference:
            continue
        name = key.meter or key.kind.value
        gone = Line(key.kind, name, key.meter, key.period, Decimal(0), "", 0, {})
        like = first.get(key, gone)
        derivation: dict[str, Json] = {
            "rated": rated[key], "billed": billed.get(key, 0), "invoice": str(invoice),
            "line": dict(like.derivation),
        }  # fmt: skip
        description = f"{like.description}: known after invoice {number}"
        yield key, replace(
            like, kind=LineKind.ADJUSTMENT, description=description, amount=difference,
            derivation=derivation,
        )  # fmt: skip


def affordable(positions: Sequence[Position]) -> list[Position]:
    """The positions without what would make the document negative.

    Then the lines that give back come last, cut to what there is to give from. What is cut is
    still missing when the next draft compares, and is given back then.
    """
    if totals_of(positions).gross >= 0:
        return list(positions)
    result = [position for position in positions if position.line.amount >= 0]
    for position in positions:
        room = totals_of(result).gross * 100 // (100 + position.tax.percent)
        amount = max(position.line.amount, -int(room) - 2)  # rounding of tax: two at most
        while amount < 0:
            cut = replace(position, line=replace(position.line, amount=amount))
            if totals_of([*result, cut]).gross >= 0:
                result.append(cut)
                break
            amount += 1
    return result


def check_credits(
    positions: Sequence[Position], before: Mapping[int, int], credit: Mapping[int, int]
) -> None:
    """Passes for credits that the lines still have, after `before`. Raises BadInput, Conflict."""
    if not credit:
        raise Conflict(detail="there is nothing left to credit")
    for n, amount in credit.items():
        if not 1 <= n <= len(positions):
            raise BadInput(field="lines", line=n, max=len(positions))
        left = positions[n - 1].line.amount - before.get(n, 0)
        if amount == 0 or not min(left, 0) <= amount <= max(left, 0):
            raise Conflict(detail=f"line {n} has less left to credit", left=left, wanted=amount)
    if credit_totals(positions, before, credit).gross < 0:
        raise Conflict(detail="a credit note gives, it does not take: leave negative lines out")


def is_made_of(position: Position, hours: Any) -> bool:
    """Whether stored hours (start, end, meter) are of the position's meter and billing period."""
    counted_as = {meter.code: meter.counted_as for meter in BUILT_IN}
    meter = position.line.meter
    if meter is None or hours.start != position.of_period:
        return False
    return bool(hours.meter == counted_as.get(meter, meter))


def missing_at_close(
    end: datetime, watermarks: Mapping[Audience, datetime | None], grace: timedelta, now: datetime
) -> list[str] | None:
    """The sources that had not reported when a period that ended closes now; None: it waits.

    watermarks: complete through, None: never heard of. Source: one grace for all,
    `UBS_BILLING_GRACE_HOURS`.
    """
    missing = sorted(s.value for s, at in watermarks.items() if at is None or at < end)
    return missing if not missing or end + grace <= now else None


def number_text(series: str, number: int) -> str:
    """As it is printed: INV-000042."""
    return f"{series}-{number:06d}"


def last_day(period: Period) -> date:
    """The day, UTC, on which the service ended: it decides about the tax rate."""
    return (period.end - timedelta(microseconds=1)).astimezone(UTC).date()


def credit_totals(
    positions: Sequence[Position], before: Mapping[int, int], credit: Mapping[int, int]
) -> Totals:
    """Of a credit note over lines (from 1) of an invoice, after the credits `before`.

    Its tax is that of all credits together less what they had: notes that credit every line sum
    to the invoice's tax exactly.
    """

    def sums(amounts: Mapping[int, int]) -> dict[Tax, TaxSum]:
        parts = ((positions[n - 1].tax, amount) for n, amount in sorted(amounts.items()))
        return {part.tax: part for part in totals(parts).taxes}

    together = Counter(before)
    together.update(credit)
    old, both = sums(before), sums(together)
    return Totals(
        tuple(
            replace(part, amount=both[tax].amount - (old[tax].amount if tax in old else 0))
            for tax, part in sums(credit).items()
        )
    )


def remaining(positions: Sequence[Position], before: Mapping[int, int]) -> dict[int, int]:
    """Line (from 1) → what may still be credited of it; lines without a rest are left out."""
    rests = {n: at.line.amount - before.get(n, 0) for n, at in enumerate(positions, 1)}
    return {n: rest for n, rest in rests.items() if rest}
