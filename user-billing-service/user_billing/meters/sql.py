"""SQL of meters inside one organisation, in the role `cloudopshub_billing_app`."""

from typing import Final
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from user_billing.meters.rules import BUILT_IN, Aggregation, Meter, own
from user_billing.meters.tables import meter

_IS_USED: Final = text("""
SELECT EXISTS (SELECT FROM billing.usage_hour WHERE org_id = :org AND meter = :code)
    OR EXISTS (SELECT FROM billing.usage_event e JOIN billing.usage_backfill b
                   ON b.org_id = e.org_id AND b.id = e.backfill
                WHERE e.org_id = :org AND e.meter = :code AND b.ended_at IS NULL)
""")


def own_meters(session: Session, org: UUID) -> list[Meter]:
    """Those the organisation made, by code."""
    rows = session.execute(select(meter).where(meter.c.org_id == org).order_by(meter.c.code))
    return [own(row.code, row.unit, Aggregation(row.aggregation), row.rule) for row in rows]


def every_meter(session: Session, org: UUID) -> list[Meter]:
    """Those that every organisation has, then its own by code."""
    return [*BUILT_IN, *own_meters(session, org)]


def is_used(session: Session, org: UUID, code: str) -> bool:
    """Whether anything was counted by it, or waits in a backfill."""
    return bool(session.execute(_IS_USED, {"org": org, "code": code}).scalar_one())
