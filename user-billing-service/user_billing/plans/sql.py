"""SQL of plan versions: read by everybody, written in the role of the directory."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, Select, func, insert, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db.people import plan
from user_billing.plans.rules import PlanVersion
from user_billing.plans.tables import plan_version

_VERSION: Final = TypeAdapter(PlanVersion)


def version_of(facts: Mapping[str, Any]) -> PlanVersion:
    """The version with these facts; in prices, numbers are text."""
    return _VERSION.validate_python(facts)


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
    return {(row.plan, row.n): version_of(row._asdict()) for row in rows}


def all_versions(session: Session, *, retired: bool) -> Sequence[Row[Any]]:
    """The rows of all versions, or of those that are sold."""
    conditions = [] if retired else [plan_version.c.retired_at.is_(None)]
    return session.execute(_versions(*conditions)).all()


def newest(session: Session, code: str) -> PlanVersion | None:
    """The newest version of a plan that is sold."""
    where = (plan_version.c.plan == code, plan_version.c.retired_at.is_(None))
    rows = session.execute(_versions(*where)).all()
    return version_of(rows[-1]._asdict()) if rows else None


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
    v = plan_version
    is_sold = (v.c.plan == code, v.c.n == n, v.c.retired_at.is_(None))
    done = session.execute(update(v).where(*is_sold).values(retired_at=now).returning(v.c.n))
    return done.one_or_none() is not None
