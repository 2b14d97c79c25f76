"""The table of cost pools."""

from user_billing.db.tables import table

cost_pool = table(
    "cost_pool",
    "org_id:uuid id:uuid",
    "name:text over:text starts_at:instant ends_at:instant amount:minor currency:text "
    "weights:json spread:flag created_at:instant closed_at:instant? shares:json?",
)
