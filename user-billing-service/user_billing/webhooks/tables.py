"""Endpoints, events and their deliveries: an outbox that is also the log."""

from sqlalchemy import Column, DateTime, Integer, LargeBinary, SmallInteger, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from user_billing.db.tables import metadata

_Instant = DateTime(timezone=True)

webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("old_secret_sealed", LargeBinary),
    Column("old_secret_until", _Instant),
    Column("created_at", _Instant, nullable=False),
    Column("failing_since", _Instant),
    Column("disabled_at", _Instant),
)

webhook_event = Table(
    "webhook_event",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", _Instant, nullable=False),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("endpoint_id", Uuid, primary_key=True),
    Column("event_id", Uuid, primary_key=True),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("queued_at", _Instant, nullable=False),
    Column("next_at", _Instant, nullable=False),
    Column("sent_at", _Instant),
    Column("status", SmallInteger),
    Column("duration_ms", Integer),
    Column("error", Text, nullable=False),
)
