"""Which chunks were being computed when a worker was lost: one of them may be why."""

from alembic import op

revision = "202611301115"
down_revision = "202611301100"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE analysis.job
  ADD COLUMN computing text[] NOT NULL DEFAULT '{}',
  ADD COLUMN suspects  text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN analysis.job.computing IS 'digests of the chunks that are being computed';
COMMENT ON COLUMN analysis.job.suspects IS
  'digests of the chunks that were being computed when a worker was lost, once a loss';
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("ALTER TABLE analysis.job DROP COLUMN computing, DROP COLUMN suspects")
