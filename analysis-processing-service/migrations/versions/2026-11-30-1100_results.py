"""What a job says of each series, in rows that can be ranked, filtered and paged."""

from alembic import op

revision = "202611301100"
down_revision = "a1f0c2d4e6b9"
branch_labels = None
depends_on = None

UP = """
DELETE FROM analysis.chunk;
DELETE FROM analysis.job WHERE state = 'succeeded';
ALTER TABLE analysis.job
  ALTER COLUMN summary DROP DEFAULT,
  ALTER COLUMN summary TYPE json USING summary::json,
  ALTER COLUMN summary SET DEFAULT '{}';
ALTER TABLE analysis.chunk
  ADD COLUMN digest bytea  NOT NULL,
  ADD COLUMN points bigint NOT NULL;
COMMENT ON COLUMN analysis.chunk.digest IS
  'SHA-256 of what the chunk was computed from: equal input is not computed again';
COMMENT ON COLUMN analysis.chunk.payload IS
  'Arrow IPC stream; layout in analysis_processing/jobs/results.py';
CREATE TABLE analysis.series (
  job_id    uuid             NOT NULL REFERENCES analysis.job (id) ON DELETE CASCADE,
  chunk_no  integer          NOT NULL,
  row_no    integer          NOT NULL,
  tenant_id uuid             NOT NULL,
  score     double precision NOT NULL,
  findings  integer          NOT NULL,
  labels    jsonb            NOT NULL,
  detail    json             NOT NULL,
  note      text,
  PRIMARY KEY (job_id, chunk_no, row_no));
COMMENT ON TABLE analysis.series IS
  'one series of a result; detail = its facts and findings, in order; columns are in the chunk';
CREATE INDEX series_by_score ON analysis.series (job_id, score DESC, chunk_no, row_no);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(
        "DROP TABLE analysis.series;"
        "ALTER TABLE analysis.chunk DROP COLUMN digest, DROP COLUMN points;"
        "ALTER TABLE analysis.job ALTER COLUMN summary DROP DEFAULT,"
        "  ALTER COLUMN summary TYPE jsonb USING summary::jsonb,"
        "  ALTER COLUMN summary SET DEFAULT '{}'"
    )
