"""The table of API keys."""

from sqlalchemy import Column, Integer, LargeBinary, SmallInteger, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from user_billing.db.tables import Instant, metadata

api_key = Table(
    "api_key",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("start", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("pepper_version", SmallInteger, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("last_used_at", Instant),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("networks", ARRAY(Text), nullable=False),
    Column("requests_per_s", Integer),
    Column("replaced_by", Uuid),
)
