"""Endpoints, events and their deliveries: an outbox that is also the log."""

from sqlalchemy import Integer, LargeBinary, SmallInteger, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from user_billing.db.tables import Instant, org_table

webhook_endpoint = org_table(
    "webhook_endpoint",
    key={"id": Uuid},
    needed={
        "url": Text, "event_types": ARRAY(Text), "secret_sealed": LargeBinary,
        "created_at": Instant,
    },
    optional={
        "old_secret_sealed": LargeBinary, "old_secret_until": Instant,
        "failing_since": Instant, "disabled_at": Instant,
    },
)  # fmt: skip

webhook_event = org_table(
    "webhook_event", key={"id": Uuid}, needed={"type": Text, "body": Text, "at": Instant}
)

webhook_delivery = org_table(
    "webhook_delivery",
    key={"endpoint_id": Uuid, "event_id": Uuid},
    needed={
        "state": Text, "attempts": Integer, "queued_at": Instant, "next_at": Instant,
        "error": Text,
    },
    optional={"sent_at": Instant, "status": SmallInteger, "duration_ms": Integer},
)  # fmt: skip
