"""SQL of cost pools inside one organisation; usage of all organisations, across them."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from user_billing.costs.rules import Over, Pool
from user_billing.costs.tables import cost_pool
from user_billing.db import rows
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
    rows.add_one(
        session, cost_pool, org, id=pool_id, name=pool.name, over=pool.over.value,
        starts_at=pool.start, ends_at=pool.end, amount=pool.amount, currency=pool.currency,
        weights={meter: str(weight) for meter, weight in pool.weights.items()},
        spread=pool.spread, created_at=now,
    )  # fmt: skip


def organisations(session: Session) -> Mapping[str, str]:
    """Id → name of every organisation, oldest first; in the role of the directory."""
    o = organisation.c
    by_age = select(o.id, o.name).order_by(o.id)
    return {str(row.id): row.name for row in session.execute(by_age)}


def usage_of_organisations(
    session: Session, start: datetime, end: datetime
) -> Mapping[tuple[str, str], Decimal]:
    """(organisation, meter) → the sum of its hours; in the role of the directory."""
    u = usage_hour.c
    sums = select(u.org_id, u.meter, func.sum(u.quantity)).group_by(u.org_id, u.meter)
    in_range = session.execute(sums.where(u.hour >= start, u.hour < end))
    return {(str(org), meter): quantity for org, meter, quantity in in_range}
