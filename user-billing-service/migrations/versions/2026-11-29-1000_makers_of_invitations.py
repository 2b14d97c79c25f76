"""an organisation sees who made its invitations: they end with what their makers may do"""

from alembic import op

revision = "202611291000"
down_revision = "202611221200"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("GRANT SELECT (invited_by) ON billing.invitation TO cloudopshub_billing_app")


def downgrade() -> None:
    op.execute("REVOKE SELECT (invited_by) ON billing.invitation FROM cloudopshub_billing_app")
