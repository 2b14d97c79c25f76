"""The tables of schema `billing`, as queries see them; the migrations are what makes them.

Rows of an organisation carry `org_id`, first in the primary key. Two database roles read them:
`cloudopshub_billing_app` sees one organisation (row-level security by the setting `app.org`),
`cloudopshub_billing_directory` sees all of them but only the columns it is granted.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from user_billing.chassis.database import Schema

SCHEMA: Final = Schema("billing", "user_billing.migrate")
SCHEMA_REVISION: Final = "202611301050"
"""The oldest migration this code works with; revisions sort by their date."""

APP_ROLE: Final = "cloudopshub_billing_app"
DIRECTORY_ROLE: Final = "cloudopshub_billing_directory"

metadata = MetaData(schema=SCHEMA.name)

_Instant = DateTime(timezone=True)

plan = Table(
    "plan",
    metadata,
    Column("code", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("samples_per_s", BigInteger),
    Column("burst_samples", BigInteger),
    Column("active_series", BigInteger),
    Column("retention_days", Integer),
    Column("query_samples", BigInteger),
    Column("query_concurrency", Integer),
)

organisation = Table(
    "organisation",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False, unique=True),
    Column("plan", Text, nullable=False),
    Column("created_at", _Instant, nullable=False),
)

user_account = Table(
    "user_account",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("created_at", _Instant, nullable=False),
    Column("disabled_at", _Instant),
)

credential = Table(
    "credential",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("updated_at", _Instant, nullable=False),
)

membership = Table(
    "membership",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("user_id", Uuid, primary_key=True),
    Column("role", Text, nullable=False),
    Column("joined_at", _Instant, nullable=False),
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
    Column("created_at", _Instant, nullable=False),
    Column("expires_at", _Instant, nullable=False),
    Column("accepted_at", _Instant),
    Column("revoked_at", _Instant),
)

session = Table(
    "session",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("user_id", Uuid, nullable=False),
    Column("org_id", Uuid, nullable=False),
    Column("created_at", _Instant, nullable=False),
    Column("fresh_at", _Instant, nullable=False),
    Column("last_seen_at", _Instant, nullable=False),
    Column("expires_at", _Instant, nullable=False),
    Column("revoked_at", _Instant),
)

api_key = Table(
    "api_key",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("start", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("pepper_version", SmallInteger, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", _Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("last_used_at", _Instant),
    Column("expires_at", _Instant),
    Column("revoked_at", _Instant),
)

signing_key = Table(
    "signing_key",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("private_key_sealed", LargeBinary, nullable=False),
    Column("created_at", _Instant, nullable=False),
    Column("activated_at", _Instant),
    Column("retired_at", _Instant),
)

revocation = Table(
    "revocation",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("ref", Uuid, nullable=False),
    Column("at", _Instant, nullable=False),
)

throttle = Table(
    "throttle",
    metadata,
    Column("bucket", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", _Instant, nullable=False),
    Column("blocked_until", _Instant),
)

setup = Table(
    "setup",
    metadata,
    Column("only", Boolean, primary_key=True),
    Column("nonce", LargeBinary, nullable=False),
    Column("home_org", Uuid),
    Column("announced_at", _Instant),
    Column("completed_at", _Instant),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

audit_event = Table(
    "audit_event",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("at", _Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("request_id", Text),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

usage_hour = Table(
    "usage_hour",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("hour", _Instant, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("quantity", Numeric(38, 9), nullable=False),
    Column("minutes", ARRAY(Integer), nullable=False),
    Column("readings", BigInteger, nullable=False),
    Column("latest_at", _Instant),
    Column("received_at", _Instant, nullable=False),
)

usage_watermark = Table(
    "usage_watermark",
    metadata,
    Column("source", Text, primary_key=True),
    Column("complete_through", _Instant, nullable=False),
)
