"""Which plan version an organisation has when, and when its periods begin."""

from user_billing.db.tables import table

subscription = table(
    "subscription", "org_id:uuid id:uuid", "plan:text n:int starts_at:instant ends_at:instant?"
)
subscription_terms = table("subscription_terms", "org_id:uuid", "anchor_day:int zone:text")
