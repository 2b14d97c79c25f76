"""usage of each organisation by hour and meter, as the services report it"""

from alembic import op

revision = "202611292000"
down_revision = "202611291000"
branch_labels = None
depends_on = None

APP = "cloudopshub_billing_app"
DIRECTORY = "cloudopshub_billing_directory"
OF_ORGANISATION = "org_id = nullif(current_setting('app.org', true), '')::uuid"

UP = (
    """CREATE TABLE billing.usage_hour (
      org_id      uuid NOT NULL REFERENCES billing.organisation,
      meter       text NOT NULL,
      hour        timestamptz NOT NULL,
      source      text NOT NULL,
      revision    bigint NOT NULL,
      quantity    numeric(38,9) NOT NULL CHECK (quantity >= 0),
      minutes     integer[] NOT NULL,
      received_at timestamptz NOT NULL,
      PRIMARY KEY (org_id, meter, hour, source))""",
    """CREATE TABLE billing.usage_watermark (
      source           text PRIMARY KEY,
      complete_through timestamptz NOT NULL)""",
    "ALTER TABLE billing.usage_hour ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE billing.usage_hour FORCE ROW LEVEL SECURITY",
    f"""CREATE POLICY one_organisation ON billing.usage_hour TO {APP}
      USING ({OF_ORGANISATION}) WITH CHECK ({OF_ORGANISATION})""",
    f"""GRANT SELECT, INSERT, UPDATE (revision, quantity, minutes, received_at)
      ON billing.usage_hour TO {APP}""",
    f"GRANT SELECT, INSERT, UPDATE (complete_through) ON billing.usage_watermark TO {DIRECTORY}",
)


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE billing.usage_watermark, billing.usage_hour")
