"""The table of challenges."""

from sqlalchemy import Column, LargeBinary, Table, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from user_billing.db.tables import Instant, metadata

challenge = Table(
    "challenge",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("user_id", Uuid),
    Column("detail", JSONB, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
