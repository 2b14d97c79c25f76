"""SQL of subscriptions inside one organisation; who is due, across them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from user_billing.db import rows
from user_billing.db.people import organisation
from user_billing.plans.rules import SHOWBACK
from user_billing.subscriptions import tables as t
from user_billing.subscriptions.rules import Span, Terms


def terms(session: Session, org: UUID) -> Terms | None:
    """When the organisation's periods begin; None before its first subscription."""
    row = rows.one(session, t.subscription_terms, org)
    return None if row is None else Terms(row.anchor_day, row.zone)


def spans(session: Session, org: UUID) -> list[Span]:
    """Every subscription of the organisation, in order."""
    stored = rows.many(session, t.subscription, org, "starts_at")
    return [Span(row.id, row.plan, row.n, row.starts_at, row.ends_at) for row in stored]


def put(session: Session, org: UUID, after: Sequence[Span]) -> None:
    """The organisation's subscriptions are `after`, and no others."""
    session.execute(delete(t.subscription).where(t.subscription.c.org_id == org))
    new = [
        {"id": span.id, "plan": span.plan, "n": span.n, "starts_at": span.start,
         "ends_at": span.end}
        for span in after
    ]  # fmt: skip
    rows.add(session, t.subscription, org, new)


def due(session: Session, now: datetime, limit: int) -> list[tuple[UUID, str]]:
    """Organisations, and the plans that they should have by now and have not."""
    s, o = t.subscription, organisation
    current = and_(
        s.c.org_id == o.c.id, s.c.starts_at <= now, or_(s.c.ends_at.is_(None), s.c.ends_at > now)
    )
    wanted = func.coalesce(s.c.plan, SHOWBACK)
    had_one = select(t.subscription_terms.c.org_id)
    late = session.execute(
        select(o.c.id, wanted.label("plan"))
        .outerjoin_from(o, s, current)
        .where(o.c.id.in_(had_one), o.c.plan != wanted)
        .limit(limit)
    )
    return [(org, plan) for org, plan in late]
