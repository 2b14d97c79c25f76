"""What follows a final invoice: credit notes, voids, payments. The invoice itself never changes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db.session import Database, within
from user_billing.errors import Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.invoices import payload, rules, sql
from user_billing.invoices import tables as t
from user_billing.invoices.rules import State
from user_billing.invoices.sellers import confirmed
from user_billing.invoices.service import head_of, issue, pages, post_owed, require
from user_billing.ledger.rules import Account, transfer
from user_billing.ledger.service import post
from user_billing.model import Actor
from user_billing.money import rules as money
from user_billing.wallets.service import give_back


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that came, or went back (negative), by a transfer with this reference."""

    amount: int
    paid_on: date
    reference: str


def open_amount(row: Row[Any], notes: Any, payments: Any) -> int:
    """What is still to be paid of a final invoice; negative when it was paid and then credited."""
    credited = sum(note.total - note.to_wallet for note in notes)
    return int(row.total - credited - sum(payment.amount for payment in payments))


class Corrections:
    """Credit notes and payments of all organisations."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def credit(
        self,
        org: UUID,
        invoice_id: UUID,
        lines: Mapping[int, int] | None,
        *,
        key: str,
        reason: str,
        actor: Actor,
    ) -> Row[Any]:
        """The credit note; the same key gives the same one, once.

        lines: line (from 1) → minor units before tax, None for all that is left: that voids the
        invoice. What the wallet had paid and nobody owes any more goes back into it.
        Raises NotFound, Conflict beyond what a line has left, or for a key of another note.
        """
        now, voids = self._clock.now(), lines is None
        with self._database.directory() as session:
            with within(session, org):
                seller = confirmed(session)
                row = _final(session, org, invoice_id)
                notes = sql.credit_notes(session, org, invoice_id)
                same = [note for note in notes if note.key == key]
                if same:
                    return _same(session, org, same[0], lines, reason)
                positions = sql.positions(session, org, invoice_id)
                before = sql.credited(session, org, invoice_id)
                credit = dict(rules.remaining(positions, before) if lines is None else lines)
                rules.check_credits(positions, before, credit)
                sums = rules.credit_totals(positions, before, credit)
                note_id, left = new_id(), open_amount(
                    row, notes, sql.payments(session, org, invoice_id)
                )  # fmt: skip
                post_owed(session, org, row, key=f"credit:{note_id}", sums=sums, sign=-1, now=now)
                returned = give_back(
                    session, org, key=str(note_id), of=str(invoice_id), currency=row.currency,
                    amount=max(0, sums.gross - max(0, left)), now=now,
                )  # fmt: skip
                audit.record(
                    session, org, actor,
                    "invoice.voided" if voids else "invoice.credited",
                    f"invoice:{invoice_id}", now=now, reason=reason,
                    total=money.text(sums.gross, row.currency),
                )  # fmt: skip
            customer = payload.customer_in(row.payload)
            corrected = rules.number_text(row.series, row.number)
            head = replace(head_of("credit_note", row, seller, customer, now), corrects=corrected)
            credited = sorted(credit.items())
            printed = [
                payload.line(n, replace(at.line, amount=amount), at.tax, row.currency)
                for n, amount in credited
                for at in [positions[n - 1]]
            ]
            document = issue(
                session, seller.credit_series, head, lines=printed, sums=sums, notes=[reason]
            )
            with within(session, org):
                note = {
                    "id": note_id, "invoice_id": invoice_id, "key": key, "voids": voids,
                    "reason": reason, "subtotal": sums.subtotal, "tax": sums.tax,
                    "total": sums.gross, "to_wallet": returned, "created_at": now, **document,
                }  # fmt: skip
                sql.add(session, t.credit_note, org, [note])
                rows = [
                    {"credit_note_id": note_id, "n": n, "invoice_id": invoice_id, "amount": amount}
                    for n, amount in credited
                ]
                sql.add(session, t.credit_note_line, org, rows)
                return _note(session, org, note_id)

    def pay(self, org: UUID, invoice_id: UUID, payment: Payment, actor: Actor) -> None:
        """The payment is recorded; the same reference records once.

        The one door for money that comes in: by hand now, a payment provider's later.
        Raises NotFound, Conflict for more than is open, or a reference with another amount.
        """
        now = self._clock.now()
        with self._database.organisation(org) as session:
            row = _final(session, org, invoice_id)
            payments = sql.payments(session, org, invoice_id)
            for before in payments:
                if before.reference == payment.reference:
                    if (before.amount, before.paid_on) != (payment.amount, payment.paid_on):
                        raise Conflict(detail="another payment has this reference: it stands")
                    return
            left = open_amount(row, sql.credit_notes(session, org, invoice_id), payments)
            paid = sum(before.amount for before in payments)
            if not (0 < payment.amount <= left or -paid <= payment.amount < 0):
                raise Conflict(
                    detail="not that much is open", open=money.text(left, row.currency),
                    paid=money.text(paid, row.currency),
                )  # fmt: skip
            made = {"invoice_id": invoice_id, "reference": payment.reference,
                    "amount": payment.amount, "paid_on": payment.paid_on,
                    "recorded_at": now}  # fmt: skip
            sql.add(session, t.payment, org, [made])
            moved = transfer(Account.CASH, Account.RECEIVABLE, payment.amount, row.currency)
            post(session, org, key=f"payment:{invoice_id}:{payment.reference}", kind="payment",
                 now=now, reference=str(invoice_id), entries=moved)  # fmt: skip
            audit.record(
                session, org, actor, "invoice.paid", f"invoice:{invoice_id}", now=now,
                amount=money.text(payment.amount, row.currency), reference=payment.reference,
            )  # fmt: skip

    def pdf(self, org: UUID, note_id: UUID) -> bytes:
        """The pages of a credit note: the same bytes for ever. Raises NotFound."""
        with self._database.organisation(org) as session:
            note = _note(session, org, note_id)
        return pages(self._database, org, note_id, note.payload)


def _final(session: Session, org: UUID, invoice_id: UUID) -> Row[Any]:
    row = require(session, org, invoice_id, lock=True)
    if row.state != State.FINAL:
        raise Conflict(detail="the invoice is not final yet", invoice=invoice_id)
    return row


def _note(session: Session, org: UUID, note_id: UUID) -> Row[Any]:
    note = sql.one(session, t.credit_note, org, id=note_id)
    if note is None:
        raise NotFound(credit_note=note_id)
    return note


def _same(
    session: Session, org: UUID, note: Row[Any], lines: Mapping[int, int] | None, reason: str
) -> Row[Any]:
    said = sql.credit_note_lines(session, org, note.id)
    if note.voids != (lines is None) or note.reason != reason or (lines or said) != said:
        raise Conflict(detail="another credit note has this Idempotency-Key", note=note.id)
    return note
