"""SQL of meters inside one organisation, in the role `cloudopshub_billing_app`."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from user_billing.meters.rules import Aggregation, Meter, own
from user_billing.meters.tables import meter


def own_meters(session: Session, org: UUID) -> list[Meter]:
    """Those the organisation made, by code."""
    rows = session.execute(select(meter).where(meter.c.org_id == org).order_by(meter.c.code))
    return [own(row.code, row.unit, Aggregation(row.aggregation), row.rule) for row in rows]
