"""The table of identities at providers."""

from sqlalchemy import Column, Table, Text, Uuid

from user_billing.db.tables import Instant, metadata

identity = Table(
    "identity",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("linked_at", Instant, nullable=False),
    Column("last_login_at", Instant),
)
