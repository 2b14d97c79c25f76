"""The ledger's tables; triggers refuse UPDATE, DELETE and TRUNCATE, and what is not balanced."""

from user_billing.db.tables import table

ledger_tx = table(
    "ledger_tx", "org_id:uuid id:uuid",
    "key:text kind:text reference:text at:instant digest:bytes",
)  # fmt: skip
ledger_entry = table(
    "ledger_entry", "org_id:uuid tx_id:uuid n:small", "account:text currency:text amount:minor"
)
