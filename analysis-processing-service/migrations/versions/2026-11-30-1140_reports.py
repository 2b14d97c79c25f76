"""Reports that are made on a schedule, and the issues that were made."""

from alembic import op

revision = "202611301140"
down_revision = "202611301120"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE analysis.report (
  id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id   uuid        NOT NULL,
  name        text        NOT NULL,
  every       text        NOT NULL CHECK (every IN ('day', 'week', 'month')),
  hour        integer     NOT NULL CHECK (hour BETWEEN 0 AND 23),
  timezone    text        NOT NULL,
  enabled     boolean     NOT NULL,
  created_by  text        NOT NULL,
  created_at  timestamptz NOT NULL,
  next_at     timestamptz NOT NULL,
  asked_at    timestamptz,
  due_at      timestamptz NOT NULL,
  ran_at      timestamptz,
  error       text,
  issues      integer     NOT NULL DEFAULT 0,
  attempts    integer     NOT NULL DEFAULT 0,
  claim       uuid,
  claimed_by  text,
  lease_until timestamptz,
  UNIQUE (tenant_id, name),
  CHECK ((claim IS NULL) = (lease_until IS NULL)));
COMMENT ON COLUMN analysis.report.next_at IS 'when the schedule has the next issue made';
COMMENT ON COLUMN analysis.report.asked_at IS 'somebody wants one up to this time, now';
CREATE INDEX report_due ON analysis.report (due_at) WHERE enabled;
CREATE INDEX report_claim ON analysis.report (claim) WHERE claim IS NOT NULL;
CREATE TABLE analysis.report_issue (
  report_id uuid        NOT NULL REFERENCES analysis.report (id) ON DELETE CASCADE,
  number    integer     NOT NULL,
  tenant_id uuid        NOT NULL,
  start_at  timestamptz NOT NULL,
  end_at    timestamptz NOT NULL,
  made_at   timestamptz NOT NULL,
  html      bytea       NOT NULL,
  pdf       bytea       NOT NULL,
  PRIMARY KEY (report_id, number),
  CHECK (octet_length(html) + octet_length(pdf) <= 2097152));
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE analysis.report_issue, analysis.report")
