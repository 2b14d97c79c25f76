"""Keys of the last days, and the answers given to them."""

from user_billing.db.tables import table

idempotency = table(
    "idempotency", "org_id:uuid key:text",
    "digest:bytes claimed_at:instant status:small? body_sealed:bytes?",
)  # fmt: skip
