"""Tables of organisations and of the limits of plans."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, Table, Text, Uuid

from user_billing.db.tables import Instant, metadata

plan = Table(
    "plan",
    metadata,
    Column("code", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("samples_per_s", BigInteger),
    Column("burst_samples", BigInteger),
    Column("active_series", BigInteger),
    Column("retention_days", Integer),
    Column("query_samples", BigInteger),
    Column("query_concurrency", Integer),
)

organisation = Table(
    "organisation",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False, unique=True),
    Column("plan", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("requires_second_factor", Boolean, nullable=False, server_default="false"),
    Column("suspended_at", Instant),
    Column("suspended_reason", Text),
)
