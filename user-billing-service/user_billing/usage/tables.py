"""Events of organisations' own meters: who sent what, distinct values by hour, backfills."""

from sqlalchemy import BigInteger, Column, DateTime, Integer, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from user_billing.db.tables import Instant, metadata

_Instant = DateTime(timezone=True)

usage_event = Table(
    "usage_event",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("meter", Text, nullable=False),
    Column("at", _Instant, nullable=False),
    Column("value", Text, nullable=False),
    Column("backfill", Uuid),
    Column("received_at", _Instant, nullable=False),
)

usage_value = Table(
    "usage_value",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("hour", _Instant, primary_key=True),
    Column("value", Text, primary_key=True),
)

usage_backfill = Table(
    "usage_backfill",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("opened_at", _Instant, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("expires_at", _Instant, nullable=False),
    Column("ended_at", _Instant),
    Column("outcome", Text),
)


usage_hour = Table(
    "usage_hour",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("quantity", Numeric(38, 9), nullable=False),
    Column("minutes", ARRAY(Integer), nullable=False),
    Column("readings", BigInteger, nullable=False),
    Column("latest_at", Instant),
    Column("received_at", Instant, nullable=False),
)

usage_watermark = Table(
    "usage_watermark",
    metadata,
    Column("source", Text, primary_key=True),
    Column("complete_through", Instant, nullable=False),
)
