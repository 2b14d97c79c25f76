"""Tables of teams, of versions of the rules, and of how hours were split by them."""

from sqlalchemy import BigInteger, Column, Integer, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from user_billing.db.tables import Instant, metadata

team = Table(
    "team",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("archived_at", Instant),
)

attribution_version = Table(
    "attribution_version",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("rules", JSONB, nullable=False),
    Column("faults", JSONB, nullable=False, server_default="[]"),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
)

attribution_hour = Table(
    "attribution_hour",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("shares", JSONB, nullable=False),
)
