"""${message}."""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is true afterwards."""
    ${upgrades if upgrades else 'op.execute("")'}


def downgrade() -> None:
    """Back to before."""
    ${downgrades if downgrades else 'op.execute("")'}
