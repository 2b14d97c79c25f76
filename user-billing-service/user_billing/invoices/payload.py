"""What a document says, as JSON that is stored once with its SHA-256. Pure.

Amounts are text with the decimals of the currency, quantities plain decimal text, times RFC 3339.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from user_billing.invoices.rules import TAX_RULE, Position, Tax, Totals
from user_billing.money import rules as money
from user_billing.rating.model import Line, Period

SELLER: Final = ("legal_name", "address", "country", "tax_number", "vat_id", "bank_text")
NO_INVOICE: Final = "This is a usage statement, not an invoice: nothing is to be paid for it."
CUSTOMER: Final = ("legal_name", "address", "country", "vat_id", "email")


@dataclass(frozen=True, slots=True)
class Head:
    """What a document says above its lines. corrects: the number of the invoice it credits."""

    document: str
    number: str | None
    issued_at: datetime
    on: date
    period: Period
    currency: str | None
    seller: Mapping[str, str] | None
    customer: Mapping[str, str]
    due_days: int | None = None
    corrects: str | None = None


def plain(number: Decimal) -> str:
    """Digits without zeros at the end: 12.5, 300."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def instant(at: datetime) -> str:
    """RFC 3339, UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def sums(totals: Totals, credits_used: int, currency: str) -> dict[str, Any]:
    """What a document says below its lines."""

    def text(minor: int) -> str:
        return money.text(minor, currency)

    return {
        "subtotal": text(totals.subtotal),
        "taxes": [
            {"name": part.tax.name, "percent": plain(part.tax.percent), "net": text(part.net),
             "amount": text(part.amount)}
            for part in totals.taxes
        ],
        "tax": text(totals.tax),
        "credits": text(credits_used),
        "total": text(totals.gross - credits_used),
    }  # fmt: skip


def document(
    head: Head,
    lines: Sequence[dict[str, Any]],
    totals: Totals | None,
    credits_used: int = 0,
    notes: Iterable[str] = (),
) -> dict[str, Any]:
    """The payload. totals: None for a statement without prices."""
    due = None if head.due_days is None else head.on + timedelta(days=head.due_days)
    below: dict[str, Any] = {}
    printed = list(notes)
    if totals is not None:
        assert head.currency is not None, "prices have a currency"
        below = sums(totals, credits_used, head.currency)
        printed += [TAX_RULE, *dict.fromkeys(p.tax.note for p in totals.taxes if p.tax.note)]
    if head.seller and head.document == "invoice" and head.seller["bank_text"]:
        printed.append(head.seller["bank_text"])
    return {
        "document": head.document,
        "number": head.number,
        "date": head.on.isoformat(),
        "issued_at": instant(head.issued_at),
        "due": None if due is None else due.isoformat(),
        "corrects": head.corrects,
        "period": {"start": instant(head.period.start), "end": instant(head.period.end)},
        "currency": head.currency,
        "seller": None if head.seller is None else dict(head.seller),
        "customer": dict(head.customer),
        "lines": list(lines),
        **below,
        "notes": printed,
    }


def line(n: int, of: Line, tax: Tax | None, currency: str | None) -> dict[str, Any]:
    """One line as the payload has it."""
    taxed = "" if tax is None else f"{tax.name} {plain(tax.percent)} %"
    return {
        "n": n,
        "kind": of.kind.value,
        "description": of.description,
        "meter": of.meter,
        "start": instant(of.period.start),
        "end": instant(of.period.end),
        "quantity": plain(of.quantity),
        "unit": of.unit,
        "amount": None if currency is None else money.text(of.amount, currency),
        "tax": taxed,
    }


def lines(positions: Sequence[Position], currency: str) -> list[dict[str, Any]]:
    """All lines, numbered from 1."""
    return [line(n, at.line, at.tax, currency) for n, at in enumerate(positions, 1)]


def text(payload: Mapping[str, Any]) -> str:
    """The payload's only text: keys sorted, no blanks."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(payload_text: str) -> bytes:
    """Its SHA-256."""
    return hashlib.sha256(payload_text.encode()).digest()


def pages(document: Mapping[str, Any]) -> bytes:
    """The document as a PDF."""
    from user_billing.invoices import pdf  # noqa: PLC0415 - fpdf: 22 MB that idling can do without

    return pdf.render(document)
