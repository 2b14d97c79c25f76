"""The statements of the write path, in one place (schema: docs/contracts.md, section 3)."""

from data_ingest.chassis.database import Schema

SCHEMA = Schema("metrics", "data_ingest.migrate")

INSERT_BATCH = """
INSERT INTO metrics.batch (tenant_id, min_ts, max_ts, samples, payload) VALUES ($1, $2, $3, $4, $5)
"""

SELECT_SERIES = """
SELECT labels_hash, series_id FROM metrics.series
 WHERE tenant_id = $1 AND labels_hash = ANY($2::bytea[])
"""

# Sorted by hash: two writers with the same new series then wait for one another in one order.
INSERT_SERIES = """
INSERT INTO metrics.series (tenant_id, labels, labels_hash)
SELECT $1, labels::jsonb, labels_hash
  FROM unnest($2::text[], $3::bytea[]) AS new (labels, labels_hash)
 ORDER BY labels_hash
ON CONFLICT (tenant_id, labels_hash) DO NOTHING
RETURNING labels_hash, series_id
"""

ADD_REFUSED = """
INSERT INTO metrics.refused_hour AS kept (tenant_id, hour, reason, samples)
VALUES ($1, date_trunc('hour', now(), 'UTC'), $2, $3)
ON CONFLICT (tenant_id, hour, reason) DO UPDATE SET samples = kept.samples + excluded.samples
"""

UPSERT_METADATA = """
INSERT INTO metrics.metadata AS kept (tenant_id, metric_name, type, help, unit)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, metric_name) DO UPDATE
   SET type = excluded.type, help = excluded.help, unit = excluded.unit, updated_at = now()
 WHERE (kept.type, kept.help, kept.unit)
       IS DISTINCT FROM (excluded.type, excluded.help, excluded.unit)
"""

# Identifies the store: after a restore or with a new schema the table is another one, and after a
# recovery to an earlier point in time the sequence is behind, so that ids are given again.
STORE = """
SELECT to_regclass('metrics.series')::oid::bigint AS series_table,
       (SELECT last_value FROM metrics.series_id_seq) AS last_series_id
"""
