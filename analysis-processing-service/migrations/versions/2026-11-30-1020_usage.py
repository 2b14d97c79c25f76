"""Analyses that ended with a result, by tenant and hour."""

from alembic import op

revision = "a1f0c2d4e6b9"
down_revision = "a1f0c2d4e6b8"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE analysis.usage_hour (
  tenant_id uuid        NOT NULL,
  hour      timestamptz NOT NULL,
  runs      bigint      NOT NULL CHECK (runs > 0),
  delivered bigint      NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, hour));
CREATE INDEX usage_hour_due ON analysis.usage_hour (hour, tenant_id) WHERE delivered < runs;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE analysis.usage_hour")
