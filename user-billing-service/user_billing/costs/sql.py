"""SQL of cost pools inside one organisation; usage of all organisations, across them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.orm import Session

from user_billing.costs import tables as t
from user_billing.costs.rules import Over, Pool, Share
from user_billing.db.people import organisation
from user_billing.usage.tables import usage_hour


def pool_of(row: Row[Any]) -> Pool:
    """A row of the table."""
    weights = {meter: Fraction(weight) for meter, weight in row.weights.items()}
    return Pool(
        row.name, Over(row.over), row.starts_at, row.ends_at, row.amount, row.currency, weights,
        spread=row.spread,
    )  # fmt: skip


def add(session: Session, org: UUID, pool_id: UUID, pool: Pool, now: datetime) -> None:
    """The organisation has this pool."""
    session.execute(
        insert(t.cost_pool).values(
            org_id=org, id=pool_id, name=pool.name, over=pool.over.value, starts_at=pool.start,
            ends_at=pool.end, amount=pool.amount, currency=pool.currency, spread=pool.spread,
            weights={meter: str(weight) for meter, weight in pool.weights.items()}, created_at=now,
        )
    )  # fmt: skip


def pools(session: Session, org: UUID, limit: int) -> Sequence[Row[Any]]:
    """The latest pools, newest first."""
    p = t.cost_pool
    return session.execute(
        select(p).where(p.c.org_id == org).order_by(p.c.id.desc()).limit(limit)
    ).all()


def pool(session: Session, org: UUID, pool_id: UUID, *, lock: bool = False) -> Row[Any] | None:
    """One pool."""
    query = select(t.cost_pool).where(t.cost_pool.c.org_id == org, t.cost_pool.c.id == pool_id)
    return session.execute(query.with_for_update() if lock else query).one_or_none()


def close(
    session: Session, org: UUID, pool_id: UUID, shares: Sequence[Share], now: datetime
) -> None:
    """The pool is closed with these shares."""
    stored = [[share.part, share.amount] for share in shares]
    session.execute(
        update(t.cost_pool)
        .where(t.cost_pool.c.org_id == org, t.cost_pool.c.id == pool_id)
        .values(closed_at=now, shares=stored)
    )


def remove(session: Session, org: UUID, pool_id: UUID) -> bool:
    """Whether there was an open pool, which is gone."""
    done = session.execute(
        delete(t.cost_pool)
        .where(
            t.cost_pool.c.org_id == org, t.cost_pool.c.id == pool_id,
            t.cost_pool.c.closed_at.is_(None),
        )
        .returning(t.cost_pool.c.id)
    ).one_or_none()  # fmt: skip
    return done is not None


def organisations(session: Session) -> Mapping[str, str]:
    """Id → name of every organisation, oldest first; in the role of the directory."""
    rows = session.execute(
        select(organisation.c.id, organisation.c.name).order_by(organisation.c.id)
    )
    return {str(row.id): row.name for row in rows}


def usage_of_organisations(
    session: Session, start: datetime, end: datetime
) -> Mapping[tuple[str, str], Decimal]:
    """(organisation, meter) → the sum of its hours; in the role of the directory."""
    u = usage_hour.c
    rows = session.execute(
        select(u.org_id, u.meter, func.sum(u.quantity).label("quantity"))
        .where(u.hour >= start, u.hour < end)
        .group_by(u.org_id, u.meter)
    )
    return {(str(row.org_id), row.meter): row.quantity for row in rows}
