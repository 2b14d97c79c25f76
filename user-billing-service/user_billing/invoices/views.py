"""The bodies of requests and answers about documents; amounts and quantities are decimal text."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field
from sqlalchemy import Row

from user_billing.api.bodies import Body, Instant, Unicode
from user_billing.invoices import hours, payload, rules
from user_billing.invoices.corrections import Payment
from user_billing.invoices.rules import Position, Rate
from user_billing.invoices.service import Document, Proof
from user_billing.money import rules as money
from user_billing.money.views import Minor, View

Short = Annotated[Unicode, Field(max_length=200)]
Text = Annotated[Unicode, Field(max_length=2_000)]
Amount = Annotated[Decimal, Field(max_digits=30, decimal_places=9)]
Percent = Annotated[Decimal, Field(ge=0, le=100, decimal_places=3)]


class SellerBody(Body):
    """Who sells. automatic: drafts become final without approval."""

    legal_name: Short
    address: Text
    country: Short
    tax_number: Short = ""
    vat_id: Short = ""
    bank_text: Text = ""
    currency: Short
    series: Short = "INV"
    credit_series: Short = "CN"
    payment_days: Annotated[int, Field(ge=0, le=365)] = 14
    automatic: bool = False


class SellerView(SellerBody, View):
    """Who sells; nothing is invoiced while confirmed_at is null."""

    model_config = ConfigDict(extra="ignore")
    confirmed_at: datetime | None


class TaxRateBody(Body, View):
    """A tax of a country; both days are included, valid_to null is without end."""

    country: Short
    valid_from: date
    valid_to: date | None = None
    name: Annotated[Unicode, Field(min_length=1, max_length=40)]
    percent: Percent

    def rate(self) -> Rate:
        """As the rules take it."""
        return Rate(**dict(self))


class TaxRatesView(View):
    """By country and date."""

    tax_rates: list[TaxRateBody]


class BillingDetailsBody(Body):
    """Whom documents name."""

    legal_name: Annotated[Unicode, Field(min_length=1, max_length=200)]
    address: Annotated[Unicode, Field(min_length=1, max_length=2_000)]
    country: Short
    vat_id: Short = ""
    email: Short


class BillingDetailsView(View):
    """Whom documents name; empty texts before anybody said. exempt: the operator's reason."""

    legal_name: str = ""
    address: str = ""
    country: str = ""
    vat_id: str = ""
    email: str = ""
    exempt: str = ""


class ExemptionBody(Body):
    """Why no tax is taken of an organisation, as documents print it; empty ends it."""

    reason: Short


class DraftBody(Body):
    """The closed period to draft an invoice for."""

    organisation_id: UUID
    period_start: Instant


class CreditLineBody(Body):
    """n: the invoice's line; amount: before tax."""

    n: Annotated[int, Field(ge=1, lt=2**31)]
    amount: Amount


class CreditBody(Body):
    """What to credit of each line."""

    reason: Annotated[Unicode, Field(min_length=1, max_length=500)]
    lines: Annotated[list[CreditLineBody], Field(min_length=1, max_length=1_000)]

    def minor(self, currency: str) -> dict[int, int]:
        """Line → minor units. Raises BadInput for decimals the currency does not have."""
        return {line.n: money.parse(line.amount, currency) for line in self.lines}


class VoidBody(Body):
    """Why the invoice is void."""

    reason: Annotated[Unicode, Field(min_length=1, max_length=500)]


class PaymentBody(Body):
    """A transfer; negative amounts went back."""

    amount: Amount
    paid_on: date
    reference: Annotated[Unicode, Field(min_length=1, max_length=200)]

    def payment(self, currency: str) -> Payment:
        """As the service takes it. Raises BadInput."""
        return Payment(money.parse(self.amount, currency), self.paid_on, self.reference)


class InvoiceView(View):
    """Without its lines. number and issued_on are null before it is final."""

    id: UUID
    organisation_id: UUID = Field(validation_alias="org_id")
    state: rules.State
    number: str | None
    period_start: datetime
    period_end: datetime
    issued_on: date | None
    created_at: datetime
    currency: str
    subtotal: Minor
    tax: Minor
    credits: Minor
    total: Minor


def numbered(row: Row[Any]) -> dict[str, Any]:
    """The row of a document, whose number is as it is printed."""
    number = None if row.number is None else rules.number_text(row.series, row.number)
    return {**row._asdict(), "number": number}


class InvoicesView(View):
    """Newest first. next: what `before` is for the next page, null at the end."""

    invoices: list[InvoiceView]
    next: UUID | None


class LineView(View):
    """One line. adjusts: the invoice whose period it corrects."""

    n: int
    kind: str
    description: str
    meter: str | None
    start: str
    end: str
    quantity: str
    unit: str
    amount: str
    tax: str
    adjusts: UUID | None


def line(n: int, at: Position, currency: str) -> LineView:
    """Line `n`, as the document has it."""
    return LineView(**payload.line(n, at.line, at.tax, currency), adjusts=at.adjusts)


class CreditNoteView(View):
    """voids: it credits all that was left. to_wallet: what went back into prepaid credit."""

    id: UUID
    number: str
    issued_on: date
    voids: bool
    reason: str
    total: Minor
    to_wallet: Minor


class PaymentView(View):
    """A transfer; negative amounts went back."""

    amount: Minor
    paid_on: date
    reference: str


class DocumentView(InvoiceView):
    """An invoice. status: draft, approved, open, paid or void; open: what is still to be paid;
    document: what it said when it became final, whose SHA-256 is `sha256`.
    """

    status: str
    open: Minor
    lines: list[LineView]
    credit_notes: list[CreditNoteView]
    payments: list[PaymentView]
    sha256: str | None
    document: str | None = Field(validation_alias="payload")


def document(whole: Document) -> DocumentView:
    """The invoice with all that belongs to it."""
    row, currency = whole.row, whole.row.currency
    facts = {
        **numbered(row),
        "status": whole.status,
        "open": whole.open if row.payload else 0,
        "lines": [line(n, at, currency) for n, at in enumerate(whole.positions, 1)],
        "credit_notes": [numbered(note) for note in whole.credit_notes],
        "payments": whole.payments,
        "sha256": row.sha256 and row.sha256.hex(),
    }
    return DocumentView.of(facts, currency)


def _rows(packed: bytes) -> list[str]:
    return hours.unpack(packed).split("\n")


class HoursView(View):
    """The hourly rows that a meter's quantity was computed from, as they stood: a line each,
    `hour in s since the epoch, source, quantity, readings, numbers by minute, SHA-256 of distinct
    values`. digest: SHA-256 of the lines, joined by line feeds.
    """

    meter: str
    start: datetime
    end: datetime
    digest: str
    rows: Annotated[list[str], BeforeValidator(_rows)] = Field(validation_alias="hours")


class ProofView(View):
    """A line, how its amount was computed, and from which hours."""

    line: LineView
    derivation: dict[str, Any]
    hours: list[HoursView]


def proof(of: Proof) -> ProofView:
    """What the line was made of."""
    at = of.position
    facts = {
        "line": line(of.n, at, of.currency), "derivation": at.line.derivation, "hours": of.hours,
    }  # fmt: skip
    return ProofView.of(facts)
