"""SQL of organisations: inside one, and the few reads across all of them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, case, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.audit.chain import GENESIS
from user_billing.db import people as t
from user_billing.model import Limits, Organisation
from user_billing.quotas import tables as q


def add_organisation(session: Session, organisation: Organisation, now: datetime) -> bool:
    """Whether the organisation was added; False when its slug is taken."""
    o, facts = t.organisation, asdict(organisation)
    made = upsert(o).values(**facts, plan="showback", created_at=now)
    done = session.execute(made.on_conflict_do_nothing(index_elements=[o.c.slug]).returning(o.c.id))
    if done.one_or_none() is None:
        return False
    session.execute(insert(t.audit_head).values(org_id=organisation.id, seq=0, hash=GENESIS))
    return True


def organisation(session: Session, org: UUID) -> Organisation | None:
    """The organisation itself."""
    o = t.organisation.c
    row = session.execute(select(o.id, o.name, o.slug).where(o.id == org)).one_or_none()
    return None if row is None else Organisation(*row)


def plan_of(session: Session, org: UUID) -> str:
    """The plan whose limits the organisation has."""
    o = t.organisation.c
    return str(session.execute(select(o.plan).where(o.id == org)).scalar_one())


def set_plan(session: Session, org: UUID, code: str) -> None:
    """The organisation has the limits of that plan."""
    session.execute(update(t.organisation).where(t.organisation.c.id == org).values(plan=code))


def lock(session: Session, org: UUID) -> None:
    """Until the transaction ends nobody else changes members, keys or audit of the organisation."""
    o = t.organisation.c
    session.execute(select(o.id).where(o.id == org).with_for_update(key_share=True))


_P = t.plan.c
LIMITS = (
    _P.code.label("plan"), _P.samples_per_s, _P.burst_samples, _P.active_series, _P.retention_days,
    _P.query_samples, _P.query_concurrency, q.cap.c.min_interval_ms, q.cap.c.blocked,
)  # fmt: skip
"""What `Limits` is read from: the plan of an organisation and its reached quotas."""


def organisation_ids(session: Session) -> list[UUID]:
    """Every organisation."""
    return list(session.execute(select(t.organisation.c.id)).scalars())


def limits_of(session: Session, organisation_id: UUID) -> Limits | None:
    """The limits of an organisation's plan; None when there is no such organisation."""
    row = session.execute(
        select(*LIMITS)
        .join_from(t.organisation, t.plan, t.plan.c.code == t.organisation.c.plan)
        .outerjoin(q.cap, q.cap.c.org_id == t.organisation.c.id)
        .where(t.organisation.c.id == organisation_id)
    ).one_or_none()
    return None if row is None else limits(row)


def suspension(session: Session, organisation_id: UUID) -> str | None:
    """Why the organisation is suspended; None when it is not."""
    o = t.organisation.c
    return session.execute(
        select(o.suspended_reason).where(o.id == organisation_id)
    ).scalar_one_or_none()


def set_suspension(session: Session, org: UUID, reason: str | None, now: datetime) -> bool:
    """Whether the organisation's state became another: suspended for `reason`, or not (None)."""
    o = t.organisation.c
    changes = o.suspended_at.is_not(None) if reason is None else o.suspended_at.is_(None)
    values = {"suspended_at": None if reason is None else now, "suspended_reason": reason}
    query = update(t.organisation).where(o.id == org, changes).values(**values)
    return session.execute(query.returning(o.id)).one_or_none() is not None


def page(session: Session, after: UUID | None, limit: int) -> Sequence[RowMapping]:
    """Organisations in the order in which they were made, after that one."""
    o, m = t.organisation.c, t.membership.c
    members = select(func.count()).where(m.org_id == o.id).scalar_subquery()
    query = select(
        o.id, o.name, o.plan, o.created_at, o.suspended_at, o.suspended_reason,
        members.label("members"),
        case((o.suspended_at.is_(None), "active"), else_="suspended").label("state"),
    )  # fmt: skip
    if after is not None:
        query = query.where(o.id > after)
    return session.execute(query.order_by(o.id).limit(limit)).mappings().all()


def limits(row: Any) -> Limits:
    """What a row with LIMITS says."""
    return Limits(**{column.name: getattr(row, column.name) for column in LIMITS})
