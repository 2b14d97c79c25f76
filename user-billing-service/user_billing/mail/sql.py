"""SQL of the outbox, in the role of the directory. `address` is a name that tells no address."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.db import rows
from user_billing.mail.rules import RETRY_AFTER


def letters_since(session: Session, address: str, since: datetime) -> int:
    """How many letters the address was given; nobody else gives it one in this transaction."""
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
        {"name": f"billing.mail:{address}"},
    )
    m = t.mail.c
    query = select(func.count()).where(m.address == address, m.created_at > since)
    return int(session.execute(query).scalar_one())


def waiting(session: Session, at_most: int) -> int:
    """How many letters wait, counted no further than `at_most`."""
    some = select(t.mail.c.id).where(t.mail.c.ended_at.is_(None)).limit(at_most).subquery()
    return int(session.execute(select(func.count()).select_from(some)).scalar_one())


def add(session: Session, mail_id: UUID, address: str, sealed: bytes | None, now: datetime) -> None:
    """The letter waits. sealed None: there is none to send, and it has ended."""
    ended_at = now if sealed is None else None
    session.execute(
        insert(t.mail).values(
            id=mail_id, address=address, sealed=sealed, created_at=now, next_at=now, attempts=0,
            ended_at=ended_at,
        )
    )  # fmt: skip


def claim(session: Session, now: datetime) -> Row[Any] | None:
    """The letter that is due longest (id, sealed, attempts); it is due again only later.

    So one that is not answered for, because the process was killed, is tried again.
    """
    m = t.mail.c
    due = (
        select(m.id)
        .where(m.ended_at.is_(None), m.next_at <= now)
        .order_by(m.next_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    attempt = update(t.mail).where(m.id == due).values(attempts=m.attempts + 1, next_at=now)
    row = session.execute(attempt.returning(m.id, m.sealed, m.attempts)).one_or_none()
    if row is not None:
        pause = RETRY_AFTER[min(row.attempts, len(RETRY_AFTER)) - 1]
        session.execute(update(t.mail).where(m.id == row.id).values(next_at=now + pause))
    return row


def end(session: Session, mail_id: UUID, now: datetime, *, error: str | None) -> None:
    """The letter is sent, or given up; what it said is gone."""
    rows.change(session, t.mail, {"id": mail_id}, ended_at=now, sealed=None, error=error)
