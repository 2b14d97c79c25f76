"""Jobs and the chunks of their results."""

from alembic import op

revision = "a1f0c2d4e6b8"
down_revision = None
branch_labels = None
depends_on = None

UP = """
CREATE TABLE analysis.job (
  id               uuid        PRIMARY KEY,
  tenant_id        uuid        NOT NULL,
  kind             text        NOT NULL,
  query            text        NOT NULL,
  start_ms         bigint      NOT NULL,
  end_ms           bigint      NOT NULL,
  step_ms          bigint      NOT NULL CHECK (step_ms > 0),
  params           jsonb       NOT NULL,
  code_version     text        NOT NULL,
  state            text        NOT NULL DEFAULT 'queued'
                   CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
  attempts         integer     NOT NULL DEFAULT 0,
  error            text,
  progress_done    integer     NOT NULL DEFAULT 0,
  progress_total   integer     NOT NULL DEFAULT 0,
  progress_message text        NOT NULL DEFAULT '',
  eta_s            integer,
  cancel_requested boolean     NOT NULL DEFAULT false,
  created_by       text        NOT NULL,
  created_at       timestamptz NOT NULL,
  run_after        timestamptz NOT NULL,
  started_at       timestamptz,
  finished_at      timestamptz,
  claim            uuid,
  claimed_by       text,
  lease_until      timestamptz,
  written_series   text[]      NOT NULL DEFAULT '{}',
  summary          jsonb       NOT NULL DEFAULT '{}',
  CHECK ((state = 'running') = (claim IS NOT NULL AND lease_until IS NOT NULL)));
COMMENT ON TABLE analysis.job IS 'one question and its answer''s state; id = hash of the question';
CREATE INDEX job_unfinished ON analysis.job (tenant_id, created_at)
  WHERE state IN ('queued', 'running');
CREATE INDEX job_of_tenant ON analysis.job (tenant_id, created_at DESC);
CREATE INDEX job_finished ON analysis.job (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE analysis.chunk (
  job_id     uuid    NOT NULL REFERENCES analysis.job (id) ON DELETE CASCADE,
  chunk_no   integer NOT NULL,
  tenant_id  uuid    NOT NULL,
  series     integer NOT NULL,
  payload    bytea   NOT NULL,
  PRIMARY KEY (job_id, chunk_no));
ALTER TABLE analysis.chunk ALTER COLUMN payload SET STORAGE EXTERNAL;
COMMENT ON COLUMN analysis.chunk.payload IS
  'zstd columns; layout in analysis_processing/jobs/columns.py';
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE analysis.chunk; DROP TABLE analysis.job;")
