"""Endpoints, events and their deliveries: an outbox that is also the log."""

from user_billing.db.tables import table

webhook_endpoint = table(
    "webhook_endpoint",
    "org_id:uuid id:uuid",
    "url:text event_types:texts secret_sealed:bytes created_at:instant "
    "old_secret_sealed:bytes? old_secret_until:instant? failing_since:instant? "
    "disabled_at:instant?",
)

webhook_event = table("webhook_event", "org_id:uuid id:uuid", "type:text body:text at:instant")

webhook_delivery = table(
    "webhook_delivery",
    "org_id:uuid endpoint_id:uuid event_id:uuid",
    "state:text attempts:int queued_at:instant next_at:instant error:text sent_at:instant? "
    "status:small? duration_ms:int?",
)
