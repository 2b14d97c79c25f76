"""Invoices: drafted, approved, finalised, read.

Lock order: organisation, period, invoice, wallet, audit, number counter. The counter is shared by
all organisations, so nothing that can wait comes after it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import Row
from sqlalchemy.orm import Session

from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db import rows
from user_billing.db.session import BoundSession, Database, Room, within
from user_billing.errors import Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.invoices import drafts, payload, rules, sql
from user_billing.invoices import tables as t
from user_billing.invoices.drafts import Draft
from user_billing.invoices.payload import Head
from user_billing.invoices.rules import Position, State, Totals
from user_billing.invoices.sellers import NEEDED, confirmed
from user_billing.ledger.rules import Account, Entry
from user_billing.ledger.service import post
from user_billing.model import Actor
from user_billing.money import rules as money
from user_billing.organisations import sql as organisations_sql
from user_billing.rating.model import Line, LineKind, Period
from user_billing.subscriptions.service import Subscriptions
from user_billing.usage import sql as usage_sql
from user_billing.wallets.service import draw

log = structlog.get_logger()
PAGE_MAX: Final = 200
IN_PAGE: Final = (
    "org_id", "id", "period_start", "period_end", "state", "currency", "subtotal", "tax", "credits",
    "total", "created_at", "series", "number", "issued_on",
)  # fmt: skip
"""What a page has of each invoice: columns that the directory may read."""


@dataclass(frozen=True, slots=True)
class Document:
    """An invoice with all that belongs to it."""

    row: Row[Any]
    positions: Sequence[Position]
    credit_notes: Sequence[Row[Any]]
    payments: Sequence[Row[Any]]

    @property
    def open(self) -> int:
        """What is still to be paid when it is final; negative when it was credited after that."""
        credited = sum(note.total - note.to_wallet for note in self.credit_notes)
        return int(self.row.total - credited - sum(paid.amount for paid in self.payments))

    @property
    def status(self) -> str:
        """Draft, approved, open, paid or void."""
        if self.row.state != State.FINAL:
            return str(self.row.state)
        if any(note.voids for note in self.credit_notes):
            return "void"
        return "open" if self.open > 0 else "paid"


@dataclass(frozen=True, slots=True)
class Proof:
    """What line `n` was made of: its hours as stored with the invoice, by meter."""

    n: int
    position: Position
    currency: str
    hours: Sequence[Row[Any]]


def require(session: Session, org: UUID, invoice_id: UUID, *, lock: bool = False) -> Row[Any]:
    """The invoice. Raises NotFound."""
    row = rows.one(session, t.invoice, org, lock=lock, id=invoice_id)
    if row is None:
        raise NotFound(invoice=invoice_id)
    return row


def read(session: Session, org: UUID, invoice_id: UUID, *, lock: bool = False) -> Document:
    """The invoice with its lines, credit notes and payments. Raises NotFound."""
    return Document(
        require(session, org, invoice_id, lock=lock),
        sql.positions(session, org, invoice_id),
        sql.credit_notes(session, org, invoice_id),
        rows.many(session, t.payment, org, "recorded_at", "reference", invoice_id=invoice_id),
    )


def post_owed(
    session: Session, row: Row[Any], *, key: str, sums: Totals, sign: int, now: datetime
) -> None:
    """The ledger has what the organisation owes of it (sign 1), or does not owe any more (-1)."""
    accounts = {
        Account.RECEIVABLE: sums.gross, Account.REVENUE: -sums.subtotal, Account.TAX: -sums.tax,
    }  # fmt: skip
    entries = [Entry(a, row.currency, sign * minor) for a, minor in accounts.items() if minor]
    kind, of = key.partition(":")[0], str(row.id)
    if entries:
        post(session, row.org_id, key=key, kind=kind, now=now, reference=of, entries=entries)


def issue(
    session: Session, series: str, head: Head, *, lines: Sequence[dict[str, Any]], sums: Totals,
    used: int = 0, notes: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """The columns of a document that now has its number; what may wait was done before."""
    number, on = sql.take_number(session, series, head.on)
    named = replace(head, number=rules.number_text(series, number), on=on)
    body = payload.text(payload.document(named, lines, sums, used, notes))
    log.info("document_issued", number=named.number)
    return {"series": series, "number": number, "issued_on": on, "payload": body,
            "sha256": payload.digest(body)}  # fmt: skip


def head_of(
    kind: str, row: Row[Any], seller: Row[Any], customer: dict[str, str], now: datetime, **more: Any
) -> Head:
    """What a document of that invoice says above its lines; `more`: fields of this kind alone."""
    facts = {name: getattr(seller, name) for name in payload.SELLER}
    of = Period(row.period_start, row.period_end)
    return Head(kind, None, now, now.date(), of, row.currency, facts, customer, **more)


class Invoices(Room):
    """The invoices of all organisations. rating: what periods are, and cost."""

    def __init__(self, database: Database, clock: Clock, rating: Subscriptions) -> None:
        super().__init__(database, clock)
        self.rating = rating

    def organisation_of(self, invoice_id: UUID) -> UUID:
        """Whose invoice it is. Raises NotFound."""
        with self._database.directory() as session:
            org = sql.organisation_of(session, invoice_id)
        if org is None:
            raise NotFound(invoice=invoice_id)
        return org

    def make_draft(self, org: UUID, start: datetime, actor: Actor) -> UUID | None:
        """The draft, or the invoice that the period has already; None when it has no price.

        Raises NotFound without such a period, Conflict while it is open or the seller not
        confirmed. A period whose invoice was voided gets a new draft.
        """
        now = self._clock.now()
        with self._database.organisation(org) as session:
            organisations_sql.lock(session, org)  # two drafts would both charge what is missing
            seller = confirmed(session)
            period = rows.one(session, t.billing_period, org, lock=True, start=start)
            if period is None:
                raise NotFound(period=payload.instant(start))
            if period.state != "closed":
                raise Conflict(detail="the period is not closed", ends=payload.instant(period.end))
            if period.invoice_id is not None and not _is_void(session, org, period.invoice_id):
                return UUID(str(period.invoice_id))
            of = Period(period.start, period.end)
            draft = drafts.build(session, self.rating, org, of, seller=seller, but=None)
            where = {"org_id": org, "start": start}
            if draft is None:
                rows.change(session, t.billing_period, where, drafted=True)
                return None
            invoice_id = new_id()
            row = {
                "id": invoice_id, "period_start": of.start, "period_end": of.end,
                "state": State.DRAFT, "created_at": now, **draft.amounts(),
            }  # fmt: skip
            rows.add(session, t.invoice, org, [row])
            _put(session, org, invoice_id, draft)
            rows.change(session, t.billing_period, where, drafted=True, invoice_id=invoice_id)
            audit.record(
                session, org, actor, "invoice.drafted", f"invoice:{invoice_id}", now=now,
                total=money.text(row["total"], draft.currency), currency=draft.currency,
            )  # fmt: skip
            if draft.not_charged:
                audit.record(
                    session, org, actor, "usage.not_charged", f"invoice:{invoice_id}", now=now,
                    late_usage_of=draft.not_charged, why=f"it is not in {draft.currency}",
                )  # fmt: skip
        return invoice_id

    def approve(self, org: UUID, invoice_id: UUID, actor: Actor) -> None:
        """The draft says what usage costs now, and may become final. Raises NotFound, Conflict."""
        with self._database.organisation(org) as session:
            organisations_sql.lock(session, org)
            seller = confirmed(session)
            row = require(session, org, invoice_id, lock=True)
            if row.state == State.FINAL:
                raise Conflict(detail="the invoice is final", invoice=invoice_id)
            row = self._rebuild(session, row, seller)
            _change(session, row, state=State.APPROVED)
            audit.record(
                session, org, actor, "invoice.approved", f"invoice:{invoice_id}",
                now=self._clock.now(), total=money.text(row.total, row.currency),
            )  # fmt: skip

    def _rebuild(self, session: Session, row: Row[Any], seller: Row[Any]) -> Row[Any]:
        org, of = row.org_id, Period(row.period_start, row.period_end)
        draft = drafts.build(session, self.rating, org, of, seller=seller, but=row.id)
        if draft is None:
            raise Conflict(detail="the period has no price any more", invoice=row.id)
        _put(session, org, row.id, draft)
        _change(session, row, **draft.amounts())
        return require(session, org, row.id)

    def finalise(self, org: UUID, invoice_id: UUID, actor: Actor) -> None:
        """The invoice has its number and never changes; a final one stays as it is.

        Raises NotFound, Conflict: not approved (unless the seller finalises by itself), no seller
        confirmed, no billing details.
        """
        now = self._clock.now()
        with self._database.directory() as session:
            with within(session, org):
                organisations_sql.lock(session, org)
                seller = confirmed(session)
                row = require(session, org, invoice_id, lock=True)
                if row.state == State.FINAL:
                    return
                if row.state == State.DRAFT:
                    if not seller.automatic:
                        raise Conflict(detail="the draft is not approved", invoice=invoice_id)
                    row = self._rebuild(session, row, seller)
                customer = _customer(session, org)
                positions = sql.positions(session, org, invoice_id)
                sums = rules.totals_of(positions)
                assert (sums.subtotal, sums.tax) == (row.subtotal, row.tax), "lines are the row's"
                post_owed(session, row, key=f"invoice:{row.id}", sums=sums, sign=1, now=now)
                used = draw(session, org, key=str(invoice_id), currency=row.currency,
                            total=sums.gross, now=now)  # fmt: skip
                total = sums.gross - used
                audit.record(
                    session, org, actor, "invoice.finalised", f"invoice:{invoice_id}", now=now,
                    total=money.text(total, row.currency), currency=row.currency,
                )  # fmt: skip
            due_days = seller.payment_days
            head = head_of("invoice", row, seller, customer, now, due_days=due_days)
            lines = payload.lines(positions, row.currency)
            document = issue(session, seller.series, head, lines=lines, sums=sums, used=used)
            with within(session, org):
                _change(session, row, state=State.FINAL, credits=used, total=total, **document)

    def page(
        self, org: UUID | None, *, before: UUID | None, state: State | None, limit: int
    ) -> Sequence[Row[Any]]:
        """At most `limit` invoices with an id below `before`, newest first; None: of all."""
        scope = self._database.directory() if org is None else self._database.organisation(org)
        with scope as session:
            return rows.page(session, t.invoice, before, limit, *IN_PAGE, org_id=org, state=state)

    def one(self, org: UUID, invoice_id: UUID) -> Document:
        """The invoice with its lines, credit notes and payments. Raises NotFound."""
        with self._database.organisation(org) as session:
            return read(session, org, invoice_id)

    def proof(self, org: UUID, invoice_id: UUID, n: int) -> Proof:
        """What line `n` was made of. Raises NotFound."""
        with self._database.organisation(org) as session:
            currency = require(session, org, invoice_id).currency
            positions = sql.positions(session, org, invoice_id)
            if not 1 <= n <= len(positions):
                raise NotFound(invoice=invoice_id, line=n, lines=len(positions))
            hours = rows.many(
                session, t.invoice_hours, org, "start", "meter", invoice_id=invoice_id
            )
        at = positions[n - 1]
        return Proof(n, at, currency, [row for row in hours if rules.is_made_of(at, row)])

    def pdf(self, org: UUID, invoice_id: UUID) -> bytes:
        """The pages of a final invoice: the same bytes for ever. Raises NotFound, Conflict."""
        with self._database.organisation(org) as session:
            row = require(session, org, invoice_id)
        if row.payload is None:
            raise Conflict(detail="a draft has no pages", invoice=invoice_id)
        return pages(self._database, org, invoice_id, row.payload)

    def statement(self, org: UUID, start: datetime, end: datetime) -> dict[str, Any]:
        """What was used in [start, end) and, where there is a plan with prices, what it costs.

        The payload of a document without number or tax. Raises BadInput.
        """
        rules.check_statement(start, end)
        of, now = Period(start, end), self._clock.now()
        with self._database.organisation(org) as session:
            rated = self.rating.rated(session, org, of)
            used = usage_sql.period_usage(session, org, start, end)
            units = usage_sql.units(session, org)
            organisation = organisations_sql.organisation(session, org)
            details = rows.one(session, t.customer, org)
        assert organisation is not None, "its caller belongs to it"
        customer = {name: getattr(details, name, "") for name in payload.CUSTOMER}
        customer["legal_name"] = customer["legal_name"] or organisation.name
        lines = rated.lines if rated else [
            Line(LineKind.USAGE, code, code, of, usage.quantity, units[code], 0, {})
            for code, usage in used.items() if usage.hours
        ]  # fmt: skip
        currency = rated.currency if rated else None
        head = Head("statement", None, now, now.date(), of, currency, None, customer)
        sums = None
        if rated:
            sums = rules.totals((rules.Tax("before tax", Decimal(0)), at.amount) for at in lines)
        printed = [payload.line(n, at, None, currency) for n, at in enumerate(lines, 1)]
        return payload.document(head, printed, sums, notes=[payload.NO_INVOICE])


def pages(database: Database, org: UUID, document_id: UUID, body: str) -> bytes:
    """The document's pages, made at the first look and stored."""
    with database.organisation(org) as session:
        stored = rows.one(session, t.document_pdf, org, document_id=document_id)
    if stored is None:
        made = payload.pages(json.loads(body))
        with database.organisation(org) as session:
            sql.add_pdf(session, org, document_id, hashlib.sha256(made).digest(), made)
            stored = rows.one(session, t.document_pdf, org, document_id=document_id)
        assert stored is not None, "it was just stored, by this call or another"
    return bytes(stored.body)


def _put(session: Session, org: UUID, invoice_id: UUID, draft: Draft) -> None:
    sql.put_positions(session, org, invoice_id, draft.positions)
    for period, hours in draft.hours.items():
        sql.add_hours(session, org, invoice_id, period, hours)


def _change(session: Session, row: Row[Any], **values: Any) -> None:
    rows.change(session, t.invoice, {"org_id": row.org_id, "id": row.id}, **values)


def _is_void(session: Session, org: UUID, invoice_id: UUID) -> bool:
    return any(note.voids for note in sql.credit_notes(session, org, invoice_id))


def _customer(session: BoundSession, org: UUID) -> dict[str, str]:
    row = rows.one(session, t.customer, org)
    if row is None or not all(getattr(row, name) for name in NEEDED):
        raise Conflict(detail="the organisation has no billing details: nobody to invoice")
    return {name: getattr(row, name) for name in payload.CUSTOMER}
