"""Tables of quotas and of the guard, as migration 2026-11-30-1020 makes them."""

from sqlalchemy import Column, DateTime, Integer, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from user_billing.db.tables import metadata

_Instant = DateTime(timezone=True)
_Quantity = Numeric(38, 9)

quota = Table(
    "quota",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("action", Text, primary_key=True),
    Column("limit_quantity", _Quantity, nullable=False),
    Column("thresholds", ARRAY(Integer), nullable=False),
    Column("interval_ms", Integer),
    Column("checked_at", _Instant, nullable=False),
)

alert_fired = Table(
    "alert_fired",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("action", Text, primary_key=True),
    Column("period", _Instant, primary_key=True),
    Column("threshold", Integer, primary_key=True),
    Column("fired_at", _Instant, nullable=False),
)

cap = Table(
    "cap",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("min_interval_ms", Integer),
    Column("blocked", Text),
    Column("since", _Instant, nullable=False),
)

notice = Table(
    "notice",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("type", Text, nullable=False),
    Column("at", _Instant, nullable=False),
    Column("payload", JSONB, nullable=False),
)

anomaly = Table(
    "anomaly",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("meter", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", _Instant, nullable=False),
    Column("until", _Instant),
    Column("expected", _Quantity, nullable=False),
    Column("actual", _Quantity, nullable=False),
    Column("series_factor", _Quantity),
)
