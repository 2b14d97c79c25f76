"""Samples that queries read, by tenant, hour and process."""

from alembic import op

revision = "d4a50005c0de"
down_revision = "d4a50004c0de"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE rules.query_usage (
  tenant_id uuid        NOT NULL,
  hour      timestamptz NOT NULL,
  process   uuid        NOT NULL,
  samples   bigint      NOT NULL CHECK (samples > 0),
  delivered bigint      NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, hour, process));
CREATE INDEX query_usage_due ON rules.query_usage (hour, tenant_id) WHERE delivered < samples;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE rules.query_usage")
