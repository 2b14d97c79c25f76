"""The statements of the write path, in one place (schema: docs/contracts.md, section 3)."""

from data_ingest.chassis.database import Schema

SCHEMA = Schema("metrics", "data_ingest.migrate")

# $7 how often series of the tenant had been deleted when the ids in the payload were looked up. It
# fails with SERIES_DELETED where that is not so any more; until it commits, none is deleted.
INSERT_BATCH = """
INSERT INTO metrics.batch (tenant_id, min_ts, max_ts, samples, payload, histogram_bytes)
SELECT $1, $2, $3, $4, $5, $6 FROM metrics.hold_series($1, $7)
RETURNING batch_id, received_at
"""
SERIES_DELETED = "CH001"

SERIES_DELETIONS = """
SELECT tenant_id, series_deletions FROM metrics.tenant WHERE tenant_id = ANY($1::uuid[])
"""

TENANTS_WITH_DELETIONS = """
SELECT tenant_id, series_deletions FROM metrics.tenant WHERE series_deletions > 0
"""

# $1 tenant, $2 days, 0 for no limit.
SET_RETENTION = """
INSERT INTO metrics.tenant AS kept (tenant_id, retention_days) VALUES ($1, $2)
ON CONFLICT (tenant_id) DO UPDATE SET retention_days = excluded.retention_days
 WHERE kept.retention_days IS DISTINCT FROM excluded.retention_days
"""

# Both answer in one row, and the texts come in one value (none holds a line end): a value or a row
# of its own for each series costs the client as much again as all the rest.
SELECT_SERIES = """
SELECT coalesce(string_agg(labels_hash, ''), '') AS hashes,
       coalesce(array_agg(series_id), '{}') AS series_ids
  FROM metrics.series
 WHERE tenant_id = $1 AND labels_hash = ANY($2::bytea[])
"""

# $2 labels, a line each; $3 their hashes, 16 bytes each. Sorted by hash: two writers with the same
# new series then wait for one another in one order.
INSERT_SERIES = """
WITH made AS (
  INSERT INTO metrics.series (tenant_id, labels, labels_hash)
  SELECT $1, labels::jsonb, substring($3::bytea, (16 * place - 15)::int, 16) AS labels_hash
    FROM string_to_table($2::text, chr(10)) WITH ORDINALITY AS new (labels, place)
   ORDER BY labels_hash
  ON CONFLICT (tenant_id, labels_hash) DO NOTHING
  RETURNING labels_hash, series_id)
SELECT coalesce(string_agg(labels_hash, ''), '') AS hashes,
       coalesce(array_agg(series_id), '{}') AS series_ids
  FROM made
"""

# The same one again is silent.
INSERT_EXEMPLARS = """
INSERT INTO metrics.exemplar (tenant_id, series_id, timestamp_ms, value, labels)
SELECT $1, series_id, timestamp_ms, value, labels::jsonb
  FROM unnest($2::bigint[], $3::bigint[], $4::float8[], $5::text[])
       AS new (series_id, timestamp_ms, value, labels)
ON CONFLICT DO NOTHING
"""

# The oldest of each by its index; without ORDER BY the planner may read the table for each tenant.
TENANTS_WITH_EXEMPLARS = """
SELECT t.tenant_id, t.retention_days
  FROM metrics.tenant AS t CROSS JOIN LATERAL (
       SELECT FROM metrics.exemplar
        WHERE tenant_id = t.tenant_id ORDER BY timestamp_ms LIMIT 1) AS oldest
"""

# $1 tenant, $2 how many it keeps, $3 the earliest time in ms. The row's place decides among those
# of one time.
TRIM_EXEMPLARS = """
DELETE FROM metrics.exemplar
 WHERE tenant_id = $1
   AND (timestamp_ms < $3 OR (timestamp_ms, ctid) <= (
        SELECT timestamp_ms, ctid FROM metrics.exemplar WHERE tenant_id = $1
         ORDER BY timestamp_ms DESC, ctid DESC OFFSET $2 LIMIT 1))
"""

ADD_REFUSED = """
INSERT INTO metrics.refused_hour AS kept
       (tenant_id, hour, reason, sender, samples, example, first_at, last_at)
VALUES ($1, date_trunc('hour', now(), 'UTC'), $2, $3, $4, $5, now(), now())
ON CONFLICT (tenant_id, hour, reason, sender) DO UPDATE
   SET samples = kept.samples + excluded.samples, example = excluded.example, last_at = now()
"""

SELECT_REFUSED = """
SELECT reason, sender, sum(samples)::bigint AS samples, min(first_at) AS first_at,
       max(last_at) AS last_at, (array_agg(example ORDER BY last_at DESC))[1] AS example
  FROM metrics.refused_hour
 WHERE tenant_id = $1 AND last_at >= $2 AND first_at <= $3
 GROUP BY reason, sender ORDER BY last_at DESC, reason, sender LIMIT 1000
"""

# Of what nobody used lately: a bucket is full after a day, a cluster has no replica, and a process
# that lives reports each minute.
DELETE_OLD = (
    "DELETE FROM metrics.refused_hour WHERE hour < now() - interval '32 days'",
    "DELETE FROM metrics.rate WHERE at < now() - interval '1 day'",
    "DELETE FROM metrics.rate_lease WHERE until < now() - interval '1 day'",
    "DELETE FROM metrics.ha_cluster WHERE seen_at < now() - interval '1 day'",
    "DELETE FROM metrics.active_series WHERE counted_at < now() - interval '1 day'",
)

UPSERT_METADATA = """
INSERT INTO metrics.metadata AS kept (tenant_id, metric_name, type, help, unit)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, metric_name) DO UPDATE
   SET type = excluded.type, help = excluded.help, unit = excluded.unit, updated_at = now()
 WHERE (kept.type, kept.help, kept.unit)
       IS DISTINCT FROM (excluded.type, excluded.help, excluded.unit)
"""

LAST_SERIES_ID = """
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM metrics.series_id_seq
"""

# $1 tenant, $2 an id. By the primary key: the ids since then are few, the tenant's series many.
SERIES_SINCE = """
SELECT coalesce(array_agg(series_id), '{}')
  FROM (SELECT series_id, tenant_id FROM metrics.series
         WHERE series_id > $2 ORDER BY series_id OFFSET 0) AS young
 WHERE tenant_id = $1
"""

# $1 tenant, $2 window in seconds.
ACTIVE_REPORTS = """
SELECT last_series_id, series_ids FROM metrics.active_series
 WHERE tenant_id = $1 AND counted_at > now() - make_interval(secs => $2)
"""

# $1 tenant, $2 writer, $3 packed ids.
REPORT_ACTIVE = """
INSERT INTO metrics.active_series (tenant_id, writer, last_series_id, series_ids)
SELECT $1, $2, CASE WHEN is_called THEN last_value ELSE 0 END, $3 FROM metrics.series_id_seq
ON CONFLICT (tenant_id, writer) DO UPDATE
   SET counted_at = now(), last_series_id = excluded.last_series_id,
       series_ids = excluded.series_ids
"""

# The timeline is that of the WAL written now: a promoted server's last checkpoint still has the old
# one. Null on a standby. Every role may call these functions.
STORE = """
SELECT (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
       CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
       END AS timeline,
       to_regclass('metrics.series')::oid::bigint AS series_table,
       pg_postmaster_start_time() AS started_at
"""

# $1, $2 batch_id and received_at of some batches, $3, $4 the first and last received_at: only their
# partitions are read. The places (from 1) of those that are not there.
MISSING_BATCHES = """
SELECT place FROM unnest($1::bigint[], $2::timestamptz[])
       WITH ORDINALITY AS wanted (batch_id, received_at, place)
 WHERE NOT EXISTS (
   SELECT FROM metrics.batch AS kept
    WHERE kept.batch_id = wanted.batch_id AND kept.received_at = wanted.received_at
      AND kept.received_at BETWEEN $3 AND $4)
 ORDER BY place
"""
