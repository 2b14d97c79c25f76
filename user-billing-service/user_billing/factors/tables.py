"""Tables of second factors."""

from sqlalchemy import BigInteger, Column, LargeBinary, Table, Uuid

from user_billing.db.tables import Instant, metadata

second_factor = Table(
    "second_factor",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("confirmed_at", Instant),
)

recovery_code = Table(
    "recovery_code",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("hash", LargeBinary, primary_key=True),
)
