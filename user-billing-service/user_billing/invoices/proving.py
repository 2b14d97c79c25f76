"""Recomputes all that an invoice says from what is stored with it."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from user_billing.db import rows
from user_billing.db.session import Database
from user_billing.errors import Conflict
from user_billing.invoices import hours, payload, rules, sql
from user_billing.invoices import tables as t
from user_billing.invoices.rules import Position
from user_billing.invoices.service import read
from user_billing.ledger import sql as ledger_sql
from user_billing.ledger.rules import Account
from user_billing.meters.rules import BUILT_IN, Aggregation, of_period
from user_billing.money import rules as money
from user_billing.rating.model import LineKind
from user_billing.rating.rules import recompute


@dataclass(frozen=True, slots=True)
class Check:
    """What was compared, and whether it agrees; None: it cannot be recomputed from what is kept."""

    what: str
    agrees: bool | None


def prove(database: Database, org: UUID, invoice_id: UUID) -> Iterator[Check]:
    """Everything of a final invoice. Raises NotFound, Conflict for a draft."""
    with database.organisation(org) as session:
        whole = read(session, org, invoice_id)
        stored = rows.many(session, t.invoice_hours, org, "start", "meter", invoice_id=invoice_id)
        credited = sql.credited(session, org, invoice_id)
        posted = ledger_sql.amount_of(session, org, f"invoice:{invoice_id}", Account.RECEIVABLE)
        pages = rows.one(session, t.document_pdf, org, document_id=invoice_id)
    row, positions = whole.row, whole.positions
    if row.payload is None:
        raise Conflict(detail="a draft proves nothing yet", invoice=invoice_id)
    yield from _document(row, positions)
    for of_meter in stored:
        text = hours.unpack(of_meter.hours)
        what = f"{of_meter.meter}: {len(text.splitlines())} hourly rows have their digest"
        yield Check(what, hours.digest(text) == of_meter.digest)
    for n, position in enumerate(positions, 1):
        yield from _line(n, position, row.currency, stored)
    yield Check("the ledger has the whole amount", (posted or 0) == row.total + row.credits)
    if pages is not None:
        again = payload.pages(json.loads(row.payload))
        same = hashlib.sha256(pages.body).digest() == bytes(pages.sha256) and again == pages.body
        yield Check("the pages are those of the document", same)
    for note in whole.credit_notes:
        name = rules.number_text(note.series, note.number)
        yield Check(f"credit note {name} is as stored", _is_as_stored(note))
    within = all(abs(amount) <= abs(positions[n - 1].line.amount) for n, amount in credited.items())
    yield Check("credits are within their lines", within)


def _is_as_stored(row: Row[Any]) -> bool:
    return payload.digest(row.payload) == bytes(row.sha256)


def _document(row: Row[Any], positions: Sequence[Position]) -> Iterator[Check]:
    document = json.loads(row.payload)
    number = rules.number_text(row.series, row.number)
    yield Check(f"{number} has its SHA-256", _is_as_stored(row) and document["number"] == number)
    printed = payload.lines(positions, row.currency)
    yield Check(f"the document has the {len(positions)} stored lines", document["lines"] == printed)
    totals = rules.totals_of(positions)
    sums = payload.sums(totals, row.credits, row.currency)
    yield Check(
        "tax is once per rate on the sum of its lines, and subtotal + tax - credits = total",
        {name: document[name] for name in sums} == sums
        and (row.subtotal, row.tax) == (totals.subtotal, totals.tax)
        and row.total == totals.gross - row.credits,
    )


def _line(n: int, position: Position, currency: str, stored: Any) -> Iterator[Check]:
    line = position.line
    meter = {meter.code: meter for meter in BUILT_IN}.get(line.meter or "")
    mine = [of for of in stored if rules.is_made_of(position, of)]
    if line.kind is LineKind.USAGE and meter is not None and len(mine) == 1:
        text = hours.within(hours.unpack(mine[0].hours), line.period)
        start, end = line.period.start, line.period.end
        by_rule = Decimal(0)
        if text:
            by_rule = of_period(meter, hours.totals(meter.counted_as, text), start, end)
        read = line.derivation.get("hours_digest", hours.digest(text))
        agrees = line.quantity == by_rule and read == hours.digest(text)
        can = meter.aggregation is not Aggregation.UNIQUE
        what = f"line {n}: {payload.plain(line.quantity)} {line.unit} from the hours"
        yield Check(what, agrees if can else None)
    amount = money.text(line.amount, currency)
    if line.kind is LineKind.ADJUSTMENT:
        rated, billed = (int(str(line.derivation[name])) for name in ("rated", "billed"))
        missing = rated - billed
        agrees = line.amount == missing or missing < line.amount < 0
        yield Check(f"line {n}: {amount} of what was missing to the period", agrees)
        return
    again = recompute(line.derivation)
    is_right = line.amount == again or again < line.amount < 0
    yield Check(f"line {n}: {amount} by its derivation", is_right)
