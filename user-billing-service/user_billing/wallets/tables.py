"""The tables of wallets; what is left of a grant is never below 0 nor above it."""

from user_billing.db.tables import table

wallet = table("wallet", "org_id:uuid currency:text", "changed_at:instant")
wallet_grant = table(
    "wallet_grant", "org_id:uuid id:uuid",
    """currency:text amount:minor remaining:minor source:text reason:text priority:small
    granted_at:instant expires_at:instant?""",
)  # fmt: skip
wallet_draw = table(
    "wallet_draw", "org_id:uuid key:text grant_id:uuid", "amount:minor returned:minor"
)
