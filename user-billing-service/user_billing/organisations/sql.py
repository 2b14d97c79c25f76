"""SQL of organisations: inside one, and the few reads across all of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.audit import tables as audit_t
from user_billing.audit.chain import GENESIS
from user_billing.members import tables as members_t
from user_billing.model import Limits, Organisation
from user_billing.organisations import tables as t
from user_billing.quotas import tables as q


def add_organisation(session: Session, organisation: Organisation, now: datetime) -> bool:
    """Whether the organisation was added; False when its slug is taken."""
    done = session.execute(
        upsert(t.organisation)
        .values(
            id=organisation.id,
            name=organisation.name,
            slug=organisation.slug,
            plan="showback",
            created_at=now,
        )
        .on_conflict_do_nothing(index_elements=[t.organisation.c.slug])
        .returning(t.organisation.c.id)
    ).one_or_none()
    if done is None:
        return False
    session.execute(insert(audit_t.audit_head).values(org_id=organisation.id, seq=0, hash=GENESIS))
    return True


def organisation(session: Session, org: UUID) -> Organisation | None:
    """The organisation itself."""
    row = session.execute(select(t.organisation).where(t.organisation.c.id == org)).one_or_none()
    return None if row is None else Organisation(row.id, row.name, row.slug)


def rename(session: Session, org: UUID, *, name: str) -> None:
    """The organisation is called `name`; its slug stays, addresses do not break."""
    session.execute(update(t.organisation).where(t.organisation.c.id == org).values(name=name))


def plan_of(session: Session, org: UUID) -> str:
    """The plan whose limits the organisation has."""
    return str(
        session.execute(
            select(t.organisation.c.plan).where(t.organisation.c.id == org)
        ).scalar_one()
    )


def set_plan(session: Session, org: UUID, code: str) -> None:
    """The organisation has the limits of that plan."""
    session.execute(update(t.organisation).where(t.organisation.c.id == org).values(plan=code))


def lock(session: Session, org: UUID) -> None:
    """Until the transaction ends nobody else changes members, keys or audit of the organisation."""
    session.execute(
        select(t.organisation.c.id)
        .where(t.organisation.c.id == org)
        .with_for_update(key_share=True)
    )


LIMITS = (
    t.plan.c.code,
    t.plan.c.samples_per_s,
    t.plan.c.burst_samples,
    t.plan.c.active_series,
    t.plan.c.retention_days,
    t.plan.c.query_samples,
    t.plan.c.query_concurrency,
    q.cap.c.min_interval_ms,
    q.cap.c.blocked,
)


def organisation_ids(session: Session) -> list[UUID]:
    """Every organisation."""
    return list(session.execute(select(t.organisation.c.id)).scalars())


def exists(session: Session, organisation_id: UUID) -> bool:
    """Whether there is that organisation."""
    query = select(t.organisation.c.id).where(t.organisation.c.id == organisation_id)
    return session.execute(query).one_or_none() is not None


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


def set_suspension(
    session: Session, organisation_id: UUID, reason: str | None, now: datetime
) -> bool:
    """Whether the organisation's state became another: suspended for `reason`, or not (None)."""
    o = t.organisation.c
    changes = o.suspended_at.is_not(None) if reason is None else o.suspended_at.is_(None)
    done = session.execute(
        update(t.organisation)
        .where(o.id == organisation_id, changes)
        .values(suspended_at=None if reason is None else now, suspended_reason=reason)
        .returning(o.id)
    ).one_or_none()
    return done is not None


def page(session: Session, after: UUID | None, limit: int) -> Sequence[RowMapping]:
    """Organisations in the order in which they were made, after that one."""
    o, m = t.organisation.c, members_t.membership.c
    members = select(func.count()).where(m.org_id == o.id).scalar_subquery()
    query = select(
        o.id, o.name, o.plan, o.created_at, o.suspended_at, o.suspended_reason,
        members.label("members"),
    )  # fmt: skip
    if after is not None:
        query = query.where(o.id > after)
    return session.execute(query.order_by(o.id).limit(limit)).mappings().all()


def limits(row: Any) -> Limits:
    """A row of `LIMITS`."""
    return Limits(
        plan=row.code,
        samples_per_s=row.samples_per_s,
        burst_samples=row.burst_samples,
        active_series=row.active_series,
        retention_days=row.retention_days,
        query_samples=row.query_samples,
        query_concurrency=row.query_concurrency,
        min_interval_ms=row.min_interval_ms,
        blocked=row.blocked,
    )
