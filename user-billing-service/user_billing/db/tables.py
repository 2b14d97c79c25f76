"""The tables of schema `billing`, as queries see them; the migrations are what makes them.

Those of organisations and people, which each other's queries join; rooms of usage and money have
their own.

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
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from user_billing.chassis.database import Schema

SCHEMA: Final = Schema("billing", "user_billing.migrate")

SCHEMA_REVISION: Final = "202611301070"
"""The oldest migration this code works with; revisions sort by their date."""

APP_ROLE: Final = "cloudopshub_billing_app"

DIRECTORY_ROLE: Final = "cloudopshub_billing_directory"

metadata = MetaData(schema=SCHEMA.name)

Instant = DateTime(timezone=True)

user_account = Table(
    "user_account",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    Column("email_verified_at", Instant),
)

mailed_token = Table(
    "mailed_token",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("user_id", Uuid),
    Column("email", Text),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

credential = Table(
    "credential",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

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
    Column("created_at", Instant, nullable=False),
    Column("requires_second_factor", Boolean, nullable=False, server_default="false"),
    Column("suspended_at", Instant),
    Column("suspended_reason", Text),
)

session = Table(
    "session",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("user_id", Uuid, nullable=False),
    Column("org_id", Uuid, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("fresh_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("network", Text),
    Column("browser", Text),
)

challenge = Table(
    "challenge",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("user_id", Uuid),
    Column("detail", JSONB, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

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

identity = Table(
    "identity",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("linked_at", Instant, nullable=False),
    Column("last_login_at", Instant),
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
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("last_used_at", Instant),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("networks", ARRAY(Text), nullable=False),
    Column("requests_per_s", Integer),
    Column("replaced_by", Uuid),
)

service_account = Table(
    "service_account",
    metadata,
    Column("org_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("disabled_at", Instant),
)

signing_key = Table(
    "signing_key",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("private_key_sealed", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("activated_at", Instant),
    Column("retired_at", Instant),
)

revocation = Table(
    "revocation",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("ref", Uuid, nullable=False),
    Column("at", Instant, nullable=False),
)

setup = Table(
    "setup",
    metadata,
    Column("only", Boolean, primary_key=True),
    Column("nonce", LargeBinary, nullable=False),
    Column("home_org", Uuid),
    Column("announced_at", Instant),
    Column("completed_at", Instant),
)

throttle = Table(
    "throttle",
    metadata,
    Column("bucket", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("blocked_until", Instant),
)

mail = Table(
    "mail",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("address", Text, nullable=False),
    Column("sealed", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Column("next_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("ended_at", Instant),
    Column("error", Text),
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
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("request_id", Text),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
