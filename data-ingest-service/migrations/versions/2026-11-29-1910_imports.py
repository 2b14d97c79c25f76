"""Imports: files of history that become samples in the background.

Source: docs/contracts.md, section 3; docs/adr/0022-imports.md.
"""

from alembic import op

revision = "0009_imports"
down_revision = "0007_histograms_and_exemplars"
branch_labels = None
depends_on = None

UP = (
    """CREATE TABLE metrics.import (
      import_id        uuid PRIMARY KEY,
      tenant_id        uuid NOT NULL,
      sender           text NOT NULL,
      options          text NOT NULL,
      content_type     text NOT NULL,
      limits           jsonb NOT NULL,
      state            text NOT NULL DEFAULT 'uploading' CHECK (state IN
                       ('uploading', 'queued', 'running', 'succeeded', 'failed', 'cancelled')),
      object_key       text NULL,
      bytes            bigint NOT NULL DEFAULT 0,
      progress         jsonb NOT NULL DEFAULT '{}',
      report           jsonb NOT NULL DEFAULT '[]',
      error            text NOT NULL DEFAULT '',
      attempts         integer NOT NULL DEFAULT 0,
      is_cancelled     boolean NOT NULL DEFAULT false,
      created_at       timestamptz NOT NULL DEFAULT now(),
      run_after        timestamptz NOT NULL DEFAULT now(),
      started_at       timestamptz NULL,
      finished_at      timestamptz NULL,
      claim            uuid NULL,
      lease_until      timestamptz NULL)""",
    "CREATE INDEX import_of_tenant ON metrics.import (tenant_id, created_at)",
    "CREATE INDEX import_due ON metrics.import (run_after) WHERE state IN ('queued', 'running')",
)


def upgrade() -> None:
    """No import yet."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Uploads that have no row are swept; samples that were stored stay."""
    op.execute("DROP TABLE metrics.import")
