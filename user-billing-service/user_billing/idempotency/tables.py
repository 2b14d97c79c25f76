"""Keys of the last days, and the answers given to them."""

from sqlalchemy import Column, DateTime, LargeBinary, SmallInteger, Table, Text, Uuid

from user_billing.db.tables import metadata

idempotency = Table(
    "idempotency",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("claimed_at", DateTime(timezone=True), nullable=False),
    Column("status", SmallInteger),
    Column("body_sealed", LargeBinary),
)
