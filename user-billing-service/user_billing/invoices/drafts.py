"""What a draft is made of: the period's lines, what earlier periods still miss, and the hours."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from user_billing.db import rows
from user_billing.errors import Conflict
from user_billing.invoices import rules, sql
from user_billing.invoices import tables as t
from user_billing.invoices.hours import unpack
from user_billing.invoices.rules import Position
from user_billing.invoices.sellers import customer_of
from user_billing.rating.model import Line, Period, Rated
from user_billing.subscriptions.service import Subscriptions
from user_billing.usage import sql as usage_sql

CORRECTED_MAX: Final = 13
"""How many periods back late usage is still charged."""
TRIES: Final = 3
COMMIT_MAX: Final = timedelta(hours=1)
"""Rows are stored at most so long after the time they say they were received at."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The lines of a draft, and by period the hours that they were computed from, as text."""

    currency: str
    input_hash: str
    positions: list[Position]
    hours: dict[Period, dict[str, str]]
    not_charged: list[str]
    """Numbers of invoices in another currency, of whose periods usage came late."""

    def amounts(self) -> dict[str, Any]:
        """Its columns in the invoice's row."""
        sums = rules.totals_of(self.positions)
        return {
            "currency": self.currency, "input_hash": self.input_hash, "subtotal": sums.subtotal,
            "tax": sums.tax, "credits": 0, "total": sums.gross,
        }  # fmt: skip


def build(
    session: Session,
    rating: Subscriptions,
    org: UUID,
    period: Period,
    *,
    seller: Row[Any],
    but: UUID | None,
) -> Draft | None:
    """The draft of the period as it is now; None without a price and without late usage.

    but: the draft that it replaces. Raises Conflict when there is no tax rate, or when usage keeps
    changing while it is rated.
    """
    hours: dict[Period, dict[str, str]] = {}
    not_charged: list[str] = []
    rated = _rated(session, rating, org, period, hours)
    currency = rated.currency if rated else None
    if rated is None:
        hours.clear()
    customer = customer_of(rows.one(session, t.customer, org), seller)
    rates = sql.rates(session)

    def position(line: Line, of: datetime, key: rules.Key, adjusts: UUID | None) -> Position:
        tax = rules.tax_of(seller.country, customer, rates, rules.last_day(line.period))
        return Position(line, tax, of, key, adjusts)

    def missing(lines: Sequence[Line], of: datetime, invoice: Row[Any]) -> list[Position]:
        """What all documents together do not charge yet of the period that begins then."""
        billed = sql.billed(session, org, of, but)
        number = rules.number_text(invoice.series, invoice.number)
        adjusted = rules.adjustments(lines, billed, invoice.id, number)
        return [position(line, of, key, invoice.id) for key, line in adjusted]

    lines = rated.lines if rated else ()
    positions = [position(line, period.start, rules.key_of(line), None) for line in lines]
    if void := sql.voided_invoice(session, org, period.start):
        positions += missing((), period.start, void)  # other invoices charge for the period already
    for row in reversed(sql.invoiced_periods(session, org, period.start, CORRECTED_MAX)):
        if not (row.elsewhere or _has_late_hours(session, org, row)):
            continue
        earlier = Period(row.start, row.end)
        again = rating.rated(session, org, earlier)
        if again is None or not missing(again.lines, row.start, row):
            continue
        if again.currency != (currency or again.currency):
            not_charged.append(rules.number_text(row.series, row.number))
            continue
        currency = again.currency
        again = _rated(session, rating, org, earlier, hours)
        assert again is not None, "it was rated a moment ago"
        positions += missing(again.lines, row.start, row)
    charged = rules.affordable(positions)
    if currency is None or not (rated or charged):
        return None
    return Draft(currency, rated.input_hash if rated else "", charged, hours, not_charged)


def _has_late_hours(session: Session, org: UUID, row: Row[Any]) -> bool:
    """Whether the period of `sql.invoiced_periods` has hours that its invoice was not made of."""
    since = row.made_at - COMMIT_MAX
    recent = usage_sql.period_hours(session, org, row.start, row.end, since)
    if not recent:
        return False
    stored = {
        of.meter: unpack(of.hours).split("\n")
        for of in rows.many(session, t.invoice_hours, org, invoice_id=row.id, start=row.start)
        if of.meter in recent
    }
    return any(
        not set(lines.split("\n")).issubset(stored.get(meter, ()))
        for meter, lines in recent.items()
    )


def _rated(
    session: Session,
    rating: Subscriptions,
    org: UUID,
    period: Period,
    hours: dict[Period, dict[str, str]],
) -> Rated | None:
    """The period rated, `hours` with what it was rated from: the same before and after."""
    before = usage_sql.period_hours(session, org, period.start, period.end)
    for _ in range(TRIES):
        rated = rating.rated(session, org, period)
        hours[period] = usage_sql.period_hours(session, org, period.start, period.end)
        if hours[period] == before:
            return rated
        before = hours[period]
    raise Conflict(detail="usage changed while it was rated: try again")
