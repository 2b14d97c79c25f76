"""Scrape targets: their state, as the one replica that scrapes writes it and all answer it.

Source: docs/contracts.md, section 3; docs/adr/0016-scrape-jobs.md.
"""

from alembic import op

revision = "0005_scrape_jobs"
down_revision = "0004_refused_by_sender"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rows change with each scrape: half of a page is left free, so that they change in place.

    facts: JSON; as jsonb it could not hold all that a label may.
    """
    op.execute(
        """CREATE TABLE metrics.scrape_target (
          tenant_id  uuid NOT NULL,
          target_key text NOT NULL,
          is_dropped boolean NOT NULL,
          facts      text NOT NULL,
          PRIMARY KEY (tenant_id, target_key)) WITH (fillfactor = 50)"""
    )


def downgrade() -> None:
    """The state goes; the next leader would write it again."""
    op.execute("DROP TABLE metrics.scrape_target")
