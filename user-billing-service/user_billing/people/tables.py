"""Tables of people and what proves them."""

from sqlalchemy import Column, Table, Text, Uuid

from user_billing.db.tables import Instant, metadata

user_account = Table(
    "user_account",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
)

credential = Table(
    "credential",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("updated_at", Instant, nullable=False),
)
