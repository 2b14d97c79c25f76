"""SQL of the installation's log of revocations, in the role of the directory."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.model import RevocationKind


def log_revocations(
    session: Session, kind: RevocationKind, refs: Iterable[UUID], now: datetime
) -> None:
    """A row more for each of `refs`, whose `seq` is above every committed one.

    Sequence order is not commit order: without the lock a poller could pass a number whose row
    commits later, and never see it. Held to the end of the transaction, so call it last.
    """
    rows = [{"kind": kind, "ref": ref, "at": now} for ref in refs]
    if rows:
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('billing.revocation'))"))
        session.execute(insert(t.revocation), rows)


def revocations(
    session: Session, limit: int, *, after: int = 0, since: datetime | None = None
) -> Sequence[Row[Any]]:
    """The rows (seq, kind, ref, at) above `after`, of that instant and later, oldest first."""
    r = t.revocation
    query = select(r).where(r.c.seq > after).order_by(r.c.seq).limit(limit)
    return session.execute(query if since is None else query.where(r.c.at >= since)).all()


def last_revocation(session: Session) -> int:
    """The highest committed `seq`, 0 when there is none."""
    return int(session.execute(select(func.coalesce(func.max(t.revocation.c.seq), 0))).scalar_one())
