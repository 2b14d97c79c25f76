"""The ledger's tables; triggers refuse UPDATE, DELETE and TRUNCATE, and what is not balanced."""

from sqlalchemy import BigInteger, Column, DateTime, LargeBinary, SmallInteger, Table, Text, Uuid

from user_billing.db.tables import metadata

ledger_tx = Table(
    "ledger_tx",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("digest", LargeBinary, nullable=False),
)

ledger_entry = Table(
    "ledger_entry",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("tx_id", Uuid, primary_key=True),
    Column("n", SmallInteger, primary_key=True),
    Column("account", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
)
