"""Documents over HTTP: an organisation reads its own, the operator makes them."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response, status

from user_billing import access
from user_billing.api.bodies import Instant
from user_billing.api.deps import AdminCaller, BillingReader, Operator, ServicesDep
from user_billing.db.rows import next_page
from user_billing.idempotency.http import RequiredKey
from user_billing.invoices import payload, views
from user_billing.invoices.rules import State
from user_billing.invoices.service import PAGE_MAX, Document
from user_billing.model import Actor
from user_billing.services import Services

router = APIRouter(prefix="/api/v1", tags=["invoices"])
PDF = "application/pdf"


def _pages(body: bytes) -> Response:
    headers = {"Content-Disposition": "inline", "X-Content-Type-Options": "nosniff"}
    return Response(body, media_type=PDF, headers=headers)


@dataclass(frozen=True, slots=True)
class Page:
    """Which invoices: those before the one with that id, in that state, newest first."""

    before: UUID | None = None
    state: State | None = None
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100

    def view(self, services: Services, org: UUID | None) -> views.InvoicesView:
        """The page; org None: of all organisations."""
        rows = services.invoices.page(org, **asdict(self))
        page = {"invoices": map(views.numbered, rows), "next": next_page(rows, self.limit)}
        return views.InvoicesView.of(page)


@dataclass(frozen=True, slots=True)
class StatementOf:
    """The range [start, end) of a statement."""

    start: Instant
    end: Instant
    as_pdf: bool = False

    def answer(self, document: dict[str, Any]) -> Response | dict[str, Any]:
        """The document, or its pages."""
        return _pages(payload.pages(document)) if self.as_pdf else document


PageOf = Annotated[Page, Depends()]
Statement = Annotated[StatementOf, Depends()]


# An organisation's own


@router.get("/billing-details")
def read_details(caller: BillingReader, services: ServicesDep) -> views.BillingDetailsView:
    """Whom documents name."""
    return views.BillingDetailsView.of(services.sellers.customer(caller.tenant) or {})


@router.put("/billing-details")
def put_details(
    body: views.BillingDetailsBody, caller: AdminCaller, services: ServicesDep
) -> views.BillingDetailsView:
    """The next documents name these facts; those there are stay as they are."""
    access.require_fresh(caller, services.clock.now())
    row = services.sellers.put_customer(caller.tenant, body.model_dump(), caller.actor)
    return views.BillingDetailsView.of(row)


@router.get("/invoices")
def list_invoices(caller: BillingReader, services: ServicesDep, page: PageOf) -> views.InvoicesView:
    """Invoices before the one with that id, newest first."""
    return page.view(services, caller.tenant)


@router.get("/invoices/statement", response_model=None)
def read_statement(
    caller: BillingReader, services: ServicesDep, of: Statement
) -> Response | dict[str, Any]:
    """What was used in [start, end): a statement, not an invoice."""
    return of.answer(services.invoices.statement(caller.tenant, of.start, of.end))


@router.get("/teams/{team_id}/statement", response_model=None)
def read_team_statement(
    team_id: UUID, caller: BillingReader, services: ServicesDep, of: Statement
) -> Response | dict[str, Any]:
    """What a team used in [start, end), and its shares of the costs that lie within."""
    return of.answer(services.costs.statement(caller.tenant, team_id, of.start, of.end))


@router.get("/invoices/{invoice_id}")
def read_invoice(
    invoice_id: UUID, caller: BillingReader, services: ServicesDep
) -> views.DocumentView:
    """The invoice with its lines, credit notes and payments."""
    return views.document(services.invoices.one(caller.tenant, invoice_id))


@router.get("/invoices/{invoice_id}/pdf", response_class=Response)
def read_pages(invoice_id: UUID, caller: BillingReader, services: ServicesDep) -> Response:
    """The pages of a final invoice: the same bytes for ever."""
    return _pages(services.invoices.pdf(caller.tenant, invoice_id))


@router.get("/invoices/{invoice_id}/lines/{n}")
def read_proof(
    invoice_id: UUID, n: int, caller: BillingReader, services: ServicesDep
) -> views.ProofView:
    """How the line's amount was computed, and from which hours."""
    return views.proof(services.invoices.proof(caller.tenant, invoice_id, n))


@router.get("/credit-notes/{note_id}/pdf", response_class=Response)
def read_note_pages(note_id: UUID, caller: BillingReader, services: ServicesDep) -> Response:
    """The pages of a credit note: the same bytes for ever."""
    return _pages(services.corrections.pdf(caller.tenant, note_id))


# The operator's


@router.get("/operator/seller")
def read_seller(_caller: Operator, services: ServicesDep) -> views.SellerView:
    """Who sells."""
    return views.SellerView.of(services.sellers.seller())


@router.put("/operator/seller")
def put_seller(body: views.SellerBody, caller: Operator, services: ServicesDep) -> views.SellerView:
    """Who sells; a change is to be confirmed before anything more is invoiced."""
    access.require_fresh(caller, services.clock.now())
    row = services.sellers.put_seller(body.model_dump(), caller.tenant, caller.actor)
    return views.SellerView.of(row)


@router.post("/operator/seller/confirm")
def confirm_seller(caller: Operator, services: ServicesDep) -> views.SellerView:
    """From now on there are invoices."""
    access.require_fresh(caller, services.clock.now())
    return views.SellerView.of(services.sellers.confirm(caller.tenant, caller.actor))


@router.get("/operator/tax-rates")
def list_rates(_caller: Operator, services: ServicesDep) -> views.TaxRatesView:
    """All of them."""
    return views.TaxRatesView.of({"tax_rates": services.sellers.rates()})


@router.put("/operator/tax-rates")
def put_rate(
    body: views.TaxRateBody, caller: Operator, services: ServicesDep
) -> views.TaxRatesView:
    """The rate of that country from that day on; the same day again replaces it."""
    access.require_fresh(caller, services.clock.now())
    rates = services.sellers.put_rate(body.rate(), caller.tenant, caller.actor)
    return views.TaxRatesView.of({"tax_rates": rates})


@router.put("/operator/organisations/{organisation_id}/tax-exemption")
def put_exemption(
    organisation_id: UUID, body: views.ExemptionBody, caller: Operator, services: ServicesDep
) -> views.BillingDetailsView:
    """Why the organisation pays no tax; an empty reason ends it."""
    access.require_fresh(caller, services.clock.now())
    row = services.sellers.exempt(organisation_id, body.reason, caller.actor)
    return views.BillingDetailsView.of(row)


@router.get("/operator/invoices")
def list_all(_caller: Operator, services: ServicesDep, page: PageOf) -> views.InvoicesView:
    """Invoices of all organisations before the one with that id, newest first."""
    return page.view(services, None)


@router.post("/operator/invoices", status_code=status.HTTP_201_CREATED)
def make_draft(
    body: views.DraftBody, caller: Operator, services: ServicesDep
) -> views.DocumentView | None:
    """The draft of a closed period, or what it has already; null when the period has no price."""
    org, start = body.organisation_id, body.period_start
    made = services.invoices.make_draft(org, start, caller.actor)
    return None if made is None else views.document(services.invoices.one(org, made))


@dataclass(frozen=True, slots=True)
class OnInvoice:
    """What the operator does to one organisation's invoice."""

    services: Services
    actor: Actor
    org: UUID
    id: UUID

    def whole(self) -> Document:
        """The invoice as it is now."""
        return self.services.invoices.one(self.org, self.id)

    def view(self) -> views.DocumentView:
        """The same, as an answer."""
        return views.document(self.whole())


def _read(invoice_id: UUID, caller: Operator, services: ServicesDep) -> OnInvoice:
    org = services.invoices.organisation_of(invoice_id)
    return OnInvoice(services, caller.actor, org, invoice_id)


def _change(on: Annotated[OnInvoice, Depends(_read)], caller: Operator) -> OnInvoice:
    access.require_fresh(caller, on.services.clock.now())
    return on


Reading = Annotated[OnInvoice, Depends(_read)]
Changing = Annotated[OnInvoice, Depends(_change)]
ONE = "/operator/invoices/{invoice_id}"


@router.get(ONE)
def read_any(on: Reading) -> views.DocumentView:
    """Any organisation's invoice."""
    return on.view()


@router.post(f"{ONE}/approve")
def approve(on: Changing) -> views.DocumentView:
    """The draft, rated again, may become final."""
    on.services.invoices.approve(on.org, on.id, on.actor)
    return on.view()


@router.post(f"{ONE}/finalise")
def finalise(on: Changing) -> views.DocumentView:
    """The invoice has a number and never changes; again it stays as it is."""
    on.services.invoices.finalise(on.org, on.id, on.actor)
    return on.view()


@router.post(f"{ONE}/credit-notes")
def credit(on: Changing, body: views.CreditBody, key: RequiredKey) -> views.DocumentView:
    """The invoice with a further credit note; sent again with the same key, with one."""
    lines = body.minor(on.whole().row.currency)
    on.services.corrections.credit(
        on.org, on.id, lines, key=f"key:{key}", reason=body.reason, actor=on.actor
    )
    return on.view()


@router.post(f"{ONE}/void")
def void(on: Changing, body: views.VoidBody) -> views.DocumentView:
    """A credit note over all that is left; the period may be drafted again."""
    on.services.corrections.credit(
        on.org, on.id, None, key="void", reason=body.reason, actor=on.actor
    )
    return on.view()


@router.post(f"{ONE}/payments")
def pay(on: Changing, body: views.PaymentBody) -> views.DocumentView:
    """A transfer is recorded; the same reference records once."""
    payment = body.payment(on.whole().row.currency)
    on.services.corrections.pay(on.org, on.id, payment, on.actor)
    return on.view()
