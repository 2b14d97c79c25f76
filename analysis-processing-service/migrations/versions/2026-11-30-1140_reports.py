"""Which reports are made on a schedule; their issues are jobs."""

from alembic import op

revision = "202611301140"
down_revision = "202611301120"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE analysis.report (
  tenant_id uuid        NOT NULL,
  every     text        NOT NULL CHECK (every IN ('day', 'week', 'month')),
  hour      integer     NOT NULL CHECK (hour BETWEEN 0 AND 23),
  next_at   timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, every));
COMMENT ON COLUMN analysis.report.next_at IS 'when its next issue is due: 5 min after a period';
CREATE INDEX report_due ON analysis.report (next_at);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE analysis.report")
