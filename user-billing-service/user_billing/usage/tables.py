"""Tables of usage by the hour."""

from sqlalchemy import BigInteger, Column, Integer, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from user_billing.db.tables import Instant, metadata

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
