"""sign-in: second factors, identities at providers, keys that rotate, service accounts"""

from alembic import op

revision = "202611301070"
down_revision = "202611301060"
branch_labels = None
depends_on = None

APP = "cloudopshub_billing_app"
DIRECTORY = "cloudopshub_billing_directory"
OF_ORGANISATION = "org_id = nullif(current_setting('app.org', true), '')::uuid"
KEY_COLUMNS = "networks, requests_per_s, replaced_by"

UP = (
    """CREATE TABLE billing.second_factor (
      user_id       uuid PRIMARY KEY REFERENCES billing.user_account ON DELETE CASCADE,
      secret_sealed bytea NOT NULL,
      last_step     bigint NOT NULL,
      created_at    timestamptz NOT NULL,
      confirmed_at  timestamptz)""",
    """CREATE TABLE billing.recovery_code (
      user_id uuid REFERENCES billing.second_factor ON DELETE CASCADE,
      hash    bytea CHECK (octet_length(hash) = 32),
      PRIMARY KEY (user_id, hash))""",
    """CREATE TABLE billing.challenge (
      token_hash bytea PRIMARY KEY,
      user_id    uuid REFERENCES billing.user_account ON DELETE CASCADE,
      detail     jsonb NOT NULL,
      expires_at timestamptz NOT NULL)""",
    "CREATE INDEX challenge_expiry ON billing.challenge (expires_at)",
    """CREATE TABLE billing.identity (
      id            uuid PRIMARY KEY,
      issuer        text NOT NULL,
      subject       text NOT NULL,
      provider      text NOT NULL,
      user_id       uuid NOT NULL REFERENCES billing.user_account ON DELETE CASCADE,
      linked_at     timestamptz NOT NULL,
      last_login_at timestamptz,
      UNIQUE (issuer, subject))""",
    "CREATE INDEX identity_of_user ON billing.identity (user_id)",
    """ALTER TABLE billing.organisation
      ADD COLUMN requires_second_factor boolean NOT NULL DEFAULT false""",
    "ALTER TABLE billing.membership ADD COLUMN mapped_by text",
    """ALTER TABLE billing.api_key
      ADD COLUMN networks        text[] NOT NULL DEFAULT '{}',
      ADD COLUMN requests_per_s  integer CHECK (requests_per_s > 0),
      ADD COLUMN replaced_by     uuid""",
    """CREATE TABLE billing.service_account (
      org_id      uuid REFERENCES billing.organisation,
      id          uuid,
      name        text NOT NULL,
      scopes      text[] NOT NULL CHECK (cardinality(scopes) > 0),
      created_at  timestamptz NOT NULL,
      created_by  text NOT NULL,
      disabled_at timestamptz,
      PRIMARY KEY (org_id, id))""",
    "ALTER TABLE billing.service_account ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE billing.service_account FORCE ROW LEVEL SECURITY",
    f"""CREATE POLICY one_organisation ON billing.service_account TO {APP}
      USING ({OF_ORGANISATION}) WITH CHECK ({OF_ORGANISATION})""",
    f"GRANT SELECT, INSERT, UPDATE (disabled_at) ON billing.service_account TO {APP}",
    f"GRANT UPDATE (requires_second_factor) ON billing.organisation TO {APP}",
    f"GRANT UPDATE (mapped_by) ON billing.membership TO {APP}",
    f"""GRANT SELECT ({KEY_COLUMNS}), UPDATE (name, {KEY_COLUMNS}, expires_at)
      ON billing.api_key TO {APP}""",
    f"GRANT SELECT (networks, requests_per_s) ON billing.api_key TO {DIRECTORY}",
    f"""GRANT SELECT, INSERT, UPDATE, DELETE ON billing.second_factor, billing.recovery_code,
      billing.challenge TO {DIRECTORY}""",
    f"""GRANT SELECT, INSERT, UPDATE (last_login_at), DELETE ON billing.identity
      TO {DIRECTORY}""",
)

DOWN = (
    """DROP TABLE billing.service_account, billing.identity, billing.challenge,
      billing.recovery_code, billing.second_factor""",
    """ALTER TABLE billing.api_key DROP COLUMN networks, DROP COLUMN requests_per_s,
      DROP COLUMN replaced_by""",
    f"REVOKE UPDATE (name, expires_at) ON billing.api_key FROM {APP}",
    "ALTER TABLE billing.membership DROP COLUMN mapped_by",
    "ALTER TABLE billing.organisation DROP COLUMN requires_second_factor",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
