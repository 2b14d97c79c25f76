"""What follows a final invoice: credit notes, voids, payments. The invoice itself never changes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from user_billing.audit import service as audit
from user_billing.db import rows
from user_billing.db.session import Room, within
from user_billing.errors import Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.invoices import payload, rules, sql
from user_billing.invoices import tables as t
from user_billing.invoices.rules import State
from user_billing.invoices.sellers import confirmed
from user_billing.invoices.service import Document, head_of, issue, pages, post_owed, read
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


class Corrections(Room):
    """Credit notes and payments of all organisations."""

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
                whole = _final(session, org, invoice_id)
                row, positions = whole.row, whole.positions
                for note in whole.credit_notes:
                    if note.key == key:
                        return _same(session, note, lines, reason)
                before = sql.credited(session, org, invoice_id)
                credit = dict(rules.remaining(positions, before) if lines is None else lines)
                rules.check_credits(positions, before, credit)
                sums, note_id = rules.credit_totals(positions, before, credit), new_id()
                post_owed(session, row, key=f"credit:{note_id}", sums=sums, sign=-1, now=now)
                returned = give_back(
                    session, org, key=str(note_id), of=str(invoice_id), currency=row.currency,
                    amount=max(0, sums.gross - max(0, whole.open)), now=now,
                )  # fmt: skip
                audit.record(
                    session, org, actor,
                    "invoice.voided" if voids else "invoice.credited",
                    f"invoice:{invoice_id}", now=now, reason=reason,
                    total=money.text(sums.gross, row.currency),
                )  # fmt: skip
            customer = json.loads(row.payload)["customer"]
            corrected = rules.number_text(row.series, row.number)
            head = head_of("credit_note", row, seller, customer, now, corrects=corrected)
            printed = [
                payload.line(n, replace(at.line, amount=amount), at.tax, row.currency)
                for n, amount in sorted(credit.items())
                for at in [positions[n - 1]]
            ]
            document = issue(
                session, seller.credit_series, head, lines=printed, sums=sums, notes=[reason]
            )
            with within(session, org):
                made = {
                    "id": note_id, "invoice_id": invoice_id, "key": key, "voids": voids,
                    "reason": reason, "subtotal": sums.subtotal, "tax": sums.tax,
                    "total": sums.gross, "to_wallet": returned, "created_at": now, **document,
                }  # fmt: skip
                return _add_note(session, org, made, credit)

    def pay(self, org: UUID, invoice_id: UUID, payment: Payment, actor: Actor) -> None:
        """The payment is recorded; the same reference records once.

        The one door for money that comes in: by hand now, a payment provider's later.
        Raises NotFound, Conflict for more than is open, or a reference with another amount.
        """
        now = self._clock.now()
        with self._database.organisation(org) as session:
            whole = _final(session, org, invoice_id)
            for before in whole.payments:
                if before.reference == payment.reference:
                    if (before.amount, before.paid_on) != (payment.amount, payment.paid_on):
                        raise Conflict(detail="another payment has this reference: it stands")
                    return
            paid, currency = sum(before.amount for before in whole.payments), whole.row.currency
            if not (0 < payment.amount <= whole.open or -paid <= payment.amount < 0):
                raise Conflict(
                    detail="not that much is open", open=money.text(whole.open, currency),
                    paid=money.text(paid, currency),
                )  # fmt: skip
            made = {"invoice_id": invoice_id, "recorded_at": now, **asdict(payment)}
            rows.add(session, t.payment, org, [made])
            moved = transfer(Account.CASH, Account.RECEIVABLE, payment.amount, currency)
            post(session, org, key=f"payment:{invoice_id}:{payment.reference}", kind="payment",
                 now=now, reference=str(invoice_id), entries=moved)  # fmt: skip
            audit.record(
                session, org, actor, "invoice.paid", f"invoice:{invoice_id}", now=now,
                amount=money.text(payment.amount, currency), reference=payment.reference,
            )  # fmt: skip

    def pdf(self, org: UUID, note_id: UUID) -> bytes:
        """The pages of a credit note: the same bytes for ever. Raises NotFound."""
        with self._database.organisation(org) as session:
            note = _note(session, org, note_id)
        return pages(self._database, org, note_id, note.payload)


def _final(session: Session, org: UUID, invoice_id: UUID) -> Document:
    whole = read(session, org, invoice_id, lock=True)
    if whole.row.state != State.FINAL:
        raise Conflict(detail="the invoice is not final yet", invoice=invoice_id)
    return whole


def _note(session: Session, org: UUID, note_id: UUID) -> Row[Any]:
    note = rows.one(session, t.credit_note, org, id=note_id)
    if note is None:
        raise NotFound(credit_note=note_id)
    return note


def _add_note(
    session: Session, org: UUID, note: dict[str, Any], credit: Mapping[int, int]
) -> Row[Any]:
    """The credit note with its lines, as it is stored now."""
    rows.add(session, t.credit_note, org, [note])
    of_note = {"credit_note_id": note["id"], "invoice_id": note["invoice_id"]}
    lines = [{**of_note, "n": n, "amount": amount} for n, amount in sorted(credit.items())]
    rows.add(session, t.credit_note_line, org, lines)
    return _note(session, org, note["id"])


def _same(
    session: Session, note: Row[Any], lines: Mapping[int, int] | None, reason: str
) -> Row[Any]:
    credited = rows.many(session, t.credit_note_line, note.org_id, credit_note_id=note.id)
    before = {row.n: row.amount for row in credited}
    if note.voids != (lines is None) or note.reason != reason or (lines or before) != before:
        raise Conflict(detail="another credit note has this Idempotency-Key", note=note.id)
    return note
