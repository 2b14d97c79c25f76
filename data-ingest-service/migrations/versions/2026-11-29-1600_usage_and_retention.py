"""Usage by hour: active series and stored bytes beside samples, and a revision to follow.

Source: docs/contracts.md, section 3; docs/adr/0018-usage-and-retention.md.
"""

from alembic import op

revision = "0005_usage_and_retention"
down_revision = "0004_refused_by_sender"
branch_labels = None
depends_on = None

UP = (
    """ALTER TABLE metrics.usage_hour
      ADD COLUMN active_series integer[] NOT NULL DEFAULT '{}',
      ADD COLUMN stored_bytes_max bigint NOT NULL DEFAULT 0,
      ADD COLUMN stored_bytes_sum bigint NOT NULL DEFAULT 0,
      ADD COLUMN stored_bytes_readings integer NOT NULL DEFAULT 0,
      ADD COLUMN revision integer NOT NULL DEFAULT 1,
      ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()""",
    "CREATE INDEX usage_follow ON metrics.usage_hour (xid)",
)

DOWN = (
    """ALTER TABLE metrics.usage_hour DROP COLUMN active_series, DROP COLUMN stored_bytes_max,
      DROP COLUMN stored_bytes_sum, DROP COLUMN stored_bytes_readings, DROP COLUMN revision,
      DROP COLUMN xid""",
)


def upgrade() -> None:
    """Hours counted before have no active series and no readings."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Only samples are counted."""
    for statement in DOWN:
        op.execute(statement)
