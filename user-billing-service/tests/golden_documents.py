"""The documents of tests/golden. `python tests/golden_documents.py` writes them anew, to be read
before they are committed.
"""

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pypdf

from user_billing.invoices import payload, pdf, rules
from user_billing.invoices.payload import Head
from user_billing.invoices.rules import Position, Tax
from user_billing.rating.model import Line, LineKind, Period

FOLDER = Path(__file__).parent / "golden"
MAY = Period(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))
APRIL = Period(datetime(2026, 4, 1, tzinfo=UTC), MAY.start)
SELLER = {
    "legal_name": "Seller GmbH", "address": "Hauptstraße 1\n10115 Berlin", "country": "DE",
    "tax_number": "12/345/67890", "vat_id": "DE136695976",
    "bank_text": "IBAN DE02 1203 0000 0000 2020 51",
}  # fmt: skip


def customer(name, country="DE", vat_id=""):
    return {
        "legal_name": name, "address": "Marktplatz 2", "country": country, "vat_id": vat_id,
        "email": "bills@example.org",
    }  # fmt: skip


def position(description, amount, tax, *, quantity="1", unit="", period=MAY, kind=LineKind.USAGE):
    line = Line(kind, description, "m", period, Decimal(quantity), unit, amount, {})
    return Position(line, tax, period.start, rules.key_of(line))


def made(kind, positions, currency, to, *, number, used=0, corrects=None):
    head = Head(
        kind, number, datetime(2026, 6, 2, 9, 30, tzinfo=UTC), date(2026, 6, 2), MAY, currency,
        SELLER, to, 14 if kind == "invoice" else None, corrects,
    )  # fmt: skip
    lines = payload.lines(positions, currency)
    return payload.document(head, lines, rules.totals_of(positions), used)


def documents():
    """Name → payload."""
    vat, old = Tax("VAT", Decimal(19)), Tax("VAT", Decimal(16))
    none = Tax("reverse charge", Decimal(0), "Reverse charge: the recipient owes the tax.")
    plan = position("Plan Team", 1900, vat, unit="month", kind=LineKind.PLAN)
    cents = [position(f"Small line {n}", 7, vat) for n in range(1, 10)]
    late = position(
        "Samples ingested: known after invoice INV-000001", 250, old, quantity="2500",
        unit="samples", period=APRIL, kind=LineKind.ADJUSTMENT,
    )  # fmt: skip
    many = [position(f"Line with a description that is long enough to wrap, number {n}", n, vat)
            for n in range(1, 61)]  # fmt: skip
    return {
        "tax_on_the_sum": made("invoice", cents, "EUR", customer("Buyer AG"), number="INV-000001"),
        "late_usage_and_credit": made(
            "invoice", [plan, late], "EUR", customer("Buyer AG"), number="INV-000002", used=1000
        ),
        "reverse_charge_yen": made(
            "invoice", [position("Samples", 19001, none)], "JPY",
            customer("Ελληνική Εταιρεία", "GR", "EL094259216"), number="INV-000003",
        ),
        "three_decimals": made(
            "invoice", [position("Samples", 1234567, vat, quantity="0.5")], "BHD",
            customer("Компания ประเทศไทย شركة " + "with a long name " * 12), number="INV-000004",
        ),
        "two_pages": made("invoice", many, "EUR", customer("Buyer AG"), number="INV-000005"),
        "credit_note": made(
            "credit_note", [plan], "EUR", customer("Buyer AG"), number="CN-000001",
            corrects="INV-000002",
        ),
    }  # fmt: skip


def words(pages):
    """The text of a PDF, a line each."""
    read = pypdf.PdfReader(io.BytesIO(pages)).pages
    text = "\n----\n".join(page.extract_text() for page in read)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


if __name__ == "__main__":
    for name, document in documents().items():
        (FOLDER / f"{name}.json").write_text(payload.text(document) + "\n")
        (FOLDER / f"{name}.txt").write_text(words(pdf.render(json.loads(payload.text(document)))))
