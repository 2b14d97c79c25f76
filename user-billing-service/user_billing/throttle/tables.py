"""The table of log-in attempts."""

from sqlalchemy import Column, Integer, Table, Text

from user_billing.db.tables import Instant, metadata

throttle = Table(
    "throttle",
    metadata,
    Column("bucket", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("blocked_until", Instant),
)
