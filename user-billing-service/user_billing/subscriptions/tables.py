"""Which plan version an organisation has when, and when its periods begin."""

from sqlalchemy import Column, Integer, Table, Text, Uuid

from user_billing.db.tables import Instant, metadata

subscription = Table(
    "subscription",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("plan", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("starts_at", Instant, nullable=False),
    Column("ends_at", Instant),
)

subscription_terms = Table(
    "subscription_terms",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("anchor_day", Integer, nullable=False),
    Column("zone", Text, nullable=False),
)
