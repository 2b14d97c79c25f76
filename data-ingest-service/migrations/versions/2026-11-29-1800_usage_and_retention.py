"""Usage by hour with active series, stored bytes and a revision; retention of tenants, and how far
the samples of a series reach.

Source: docs/contracts.md, section 3; docs/adr/0018-usage-and-retention.md.
"""

from alembic import op

revision = "0006_usage_and_retention"
down_revision = "0005_scrape_jobs"
branch_labels = None
depends_on = None

# Of a series: a day after it was made; compaction moves it on. `now()` here: one value for all rows
# that are there, which is later than any sample of theirs.
LAST_MS = "(floor(extract(epoch FROM now()) / 86400)::bigint + 2) * 86400000 - 1"

UP = (
    """ALTER TABLE metrics.usage_hour
      ADD COLUMN active_series integer[] NOT NULL DEFAULT '{}',
      ADD COLUMN stored_bytes_max bigint NOT NULL DEFAULT 0,
      ADD COLUMN stored_bytes_sum bigint NOT NULL DEFAULT 0,
      ADD COLUMN stored_bytes_readings integer NOT NULL DEFAULT 0,
      ADD COLUMN revision integer NOT NULL DEFAULT 1,
      ADD COLUMN delivered_revision integer NOT NULL DEFAULT 0""",
    """CREATE INDEX usage_due ON metrics.usage_hour (hour, tenant_id)
      WHERE delivered_revision < revision""",
    """CREATE TABLE metrics.tenant (
      tenant_id uuid PRIMARY KEY,
      retention_days integer NULL CHECK (retention_days >= 0),
      series_deletions bigint NOT NULL DEFAULT 0)""",
    f"""ALTER TABLE metrics.series ADD COLUMN last_ms bigint NOT NULL DEFAULT {LAST_MS}""",
    "CREATE INDEX series_last ON metrics.series (tenant_id, last_ms)",
    # Volatile: each statement in it sees what was committed while the lock was waited for.
    """CREATE FUNCTION metrics.hold_series(of_tenant uuid, deletions bigint) RETURNS void
      LANGUAGE plpgsql VOLATILE AS $$
      BEGIN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('series:' || of_tenant::text, 0));
        IF deletions <> coalesce((SELECT series_deletions FROM metrics.tenant
                                   WHERE tenant_id = of_tenant), 0) THEN
          RAISE EXCEPTION 'series of tenant % were deleted', of_tenant USING ERRCODE = 'CH001';
        END IF;
      END $$""",
)

DOWN = (
    "DROP FUNCTION metrics.hold_series",
    "ALTER TABLE metrics.series DROP COLUMN last_ms",
    "DROP TABLE metrics.tenant",
    """ALTER TABLE metrics.usage_hour DROP COLUMN active_series, DROP COLUMN stored_bytes_max,
      DROP COLUMN stored_bytes_sum, DROP COLUMN stored_bytes_readings, DROP COLUMN revision,
      DROP COLUMN delivered_revision""",
)


def upgrade() -> None:
    """Hours counted before have no active series and no readings; no series is old yet."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Only samples are counted, and all is kept."""
    for statement in DOWN:
        op.execute(statement)
