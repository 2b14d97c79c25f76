"""The log of revocations."""

from sqlalchemy import BigInteger, Column, Table, Text, Uuid

from user_billing.db.tables import Instant, metadata

revocation = Table(
    "revocation",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("ref", Uuid, nullable=False),
    Column("at", Instant, nullable=False),
)
