"""Reports on a schedule; their issues are jobs."""

from alembic import op

revision = "202611301140"
down_revision = "202611301120"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE analysis.report (
  id         uuid        PRIMARY KEY,
  tenant_id  uuid        NOT NULL,
  name       text        NOT NULL,
  every      text        NOT NULL CHECK (every IN ('day', 'week', 'month')),
  hour       integer     NOT NULL CHECK (hour BETWEEN 0 AND 23),
  enabled    boolean     NOT NULL,
  created_by text        NOT NULL,
  created_at timestamptz NOT NULL,
  next_at    timestamptz NOT NULL);
COMMENT ON COLUMN analysis.report.next_at IS 'when its next issue is due: 5 min after a period';
CREATE INDEX report_of_tenant ON analysis.report (tenant_id);
CREATE INDEX report_due ON analysis.report (next_at) WHERE enabled;
CREATE INDEX job_of_report ON analysis.job ((params ->> 'report')) WHERE kind = 'report';
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP INDEX analysis.job_of_report")
    op.execute("DROP TABLE analysis.report")
