"""Blocks: the digest that their bytes are checked against, and when one was found corrupt.

Source: docs/formats/block.md; docs/contracts.md, section 3.
"""

from alembic import op

revision = "0003_block_checks"
down_revision = "0002_active_series"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Blocks written before have no digest: they are read unchecked."""
    op.execute(
        """ALTER TABLE metrics.block
          ADD COLUMN tail_sha256 bytea NULL CHECK (octet_length(tail_sha256) = 32),
          ADD COLUMN quarantined_at timestamptz NULL"""
    )


def downgrade() -> None:
    """No block is checked or quarantined any more."""
    op.execute("ALTER TABLE metrics.block DROP COLUMN tail_sha256, DROP COLUMN quarantined_at")
