"""The table of the first start."""

from sqlalchemy import Boolean, Column, LargeBinary, Table, Uuid

from user_billing.db.tables import Instant, metadata

setup = Table(
    "setup",
    metadata,
    Column("only", Boolean, primary_key=True),
    Column("nonce", LargeBinary, nullable=False),
    Column("home_org", Uuid),
    Column("announced_at", Instant),
    Column("completed_at", Instant),
)
