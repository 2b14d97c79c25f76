"""The bodies of requests and answers about documents; amounts and quantities are decimal text."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row

from user_billing.api.bodies import Body, Instant, Unicode
from user_billing.invoices import payload, rules, sql
from user_billing.invoices.corrections import Payment, open_amount
from user_billing.invoices.rules import Position, Rate
from user_billing.invoices.service import Document, Proof
from user_billing.money import rules as money

Short = Annotated[Unicode, Field(max_length=200)]
Text = Annotated[Unicode, Field(max_length=2_000)]
Amount = Annotated[Decimal, Field(max_digits=30, decimal_places=9)]
Percent = Annotated[Decimal, Field(ge=0, le=100, decimal_places=3)]
AMOUNTS = ("subtotal", "tax", "credits", "total")


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


class SellerView(SellerBody):
    """Who sells; nothing is invoiced while confirmed_at is null."""

    model_config = ConfigDict(from_attributes=True, extra="ignore")
    confirmed_at: datetime | None


class TaxRateBody(Body):
    """A tax of a country; both days are included, valid_to null is without end."""

    model_config = ConfigDict(from_attributes=True)

    country: Short
    valid_from: date
    valid_to: date | None = None
    name: Annotated[Unicode, Field(min_length=1, max_length=40)]
    percent: Percent

    def rate(self) -> Rate:
        """As the rules take it."""
        return Rate(self.country, self.valid_from, self.valid_to, self.name, self.percent)


class TaxRatesView(BaseModel):
    """By country and date."""

    model_config = ConfigDict(from_attributes=True)
    tax_rates: list[TaxRateBody]


class BillingDetailsBody(Body):
    """Whom documents name."""

    legal_name: Annotated[Unicode, Field(min_length=1, max_length=200)]
    address: Annotated[Unicode, Field(min_length=1, max_length=2_000)]
    country: Short
    vat_id: Short = ""
    email: Short


class BillingDetailsView(BaseModel):
    """Whom documents name; empty texts before anybody said. exempt: the operator's reason."""

    model_config = ConfigDict(from_attributes=True)
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


class InvoiceView(BaseModel):
    """Without its lines. number and issued_on are null before it is final."""

    id: UUID
    organisation_id: UUID
    state: rules.State
    number: str | None
    period_start: datetime
    period_end: datetime
    issued_on: date | None
    created_at: datetime
    currency: str
    subtotal: str
    tax: str
    credits: str
    total: str

    @classmethod
    def facts(cls, row: Row[Any]) -> dict[str, Any]:
        """The fields of a row."""
        number = None if row.number is None else rules.number_text(row.series, row.number)
        amounts = {name: money.text(getattr(row, name), row.currency) for name in AMOUNTS}
        facts = {**row._asdict(), **amounts, "number": number, "organisation_id": row.org_id}
        return {name: facts[name] for name in InvoiceView.model_fields}


class InvoicesView(BaseModel):
    """Newest first. next: what `before` is for the next page, null at the end."""

    invoices: list[InvoiceView]
    next: UUID | None

    @classmethod
    def of(cls, rows: Sequence[Row[Any]], limit: int) -> Self:
        """As JSON tells it."""
        views = [InvoiceView(**InvoiceView.facts(row)) for row in rows]
        return cls(invoices=views, next=views[-1].id if len(views) == limit else None)


class LineView(BaseModel):
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

    @classmethod
    def of(cls, n: int, position: Position, currency: str) -> Self:
        """As JSON tells it."""
        facts = payload.line(n, position.line, position.tax, currency)
        return cls(**facts, adjusts=position.adjusts)


class CreditNoteView(BaseModel):
    """voids: it credits all that was left. to_wallet: what went back into prepaid credit."""

    id: UUID
    number: str
    issued_on: date
    voids: bool
    reason: str
    total: str
    to_wallet: str

    @classmethod
    def of(cls, row: Row[Any], currency: str) -> Self:
        """As JSON tells it."""
        facts = row._asdict()
        facts["number"] = rules.number_text(row.series, row.number)
        facts |= {n: money.text(facts[n], currency) for n in ("total", "to_wallet")}
        return cls(**{name: facts[name] for name in cls.model_fields})


class DocumentView(InvoiceView):
    """An invoice. status: draft, approved, open, paid or void; open: what is still to be paid;
    document: what it said when it became final, whose SHA-256 is `sha256`.
    """

    status: str
    open: str
    lines: list[LineView]
    credit_notes: list[CreditNoteView]
    payments: list[PaymentBody]
    sha256: str | None
    document: str | None

    @classmethod
    def of(cls, whole: Document) -> Self:
        """As JSON tells it."""
        row, currency = whole.row, whole.row.currency
        left = open_amount(row, whole.credit_notes, whole.payments)
        status = row.state
        if row.state == rules.State.FINAL:
            is_void = any(note.voids for note in whole.credit_notes)
            status = "void" if is_void else "open" if left > 0 else "paid"
        return cls(
            **InvoiceView.facts(row),
            status=status,
            open=money.text(left if row.payload else 0, currency),
            lines=[LineView.of(n, at, currency) for n, at in enumerate(whole.positions, 1)],
            credit_notes=[CreditNoteView.of(note, currency) for note in whole.credit_notes],
            payments=[
                PaymentBody(
                    amount=Decimal(money.text(paid.amount, currency)), paid_on=paid.paid_on,
                    reference=paid.reference,
                )
                for paid in whole.payments
            ],
            sha256=None if row.sha256 is None else row.sha256.hex(),
            document=row.payload,
        )  # fmt: skip


class HoursView(BaseModel):
    """The hourly rows that a meter's quantity was computed from, as they stood: a line each,
    `hour in s since the epoch, source, quantity, readings, numbers by minute, SHA-256 of distinct
    values`. digest: SHA-256 of the lines, joined by line feeds.
    """

    meter: str
    start: datetime
    end: datetime
    digest: str
    rows: list[str]

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """As JSON tells it."""
        rows = sql.hours_text(row.hours).split("\n")
        return cls(meter=row.meter, start=row.start, end=row.end, digest=row.digest, rows=rows)


class ProofView(BaseModel):
    """A line, how its amount was computed, and from which hours."""

    line: LineView
    derivation: dict[str, Any]
    hours: list[HoursView]

    @classmethod
    def of(cls, n: int, proof: Proof, currency: str) -> Self:
        """As JSON tells it."""
        return cls(
            line=LineView.of(n, proof.position, currency),
            derivation=dict(proof.position.line.derivation),
            hours=[HoursView.of(row) for row in proof.hours],
        )
