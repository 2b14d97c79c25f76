"""Recording rules over history: jobs."""

from alembic import op

revision = "d4a50003c0de"
down_revision = "d4a50001c0de"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE rules.backfill (
  backfill_id uuid        PRIMARY KEY,
  tenant_id   uuid        NOT NULL,
  record      text        NOT NULL,
  rule        text        NOT NULL,
  start_ms    bigint      NOT NULL,
  end_ms      bigint      NOT NULL,
  step_ms     bigint      NOT NULL CHECK (step_ms > 0),
  next_ms     bigint      NOT NULL,
  chunk       integer     NOT NULL,
  status      text        NOT NULL DEFAULT 'running'
              CHECK (status IN ('running', 'done', 'failed', 'cancelled')),
  samples     bigint      NOT NULL DEFAULT 0,
  failures    integer     NOT NULL DEFAULT 0,
  error       text        NOT NULL DEFAULT '',
  created_at  timestamptz NOT NULL DEFAULT now(),
  due_at      timestamptz NOT NULL DEFAULT now());
CREATE INDEX backfill_due ON rules.backfill (due_at) WHERE status = 'running';
CREATE INDEX backfill_tenant ON rules.backfill (tenant_id, created_at);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE rules.backfill")
