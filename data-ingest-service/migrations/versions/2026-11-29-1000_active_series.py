"""Which series each writer saw lately, so that the cap of a plan counts them once for all writers.

Source: docs/contracts.md, section 3.
"""

from alembic import op

revision = "0002_active_series"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """`metrics.active_series` is there, empty."""
    op.execute(
        """CREATE TABLE metrics.active_series (
          tenant_id      uuid, writer uuid,
          counted_at     timestamptz NOT NULL DEFAULT now(),
          last_series_id bigint NOT NULL,
          series_ids     bytea NOT NULL,
          PRIMARY KEY (tenant_id, writer))"""
    )
    # Compressed already.
    op.execute("ALTER TABLE metrics.active_series ALTER COLUMN series_ids SET STORAGE EXTERNAL")


def downgrade() -> None:
    """It is gone."""
    op.execute("DROP TABLE metrics.active_series")
