"""mail that waits, tokens of mailed links, where sessions are, suspended organisations"""

from alembic import op

revision = "202611301060"
down_revision = "202611301050"
branch_labels = None
depends_on = None

DIRECTORY = "cloudopshub_billing_directory"

UP = (
    """CREATE TABLE billing.mail (
      id         uuid PRIMARY KEY,
      address    text NOT NULL,
      sealed     bytea,
      created_at timestamptz NOT NULL,
      next_at    timestamptz NOT NULL,
      attempts   integer NOT NULL DEFAULT 0,
      ended_at   timestamptz,
      error      text)""",
    "CREATE INDEX mail_due ON billing.mail (next_at) WHERE ended_at IS NULL",
    "CREATE INDEX mail_of_address ON billing.mail (address, created_at)",
    """CREATE TABLE billing.mailed_token (
      token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
      purpose    text NOT NULL CHECK (purpose IN ('verify', 'reset', 'address', 'undo')),
      user_id    uuid REFERENCES billing.user_account,
      email      text,
      created_at timestamptz NOT NULL,
      expires_at timestamptz NOT NULL)""",
    "CREATE INDEX mailed_token_of_user ON billing.mailed_token (user_id)",
    "CREATE INDEX mailed_token_expiry ON billing.mailed_token (expires_at)",
    "ALTER TABLE billing.user_account ADD email_verified_at timestamptz",
    "ALTER TABLE billing.session ADD network text, ADD browser text",
    "ALTER TABLE billing.organisation ADD suspended_at timestamptz, ADD suspended_reason text",
    "REVOKE ALL ON billing.mail, billing.mailed_token FROM PUBLIC",
    f"""GRANT SELECT, INSERT, DELETE, UPDATE (sealed, next_at, attempts, ended_at, error)
      ON billing.mail TO {DIRECTORY}""",
    f"GRANT SELECT, INSERT, DELETE ON billing.mailed_token TO {DIRECTORY}",
    f"GRANT UPDATE (email, email_verified_at, disabled_at) ON billing.user_account TO {DIRECTORY}",
    f"GRANT DELETE ON billing.credential TO {DIRECTORY}",
    f"GRANT UPDATE (fresh_at) ON billing.session TO {DIRECTORY}",
    f"GRANT UPDATE (email) ON billing.invitation TO {DIRECTORY}",
    f"GRANT UPDATE (suspended_at, suspended_reason) ON billing.organisation TO {DIRECTORY}",
)

DOWN = (
    f"REVOKE UPDATE (email) ON billing.invitation FROM {DIRECTORY}",
    f"REVOKE UPDATE (fresh_at) ON billing.session FROM {DIRECTORY}",
    f"REVOKE DELETE ON billing.credential FROM {DIRECTORY}",
    f"REVOKE UPDATE (email, disabled_at) ON billing.user_account FROM {DIRECTORY}",
    "ALTER TABLE billing.organisation DROP suspended_at, DROP suspended_reason",
    "ALTER TABLE billing.session DROP network, DROP browser",
    "ALTER TABLE billing.user_account DROP email_verified_at",
    "DROP TABLE billing.mailed_token, billing.mail",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
