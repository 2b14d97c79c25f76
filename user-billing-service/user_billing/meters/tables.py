"""The meters that organisations made."""

from sqlalchemy import Column, DateTime, Table, Text, Uuid

from user_billing.db.tables import metadata

meter = Table(
    "meter",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("unit", Text, nullable=False),
    Column("aggregation", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
