"""Tables of members and invitations."""

from sqlalchemy import Column, LargeBinary, Table, Text, Uuid

from user_billing.db.tables import Instant, metadata

membership = Table(
    "membership",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("user_id", Uuid, primary_key=True),
    Column("role", Text, nullable=False),
    Column("joined_at", Instant, nullable=False),
    Column("mapped_by", Text),
)

invitation = Table(
    "invitation",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("invited_by", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("accepted_at", Instant),
    Column("revoked_at", Instant),
)
