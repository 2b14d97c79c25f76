"""The tables of documents; the migration is what makes them, and what keeps them unchanged."""

from user_billing.db.tables import table

seller = table(
    "seller", "only:flag",
    """legal_name:text address:text country:text tax_number:text vat_id:text bank_text:text
    currency:text series:text credit_series:text payment_days:int automatic:flag
    confirmed_at:instant?""",
)  # fmt: skip
tax_rate = table(
    "tax_rate", "country:text valid_from:day", "valid_to:day? name:text percent:percent"
)
number_counter = table("number_counter", "series:text", "last:minor last_on:day")
customer = table(
    "customer", "org_id:uuid",
    "legal_name:text address:text country:text vat_id:text email:text exempt:text",
)  # fmt: skip
billing_period = table(
    "billing_period", "org_id:uuid start:instant",
    """end:instant state:text closed_at:instant? closed_by:text? missing:texts drafted:flag
    invoice_id:uuid?""",
)  # fmt: skip
invoice = table(
    "invoice", "org_id:uuid id:uuid",
    """period_start:instant period_end:instant state:text currency:text input_hash:text
    subtotal:minor tax:minor credits:minor total:minor created_at:instant
    series:text? number:minor? issued_on:day? payload:text? sha256:bytes?""",
)  # fmt: skip
invoice_line = table(
    "invoice_line", "org_id:uuid invoice_id:uuid n:int",
    """kind:text description:text meter:text? start:instant end:instant quantity:quantity unit:text
    amount:minor derivation:json tax_name:text tax_percent:percent tax_note:text of_period:instant
    charges:text adjusts:uuid?""",
)  # fmt: skip
invoice_hours = table(
    "invoice_hours", "org_id:uuid invoice_id:uuid start:instant end:instant meter:text",
    "digest:text hours:bytes",
)  # fmt: skip
credit_note = table(
    "credit_note", "org_id:uuid id:uuid",
    """invoice_id:uuid key:text voids:flag reason:text subtotal:minor tax:minor total:minor
    to_wallet:minor created_at:instant series:text number:minor issued_on:day payload:text
    sha256:bytes""",
)  # fmt: skip
credit_note_line = table(
    "credit_note_line", "org_id:uuid credit_note_id:uuid n:int", "invoice_id:uuid amount:minor"
)
payment = table(
    "payment", "org_id:uuid invoice_id:uuid reference:text",
    "amount:minor paid_on:day recorded_at:instant",
)  # fmt: skip
document_pdf = table("document_pdf", "org_id:uuid document_id:uuid", "sha256:bytes body:bytes")
