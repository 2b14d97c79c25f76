"""The tables of documents; the migration is what makes them, and what keeps them unchanged."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from user_billing.db.tables import metadata

_Instant = DateTime(timezone=True)


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def _amounts(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False) for name in names]


seller = Table(
    "seller",
    metadata,
    Column("only", Boolean, primary_key=True),
    *_texts("legal_name", "address", "country", "tax_number", "vat_id", "bank_text"),
    *_texts("currency", "series", "credit_series"),
    Column("payment_days", Integer, nullable=False),
    Column("automatic", Boolean, nullable=False),
    Column("confirmed_at", _Instant),
)

tax_rate = Table(
    "tax_rate",
    metadata,
    Column("country", Text, primary_key=True),
    Column("valid_from", Date, primary_key=True),
    Column("valid_to", Date),
    Column("name", Text, nullable=False),
    Column("percent", Numeric(6, 3), nullable=False),
)

number_counter = Table(
    "number_counter",
    metadata,
    Column("series", Text, primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("last_on", Date, nullable=False),
)

customer = Table(
    "customer",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    *_texts("legal_name", "address", "country", "vat_id", "email", "exempt"),
)

billing_period = Table(
    "billing_period",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("start", _Instant, primary_key=True),
    Column("end", _Instant, nullable=False),
    Column("state", Text, nullable=False),
    Column("closed_at", _Instant),
    Column("closed_by", Text),
    Column("missing", ARRAY(Text), nullable=False),
    Column("drafted", Boolean, nullable=False),
    Column("invoice_id", Uuid),
)

invoice = Table(
    "invoice",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("period_start", _Instant, nullable=False),
    Column("period_end", _Instant, nullable=False),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("input_hash", Text, nullable=False),
    *_amounts("subtotal", "tax", "credits", "total"),
    Column("created_at", _Instant, nullable=False),
    Column("series", Text),
    Column("number", BigInteger),
    Column("issued_on", Date),
    Column("payload", Text),
    Column("sha256", LargeBinary),
)

invoice_line = Table(
    "invoice_line",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("invoice_id", Uuid, primary_key=True),
    Column("n", Integer, primary_key=True),
    *_texts("kind", "description"),
    Column("meter", Text),
    Column("start", _Instant, nullable=False),
    Column("end", _Instant, nullable=False),
    Column("quantity", Numeric(38, 9), nullable=False),
    Column("unit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("derivation", JSONB, nullable=False),
    Column("tax_name", Text, nullable=False),
    Column("tax_percent", Numeric(6, 3), nullable=False),
    Column("tax_note", Text, nullable=False),
    Column("of_period", _Instant, nullable=False),
    Column("charges", Text, nullable=False),
    Column("adjusts", Uuid),
)

invoice_hours = Table(
    "invoice_hours",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("invoice_id", Uuid, primary_key=True),
    Column("start", _Instant, primary_key=True),
    Column("end", _Instant, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("hours", LargeBinary, nullable=False),
)

credit_note = Table(
    "credit_note",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("invoice_id", Uuid, nullable=False),
    Column("key", Text, nullable=False),
    Column("voids", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    *_amounts("subtotal", "tax", "total", "to_wallet"),
    Column("created_at", _Instant, nullable=False),
    Column("series", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("issued_on", Date, nullable=False),
    Column("payload", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
)

credit_note_line = Table(
    "credit_note_line",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("credit_note_id", Uuid, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("invoice_id", Uuid, nullable=False),
    Column("amount", BigInteger, nullable=False),
)

payment = Table(
    "payment",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("invoice_id", Uuid, primary_key=True),
    Column("reference", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("paid_on", Date, nullable=False),
    Column("recorded_at", _Instant, nullable=False),
)

document_pdf = Table(
    "document_pdf",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("document_id", Uuid, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
