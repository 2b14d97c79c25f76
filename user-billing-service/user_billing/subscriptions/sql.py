"""SQL of subscriptions inside one organisation; who is due, across them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from user_billing.db.people import organisation
from user_billing.plans.rules import SHOWBACK
from user_billing.subscriptions import tables as t
from user_billing.subscriptions.rules import Span, Terms


def terms(session: Session, org: UUID) -> Terms | None:
    """When the organisation's periods begin; None before its first subscription."""
    row = session.execute(
        select(t.subscription_terms).where(t.subscription_terms.c.org_id == org)
    ).one_or_none()
    return None if row is None else Terms(row.anchor_day, row.zone)


def add_terms(session: Session, org: UUID, new: Terms) -> None:
    """The organisation's periods begin by `new`, from its first subscription on."""
    session.execute(
        insert(t.subscription_terms).values(org_id=org, anchor_day=new.anchor_day, zone=new.zone)
    )


def spans(session: Session, org: UUID) -> list[Span]:
    """Every subscription of the organisation, in order."""
    rows = session.execute(
        select(t.subscription)
        .where(t.subscription.c.org_id == org)
        .order_by(t.subscription.c.starts_at)
    )
    return [Span(row.id, row.plan, row.n, row.starts_at, row.ends_at) for row in rows]


def put(session: Session, org: UUID, before: Sequence[Span], after: Sequence[Span]) -> None:
    """The organisation's subscriptions are `after`."""
    s = t.subscription
    old, new = {span.id: span for span in before}, {span.id: span for span in after}
    gone = [key for key in old if key not in new]
    session.execute(delete(s).where(s.c.org_id == org, s.c.id.in_(gone)))
    for key, span in new.items():
        if key in old and old[key] != span:
            session.execute(
                update(s).where(s.c.org_id == org, s.c.id == key).values(ends_at=span.end)
            )
    for key, span in new.items():
        if key not in old:
            session.execute(
                insert(s).values(
                    org_id=org, id=span.id, plan=span.plan, n=span.n,
                    starts_at=span.start, ends_at=span.end,
                )
            )  # fmt: skip


def due(session: Session, now: datetime, limit: int) -> list[tuple[UUID, str]]:
    """Organisations, and the plans that they should have by now and have not."""
    s, o = t.subscription, organisation
    current = and_(
        s.c.org_id == o.c.id, s.c.starts_at <= now, or_(s.c.ends_at.is_(None), s.c.ends_at > now)
    )
    wanted = func.coalesce(s.c.plan, SHOWBACK)
    had_one = select(t.subscription_terms.c.org_id)
    rows = session.execute(
        select(o.c.id, wanted.label("plan"))
        .outerjoin_from(o, s, current)
        .where(o.c.id.in_(had_one), o.c.plan != wanted)
        .limit(limit)
    )
    return [(row.id, row.plan) for row in rows]
