"""SQL of documents inside one organisation; what is across all of them says so."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Row, Table, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.invoices import tables as t
from user_billing.invoices.rules import Key, Position, Rate, State, Tax
from user_billing.rating.model import Line, LineKind, Period

_P, _I, _L, _N = t.billing_period.c, t.invoice.c, t.invoice_line.c, t.credit_note.c

_NEXT_ORGANISATIONS = text("""
SELECT o.id FROM billing.organisation o
 WHERE o.id > :after AND (
   NOT EXISTS (SELECT FROM billing.billing_period p WHERE p.org_id = o.id AND p."end" > :now)
   OR EXISTS (SELECT FROM billing.billing_period p
               WHERE p.org_id = o.id AND p."end" <= :now AND NOT p.drafted))
 ORDER BY o.id LIMIT :limit
""")


def one(
    session: Session, table: Table, org: UUID, *, lock: bool = False, **where: Any
) -> Row[Any] | None:
    """The organisation's row with these values; locked until the end of the transaction."""
    statement = select(table).where(table.c.org_id == org).filter_by(**where)
    return session.execute(statement.with_for_update() if lock else statement).one_or_none()


def of_invoice(
    session: Session, table: Table, org: UUID, invoice_id: UUID, *order: str
) -> Sequence[Row[Any]]:
    """What belongs to the invoice, in that order."""
    where = (table.c.org_id == org, table.c.invoice_id == invoice_id)
    return session.execute(select(table).where(*where).order_by(*(table.c[o] for o in order))).all()


# Seller, tax rates, customers


def seller(session: Session) -> Row[Any] | None:
    """The installation's seller."""
    return session.execute(select(t.seller)).one_or_none()


def confirm_seller(session: Session, now: datetime) -> None:
    """The operator confirmed the seller."""
    session.execute(update(t.seller).values(confirmed_at=now))


def put(session: Session, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """The row with that key has these values."""
    statement = upsert(table).values(**key, **values)
    session.execute(
        statement.on_conflict_do_update(constraint=table.primary_key, set_=dict(values))
    )


def rates(session: Session) -> list[Rate]:
    """All tax rates, by country and date."""
    r = t.tax_rate.c
    columns = (r.country, r.valid_from, r.valid_to, r.name, r.percent)
    rows = session.execute(select(*columns).order_by(r.country, r.valid_from))
    return [Rate(*row) for row in rows]


def take_number(session: Session, series: str, on: date) -> tuple[int, date]:
    """The next number and its date, never before that of the number before; across organisations.

    The lock that all documents share: the last statement that may wait.
    """
    n = t.number_counter
    statement = upsert(n).values(series=series, last=1, last_on=on)
    number, date_ = session.execute(
        statement.on_conflict_do_update(
            constraint=n.primary_key,
            set_={"last": n.c.last + 1, "last_on": func.greatest(n.c.last_on, on)},
        ).returning(n.c.last, n.c.last_on)
    ).one()
    return number, date_


# Periods


def due_organisations(session: Session, after: UUID, now: datetime, limit: int) -> list[UUID]:
    """Organisations with a period to begin, close or draft, by id; across organisations."""
    given = {"after": after, "now": now, "limit": limit}
    return list(session.scalars(_NEXT_ORGANISATIONS, given))


def last_period(session: Session, org: UUID) -> Row[Any] | None:
    """The latest period that began."""
    p = t.billing_period
    order = _P.start.desc()
    return session.execute(select(p).where(_P.org_id == org).order_by(order).limit(1)).one_or_none()


def add_period(session: Session, org: UUID, period: Period) -> None:
    """The period is there, open unless it was."""
    row = {"org_id": org, "start": period.start, "end": period.end}
    more = {"state": "open", "missing": [], "drafted": False}
    session.execute(upsert(t.billing_period).values(**row, **more).on_conflict_do_nothing())


def ended_periods(session: Session, org: UUID, now: datetime) -> Sequence[Row[Any]]:
    """Ended ones that have no draft yet, oldest first, locked; not those of another replica."""
    p = t.billing_period
    where = (_P.org_id == org, _P.end <= now, ~_P.drafted)
    lock = select(p).where(*where).order_by(_P.start).with_for_update(skip_locked=True)
    return session.execute(lock).all()


def change_period(session: Session, org: UUID, start: datetime, **values: Any) -> None:
    """The period has these values."""
    where = (_P.org_id == org, _P.start == start)
    session.execute(update(t.billing_period).where(*where).values(**values))


def invoiced_periods(
    session: Session, org: UUID, before: datetime, limit: int
) -> Sequence[Row[Any]]:
    """(start, end, invoice_id, series, number, made_at, elsewhere) of the last periods with a
    standing invoice. elsewhere: whether other documents have lines of the period.
    """
    other = select(_L.n).where(
        _L.org_id == org, _L.of_period == _P.start, _L.invoice_id != _P.invoice_id
    )
    elsewhere = other.correlate(t.billing_period).exists().label("elsewhere")
    made_at = _I.created_at.label("made_at")
    rows: Any = session.execute(
        select(_P.start, _P.end, _P.invoice_id, _I.series, _I.number, made_at, elsewhere)
        .join_from(t.billing_period, t.invoice, (_I.org_id == _P.org_id) & (_I.id == _P.invoice_id))
        .where(_P.org_id == org, _P.start < before, _I.state == State.FINAL, ~_voided(org))
        .order_by(_P.start.desc())
        .limit(limit)
    ).all()
    return list(rows)


def invoiced_until(session: Session, org: UUID) -> datetime | None:
    """The end of the last period with a standing invoice; None without one."""
    rows = invoiced_periods(session, org, datetime.max.replace(tzinfo=UTC), 1)
    return rows[0].end if rows else None


def voided_invoice(session: Session, org: UUID, start: datetime) -> Row[Any] | None:
    """(id, series, number) of the latest voided invoice of the period that begins then."""
    row: Any = session.execute(
        select(_I.id, _I.series, _I.number)
        .where(_I.org_id == org, _I.period_start == start, _voided(org))
        .order_by(_I.created_at.desc())
        .limit(1)
    ).one_or_none()
    return cast("Row[Any] | None", row)


def _voided(org: UUID) -> Any:
    """Of the invoice of the surrounding statement."""
    of = select(_N.id).where(_N.org_id == org, _N.invoice_id == _I.id, _N.voids)
    return of.correlate(t.invoice).exists()


# Invoices


def add(session: Session, table: Table, org: UUID, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows are there."""
    if rows:
        session.execute(insert(table), [{"org_id": org, **row} for row in rows])


def organisation_of(session: Session, invoice_id: UUID) -> UUID | None:
    """Whose invoice it is; across organisations."""
    return session.scalar(select(_I.org_id).where(_I.id == invoice_id))


def page(
    session: Session, org: UUID | None, before: UUID | None, state: State | None, limit: int
) -> Sequence[Row[Any]]:
    """Invoices with an id below `before`, newest first; org None: across organisations."""
    names = ("org_id", "id", "period_start", "period_end", "state", "currency", "subtotal", "tax",
             "credits", "total", "created_at", "series", "number", "issued_on")  # fmt: skip
    statement = select(*(_I[name] for name in names)).order_by(_I.id.desc()).limit(limit)
    if org is not None:
        statement = statement.where(_I.org_id == org)
    if before is not None:
        statement = statement.where(_I.id < before)
    if state is not None:
        statement = statement.where(_I.state == state)
    return session.execute(statement).all()


def change_invoice(session: Session, org: UUID, invoice_id: UUID, **values: Any) -> None:
    """The draft has these values."""
    where = (_I.org_id == org, _I.id == invoice_id)
    session.execute(update(t.invoice).where(*where).values(**values))


def put_positions(
    session: Session, org: UUID, invoice_id: UUID, positions: Sequence[Position]
) -> None:
    """The draft has these lines and no others."""
    for table in (t.invoice_line, t.invoice_hours):
        session.execute(
            delete(table).where(table.c.org_id == org, table.c.invoice_id == invoice_id)
        )
    rows = [
        {
            "invoice_id": invoice_id, "n": n, "kind": at.line.kind.value,
            "description": at.line.description, "meter": at.line.meter,
            "start": at.line.period.start, "end": at.line.period.end,
            "quantity": at.line.quantity, "unit": at.line.unit, "amount": at.line.amount,
            "derivation": dict(at.line.derivation), "tax_name": at.tax.name,
            "tax_percent": at.tax.percent, "tax_note": at.tax.note, "of_period": at.of_period,
            "charges": at.key.kind.value, "adjusts": at.adjusts,
        }
        for n, at in enumerate(positions, 1)
    ]  # fmt: skip
    add(session, t.invoice_line, org, rows)


def positions(session: Session, org: UUID, invoice_id: UUID) -> list[Position]:
    """The invoice's lines in order."""
    return [_position(row) for row in of_invoice(session, t.invoice_line, org, invoice_id, "n")]


def _position(row: Row[Any]) -> Position:
    period = Period(row.start, row.end)
    line = Line(
        LineKind(row.kind), row.description, row.meter, period, row.quantity, row.unit,
        row.amount, row.derivation,
    )  # fmt: skip
    tax = Tax(row.tax_name, row.tax_percent, row.tax_note)
    key = Key(LineKind(row.charges), row.meter, period)
    return Position(line, tax, row.of_period, key, row.adjusts)


def billed(session: Session, org: UUID, of_period: datetime, but: UUID | None) -> dict[Key, int]:
    """What all documents but one charge of a billing period; voided ones charge nothing."""
    rows = session.execute(
        select(_L.charges, _L.meter, _L.start, _L.end, func.sum(_L.amount))
        .join_from(t.invoice_line, t.invoice, (_I.org_id == _L.org_id) & (_I.id == _L.invoice_id))
        .where(_L.org_id == org, _L.of_period == of_period, ~_voided(org))
        .where(_L.invoice_id.is_distinct_from(but))
        .group_by(_L.charges, _L.meter, _L.start, _L.end)
        .order_by(_L.charges, _L.meter, _L.start)
    )
    return {
        Key(LineKind(charges), meter, Period(start, end)): int(amount)
        for charges, meter, start, end, amount in rows
    }


# What an invoice was made of


def add_hours(
    session: Session, org: UUID, invoice_id: UUID, period: Period, hours: Mapping[str, str]
) -> None:
    """The hours by meter, as text whose SHA-256 is their digest, are stored with the draft."""
    rows = [
        {
            "invoice_id": invoice_id, "start": period.start, "end": period.end, "meter": meter,
            "digest": hashlib.sha256(lines.encode()).hexdigest(),
            "hours": pack(lines),
        }
        for meter, lines in hours.items()
    ]  # fmt: skip
    add(session, t.invoice_hours, org, rows)


def pack(hours_text: str) -> bytes:
    """The text as it is stored: some 20 bytes a row that is read by minute."""
    return zlib.compress(hours_text.encode(), 9)


def hours_text(packed: bytes) -> str:
    """The text that was stored."""
    return zlib.decompress(packed).decode()


def credit_notes(session: Session, org: UUID, invoice_id: UUID) -> Sequence[Row[Any]]:
    """Of the invoice, oldest first."""
    return of_invoice(session, t.credit_note, org, invoice_id, "id")


def payments(session: Session, org: UUID, invoice_id: UUID) -> Sequence[Row[Any]]:
    """Of the invoice, oldest first."""
    return of_invoice(session, t.payment, org, invoice_id, "recorded_at", "reference")


# Credit notes, pages


def credited(session: Session, org: UUID, invoice_id: UUID) -> dict[int, int]:
    """Line → minor units credited so far."""
    c = t.credit_note_line.c
    rows = session.execute(
        select(c.n, func.sum(c.amount))
        .where(c.org_id == org, c.invoice_id == invoice_id)
        .group_by(c.n)
    )
    return {n: int(amount) for n, amount in rows}


def credit_note_lines(session: Session, org: UUID, note_id: UUID) -> dict[int, int]:
    """Line of the invoice → minor units that the note credits."""
    c = t.credit_note_line.c
    where = (c.org_id == org, c.credit_note_id == note_id)
    return {row.n: row.amount for row in session.execute(select(c.n, c.amount).where(*where))}


def add_pdf(session: Session, org: UUID, document_id: UUID, sha256: bytes, body: bytes) -> None:
    """These are the document's pages, unless it has some."""
    row = {"org_id": org, "document_id": document_id, "sha256": sha256, "body": body}
    session.execute(upsert(t.document_pdf).values(**row).on_conflict_do_nothing())
