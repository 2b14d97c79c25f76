"""The table of letters. `sealed` is encrypted, since links in letters are secrets."""

from sqlalchemy import Column, Integer, LargeBinary, Table, Text, Uuid

from user_billing.db.tables import Instant, metadata

mail = Table(
    "mail",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("address", Text, nullable=False),
    Column("sealed", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Column("next_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("ended_at", Instant),
    Column("error", Text),
)
