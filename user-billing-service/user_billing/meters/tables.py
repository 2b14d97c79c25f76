"""The meters that organisations made."""

from user_billing.db.tables import table

meter = table(
    "meter",
    "org_id:uuid code:text",
    "unit:text aggregation:text rule:text created_at:instant",
)
