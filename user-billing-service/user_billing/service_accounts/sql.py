"""SQL of service accounts, inside one organisation."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.errors import Conflict, NotAllowed, NotFound
from user_billing.model import Scope, ServiceAccount


def _account(row: Any) -> ServiceAccount:
    scopes = tuple(map(Scope, row.scopes))
    return ServiceAccount(row.id, row.name, scopes, row.created_at, row.created_by, row.disabled_at)


def accounts(session: Session, org: UUID) -> list[ServiceAccount]:
    """Every account, newest first, disabled ones included."""
    a = t.service_account
    query = select(a).where(a.c.org_id == org).order_by(a.c.created_at.desc(), a.c.id.desc())
    return [_account(row) for row in session.execute(query)]


def count_living(session: Session, org: UUID) -> int:
    """How many accounts are not disabled."""
    a = t.service_account
    query = select(func.count()).where(a.c.org_id == org, a.c.disabled_at.is_(None))
    return int(session.execute(query).scalar_one())


def require_covers(session: Session, org: UUID, account_id: UUID, scopes: Iterable[Scope]) -> None:
    """Passes when the account lives and may do all of `scopes`.

    session: inside the organisation, locked. Raises NotFound, Conflict, NotAllowed.
    """
    a = t.service_account
    query = select(a).where(a.c.org_id == org, a.c.id == account_id)
    row = session.execute(query).one_or_none()
    if row is None:
        raise NotFound(service_account=account_id)
    account = _account(row)
    if account.disabled_at is not None:
        raise Conflict(detail="the service account is disabled")
    if missing := set(scopes) - set(account.scopes):
        raise NotAllowed(needs=f"a service account with {' and '.join(sorted(missing))}")


def add(session: Session, org: UUID, account: ServiceAccount) -> None:
    """A new account."""
    facts = {**asdict(account), "scopes": list(account.scopes)}
    session.execute(insert(t.service_account).values(org_id=org, **facts))


def disable(session: Session, org: UUID, account_id: UUID, now: datetime) -> str | None:
    """The name of the account that this call disabled; None when there is no such living one."""
    a = t.service_account
    query = update(a).where(a.c.org_id == org, a.c.id == account_id, a.c.disabled_at.is_(None))
    return session.execute(query.values(disabled_at=now).returning(a.c.name)).scalar_one_or_none()
