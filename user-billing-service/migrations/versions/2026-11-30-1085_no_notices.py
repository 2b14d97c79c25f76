"""notices are gone: nobody read them; webhooks, GET /quotas and GET /guard tell what they told"""

from alembic import op

revision = "202611301085"
down_revision = "202611301070"
branch_labels = None
depends_on = None

APP = "cloudopshub_billing_app"
DIRECTORY = "cloudopshub_billing_directory"
OF_ORGANISATION = "org_id = nullif(current_setting('app.org', true), '')::uuid"
DOWN = (
    """CREATE TABLE billing.notice (
      org_id  uuid NOT NULL REFERENCES billing.organisation,
      id      uuid NOT NULL,
      type    text NOT NULL,
      at      timestamptz NOT NULL,
      payload jsonb NOT NULL,
      PRIMARY KEY (org_id, id))""",
    "CREATE INDEX notice_age ON billing.notice (at)",
    "ALTER TABLE billing.notice ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE billing.notice FORCE ROW LEVEL SECURITY",
    f"""CREATE POLICY one_organisation ON billing.notice TO {APP}
      USING ({OF_ORGANISATION}) WITH CHECK ({OF_ORGANISATION})""",
    f"GRANT SELECT, INSERT ON billing.notice TO {APP}",
    f"CREATE POLICY directory ON billing.notice TO {DIRECTORY} USING (true)",
    f"GRANT SELECT (org_id, id, at), DELETE ON billing.notice TO {DIRECTORY}",
)


def upgrade() -> None:
    op.execute("DROP TABLE billing.notice")


def downgrade() -> None:
    for statement in DOWN:
        op.execute(statement)
