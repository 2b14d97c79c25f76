"""The tables of wallets; what is left of a grant is never below 0 nor above it."""

from sqlalchemy import BigInteger, Column, DateTime, SmallInteger, Table, Text, Uuid

from user_billing.db.tables import metadata

_Instant = DateTime(timezone=True)

wallet = Table(
    "wallet",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("changed_at", _Instant, nullable=False),
)

wallet_grant = Table(
    "wallet_grant",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("remaining", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("granted_at", _Instant, nullable=False),
    Column("expires_at", _Instant),
)

wallet_draw = Table(
    "wallet_draw",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("grant_id", Uuid, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("returned", BigInteger, nullable=False),
)
