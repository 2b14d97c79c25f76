"""SQL of documents inside one organisation; what is across all of them says so."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Row, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import rows
from user_billing.invoices import hours
from user_billing.invoices import tables as t
from user_billing.invoices.rules import Key, Position, Rate, State, Tax
from user_billing.rating.model import Line, LineKind, Period

_P, _I, _L, _N = t.billing_period.c, t.invoice.c, t.invoice_line.c, t.credit_note.c
_OF_LINE = ("kind", "description", "meter", "quantity", "unit", "amount", "derivation")

_DUE_ORGANISATIONS = text("""
SELECT o.id FROM billing.organisation o
 WHERE NOT EXISTS (SELECT FROM billing.billing_period p WHERE p.org_id = o.id AND p."end" > :now)
   OR EXISTS (SELECT FROM billing.billing_period p
               WHERE p.org_id = o.id AND p."end" <= :now AND NOT p.drafted)
 ORDER BY o.id LIMIT :limit
""")


# Seller, tax rates, customers


def seller(session: Session) -> Row[Any] | None:
    """The installation's seller."""
    return session.execute(select(t.seller)).one_or_none()


def rates(session: Session) -> list[Rate]:
    """All tax rates, by country and date."""
    r = t.tax_rate.c
    return [
        Rate(*row) for row in session.execute(select(t.tax_rate).order_by(r.country, r.valid_from))
    ]


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


def due_organisations(session: Session, now: datetime, limit: int) -> list[UUID]:
    """Organisations with a period to begin, close or draft, by id; across organisations."""
    return list(session.scalars(_DUE_ORGANISATIONS, {"now": now, "limit": limit}))


def last_period(session: Session, org: UUID) -> Row[Any] | None:
    """The latest period that began."""
    latest = select(t.billing_period).where(_P.org_id == org).order_by(_P.start.desc()).limit(1)
    return session.execute(latest).one_or_none()


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


def invoiced_periods(
    session: Session, org: UUID, before: datetime, limit: int
) -> Sequence[Row[Any]]:
    """(start, end, id, series, number, made_at, elsewhere) of the last periods with a
    standing invoice. elsewhere: whether other documents have lines of the period.
    """
    other = select(_L.n).where(
        _L.org_id == org, _L.of_period == _P.start, _L.invoice_id != _P.invoice_id
    )
    elsewhere = other.correlate(t.billing_period).exists().label("elsewhere")
    made_at = _I.created_at.label("made_at")
    return session.execute(
        select(_P.start, _P.end, _I.id, _I.series, _I.number, made_at, elsewhere)
        .join_from(t.billing_period, t.invoice, (_I.org_id == _P.org_id) & (_I.id == _P.invoice_id))
        .where(_P.org_id == org, _P.start < before, _I.state == State.FINAL, ~_voided(org))
        .order_by(_P.start.desc())
        .limit(limit)
    ).all()


def invoiced_until(session: Session, org: UUID) -> datetime | None:
    """The end of the last period with a standing invoice; None without one."""
    last = invoiced_periods(session, org, datetime.max.replace(tzinfo=UTC), 1)
    return last[0].end if last else None


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


def organisation_of(session: Session, invoice_id: UUID) -> UUID | None:
    """Whose invoice it is; across organisations."""
    return session.scalar(select(_I.org_id).where(_I.id == invoice_id))


def put_positions(
    session: Session, org: UUID, invoice_id: UUID, positions: Sequence[Position]
) -> None:
    """The draft has these lines and no others."""
    for table in (t.invoice_line, t.invoice_hours):
        session.execute(
            delete(table).where(table.c.org_id == org, table.c.invoice_id == invoice_id)
        )
    lines = [
        {
            **{name: getattr(at.line, name) for name in _OF_LINE}, "invoice_id": invoice_id, "n": n,
            "start": at.line.period.start, "end": at.line.period.end, "tax_name": at.tax.name,
            "tax_percent": at.tax.percent, "tax_note": at.tax.note, "of_period": at.of_period,
            "charges": at.key.kind, "adjusts": at.adjusts,
        }
        for n, at in enumerate(positions, 1)
    ]  # fmt: skip
    rows.add(session, t.invoice_line, org, lines)


def positions(session: Session, org: UUID, invoice_id: UUID) -> list[Position]:
    """The invoice's lines in order."""
    lines = rows.many(session, t.invoice_line, org, "n", invoice_id=invoice_id)
    return [_position(row) for row in lines]


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
    charged = session.execute(
        select(_L.charges, _L.meter, _L.start, _L.end, func.sum(_L.amount))
        .join_from(t.invoice_line, t.invoice, (_I.org_id == _L.org_id) & (_I.id == _L.invoice_id))
        .where(_L.org_id == org, _L.of_period == of_period, ~_voided(org))
        .where(_L.invoice_id.is_distinct_from(but))
        .group_by(_L.charges, _L.meter, _L.start, _L.end)
        .order_by(_L.charges, _L.meter, _L.start)
    )
    return {
        Key(LineKind(charges), meter, Period(start, end)): int(amount)
        for charges, meter, start, end, amount in charged
    }


def add_hours(
    session: Session, org: UUID, invoice_id: UUID, period: Period, by_meter: Mapping[str, str]
) -> None:
    """The hours by meter, as text, are stored with the draft, and their digests."""
    stored = [
        {
            "invoice_id": invoice_id, "start": period.start, "end": period.end, "meter": meter,
            "digest": hours.digest(text), "hours": hours.pack(text),
        }
        for meter, text in by_meter.items()
    ]  # fmt: skip
    rows.add(session, t.invoice_hours, org, stored)


# Credit notes, pages


def credit_notes(session: Session, org: UUID, invoice_id: UUID) -> Sequence[Row[Any]]:
    """Of the invoice, oldest first."""
    return rows.many(session, t.credit_note, org, "id", invoice_id=invoice_id)


def credited(session: Session, org: UUID, invoice_id: UUID) -> dict[int, int]:
    """Line → minor units credited so far."""
    sums: Counter[int] = Counter()
    for row in rows.many(session, t.credit_note_line, org, invoice_id=invoice_id):
        sums[row.n] += row.amount
    return dict(sums)


def add_pdf(session: Session, org: UUID, document_id: UUID, sha256: bytes, body: bytes) -> None:
    """These are the document's pages, unless it has some."""
    row = {"org_id": org, "document_id": document_id, "sha256": sha256, "body": body}
    session.execute(upsert(t.document_pdf).values(**row).on_conflict_do_nothing())
