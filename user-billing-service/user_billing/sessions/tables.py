"""The table of browser sessions."""

from sqlalchemy import Column, LargeBinary, Table, Text, Uuid

from user_billing.db.tables import Instant, metadata

session = Table(
    "session",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("user_id", Uuid, nullable=False),
    Column("org_id", Uuid, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("fresh_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("network", Text),
    Column("browser", Text),
)
