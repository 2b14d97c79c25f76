"""Hours of usage, and events of organisations' own meters: who sent what, distinct values by hour,
backfills.
"""

from user_billing.db.tables import table

usage_event = table(
    "usage_event",
    "org_id:uuid source:text id:text",
    "meter:text at:instant value:text received_at:instant backfill:uuid?",
)

usage_value = table("usage_value", "org_id:uuid meter:text hour:instant value:text", "")

usage_backfill = table(
    "usage_backfill",
    "org_id:uuid id:uuid",
    "opened_at:instant opened_by:text expires_at:instant ended_at:instant? outcome:text?",
)

usage_hour = table(
    "usage_hour",
    "org_id:uuid meter:text hour:instant source:text",
    "revision:big quantity:quantity minutes:ints readings:big received_at:instant "
    "latest_at:instant?",
)

usage_watermark = table("usage_watermark", "source:text", "complete_through:instant")
