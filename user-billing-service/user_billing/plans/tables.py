"""The versions of plans; the limits of a plan are in `organisations/tables.py`."""

from sqlalchemy import BigInteger, Column, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from user_billing.db.tables import Instant, metadata

plan_version = Table(
    "plan_version",
    metadata,
    Column("plan", Text, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("recurring", BigInteger, nullable=False),
    Column("minimum", BigInteger, nullable=False),
    Column("prices", JSONB, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("retired_at", Instant),
)
