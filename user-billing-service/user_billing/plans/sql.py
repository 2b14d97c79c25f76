"""SQL of plan versions: read by everybody, written in the role of the directory."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db.people import plan
from user_billing.plans.rules import Model, PlanVersion, Price, Tier
from user_billing.plans.tables import plan_version


def price_of(stored: Mapping[str, Any]) -> Price:
    """A price from its JSON, in which numbers are text."""
    return Price(
        stored["meter"],
        Model(stored["model"]),
        included=Fraction(stored.get("included", "0")),
        unit=Fraction(stored.get("unit", "0")),
        package=Fraction(stored.get("package", "1")),
        tiers=tuple(
            Tier(
                None if tier["upto"] is None else Fraction(tier["upto"]),
                Fraction(tier["unit"]),
                Fraction(tier.get("flat", "0")),
            )
            for tier in stored.get("tiers", [])
        ),
    )


def version_of(row: Row[Any]) -> PlanVersion:
    """A row of `_versions`."""
    prices = tuple(price_of(stored) for stored in row.prices)
    return PlanVersion(row.plan, row.n, row.name, row.currency, row.recurring, row.minimum, prices)


def _versions(*conditions: ColumnElement[bool]) -> Select[Any]:
    joined = select(plan_version, plan.c.name).join_from(
        plan_version, plan, plan.c.code == plan_version.c.plan
    )
    return joined.where(*conditions).order_by(plan_version.c.plan, plan_version.c.n)


def versions(
    session: Session, keys: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], PlanVersion]:
    """Those (plan, n) that there are."""
    rows = session.execute(_versions(tuple_(plan_version.c.plan, plan_version.c.n).in_(keys)))
    return {(row.plan, row.n): version_of(row) for row in rows}


def all_versions(session: Session, *, retired: bool) -> Sequence[Row[Any]]:
    """The rows of all versions, or of those that are sold."""
    conditions = [] if retired else [plan_version.c.retired_at.is_(None)]
    return session.execute(_versions(*conditions)).all()


def newest(session: Session, code: str) -> PlanVersion | None:
    """The newest version of a plan that is sold."""
    row = session.execute(
        _versions(plan_version.c.plan == code, plan_version.c.retired_at.is_(None))
        .order_by(None)
        .order_by(plan_version.c.n.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else version_of(row)


def add(session: Session, code: str, name: str, facts: Mapping[str, Any], now: datetime) -> int:
    """The number of the new version; the plan is made, or has this name from now on."""
    session.execute(
        upsert(plan)
        .values(code=code, name=name)
        .on_conflict_do_update(index_elements=[plan.c.code], set_={"name": name})
    )
    last = select(func.coalesce(func.max(plan_version.c.n), 0)).where(plan_version.c.plan == code)
    n = int(session.execute(last).scalar_one()) + 1
    session.execute(insert(plan_version).values(plan=code, n=n, created_at=now, **facts))
    return n


def retire(session: Session, code: str, n: int, now: datetime) -> bool:
    """Whether the version was sold until now; organisations that have it keep it."""
    done = session.execute(
        update(plan_version)
        .where(
            plan_version.c.plan == code, plan_version.c.n == n, plan_version.c.retired_at.is_(None)
        )
        .values(retired_at=now)
        .returning(plan_version.c.n)
    ).one_or_none()
    return done is not None
