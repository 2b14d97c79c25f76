"""SQL of the installation's log of revocations, in the role of the directory."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, insert, select, text
from sqlalchemy.orm import Session

from user_billing.db import tables as t
from user_billing.model import Revocation, RevocationKind


def log_revocations(
    session: Session, kind: RevocationKind, refs: Iterable[UUID], now: datetime
) -> None:
    """A row more for each of `refs`, whose `seq` is above every committed one.

    Sequence order is not commit order: without the lock a poller could pass a number whose row
    commits later, and never see it. Held to the end of the transaction, so call it last.
    """
    rows = [{"kind": kind.value, "ref": ref, "at": now} for ref in refs]
    if rows:
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('billing.revocation'))"))
        session.execute(insert(t.revocation), rows)


def revocations_after(session: Session, after: int, limit: int) -> list[Revocation]:
    """The rows above `after`, oldest first."""
    return _revocations(session, t.revocation.c.seq > after, limit)


def revocations_since(session: Session, since: datetime, limit: int) -> list[Revocation]:
    """The rows of that instant and later, oldest first."""
    return _revocations(session, t.revocation.c.at >= since, limit)


def _revocations(session: Session, condition: ColumnElement[bool], limit: int) -> list[Revocation]:
    rows = session.execute(
        select(t.revocation).where(condition).order_by(t.revocation.c.seq).limit(limit)
    )
    return [Revocation(r.seq, RevocationKind(r.kind), r.ref, r.at) for r in rows]


def last_revocation(session: Session) -> int:
    """The highest committed `seq`, 0 when there is none."""
    return int(session.execute(select(func.coalesce(func.max(t.revocation.c.seq), 0))).scalar_one())


def sweep(session: Session, now: datetime) -> None:
    """Rows older than a day are gone, but the newest: `last_revocation` never goes back."""
    newest = select(func.max(t.revocation.c.seq)).scalar_subquery()
    session.execute(
        delete(t.revocation).where(
            t.revocation.c.at < now - timedelta(days=1), t.revocation.c.seq < newest
        )
    )
