"""Refused samples: by whose key, with an example, and when first and last.

Source: docs/contracts.md, section 3.
"""

from alembic import op

revision = "0004_refused_by_sender"
down_revision = "0003_block_checks"
branch_labels = None
depends_on = None

UP = (
    """ALTER TABLE metrics.refused_hour
      ADD COLUMN sender text NOT NULL DEFAULT '', ADD COLUMN example text NOT NULL DEFAULT '',
      ADD COLUMN first_at timestamptz, ADD COLUMN last_at timestamptz""",
    "UPDATE metrics.refused_hour SET first_at = hour, last_at = hour",
    """ALTER TABLE metrics.refused_hour
      ALTER COLUMN first_at SET NOT NULL, ALTER COLUMN last_at SET NOT NULL,
      DROP CONSTRAINT refused_hour_pkey, ADD PRIMARY KEY (tenant_id, hour, reason, sender)""",
)
DOWN = (
    """CREATE TEMPORARY TABLE summed AS SELECT tenant_id, hour, reason, sum(samples) AS samples
      FROM metrics.refused_hour GROUP BY 1, 2, 3""",
    "DELETE FROM metrics.refused_hour",
    """ALTER TABLE metrics.refused_hour DROP CONSTRAINT refused_hour_pkey,
      DROP COLUMN sender, DROP COLUMN example, DROP COLUMN first_at, DROP COLUMN last_at,
      ADD PRIMARY KEY (tenant_id, hour, reason)""",
    "INSERT INTO metrics.refused_hour SELECT * FROM summed",
    "DROP TABLE summed",
)


def upgrade() -> None:
    """What was counted before has no sender, and its hour as its times."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """The counts of all senders are one."""
    for statement in DOWN:
        op.execute(statement)
