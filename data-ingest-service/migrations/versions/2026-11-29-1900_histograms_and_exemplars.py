"""Native histograms weigh in compaction; exemplars.

Source: docs/contracts.md, section 3; docs/adr/0020-native-histograms-and-exemplars.md.
"""

from alembic import op

revision = "0007_histograms_and_exemplars"
down_revision = "0006_usage_and_retention"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No batch has histograms yet. The primary key is what makes an exemplar the same one."""
    op.execute("ALTER TABLE metrics.batch ADD COLUMN histogram_bytes integer NOT NULL DEFAULT 0")
    op.execute(
        """CREATE TABLE metrics.exemplar (
          tenant_id    uuid NOT NULL,
          series_id    bigint NOT NULL,
          timestamp_ms bigint NOT NULL,
          value        double precision NOT NULL,
          labels       jsonb NOT NULL,
          PRIMARY KEY (tenant_id, series_id, timestamp_ms, value, labels))"""
    )
    op.execute("CREATE INDEX exemplar_age ON metrics.exemplar (tenant_id, timestamp_ms)")


def downgrade() -> None:
    """Exemplars go. Batches and blocks with histograms stay; older versions cannot read these
    batches, and show these samples of blocks as NaN.
    """
    op.execute("DROP TABLE metrics.exemplar")
    op.execute("ALTER TABLE metrics.batch DROP COLUMN histogram_bytes")
