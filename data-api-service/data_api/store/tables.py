"""Schema `metrics` as this service reads it: its statements.

data-ingest-service owns the schema and its migrations (docs/contracts.md §3). xid8 travels as text:
drivers know no such type.
"""

from typing import Final

from data_api.chassis.database import Schema

SCHEMA: Final = Schema("metrics", "data_ingest.migrate")

# The name of what is there to be read: two are equal only if no transaction has ended between them,
# on the same server since its start. Reads no table, so it costs a tenth of a listing that finds
# nothing new. A standby does not name the transactions that are open: '' there.
_NAME: Final = """
  CASE WHEN pg_is_in_recovery() THEN ''
       ELSE pg_current_snapshot()::text || ' ' || pg_postmaster_start_time()::text END"""
NAME: Final = f"SELECT {_NAME}"

# What tells one store from another (store/history.py). The timeline is that of the WAL written now:
# a promoted server's last checkpoint still has the old one. Every role may call these functions.
_POSITION: Final = f"""{_NAME} AS name,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
       (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
       to_regclass('metrics.series')::oid::bigint AS series_table,
       CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
       END AS timeline,
       pg_postmaster_start_time() AS started_at"""  # noqa: S608 - a text of ours

# $1 tenant, $2 watermark (xid). Ids alone: while any transaction stays open the watermark does not
# move, and every query lists all series since then again.
_SERIES: Final = """
  coalesce((SELECT series_deletions FROM metrics.tenant WHERE tenant_id = $1), 0)
    AS series_deletions,
  coalesce((SELECT array_agg(series_id) FROM metrics.series
            WHERE tenant_id = $1 AND xid >= $2::text::xid8), '{}') AS new_series_ids"""
SERIES_LISTING: Final = f"SELECT {_POSITION}, {_SERIES}"

# $1 tenant, $2 watermark of series, $3 of batches (xid), $4 and $5 first and last ms of the span.
# One row: one round trip, and arrays cost a tenth of what thousands of records cost to receive.
LISTING: Final = f"""
SELECT {_POSITION}, {_SERIES}, older.*, newer.*, blocks.*
FROM
 (SELECT coalesce(array_agg(batch_id), '{{}}') AS older_ids
  FROM metrics.batch
  WHERE tenant_id = $1 AND compacted_by IS NULL AND xid < $3::text::xid8) AS older,
 (SELECT coalesce(array_agg(batch_id), '{{}}') AS ids,
         coalesce(array_agg(xid::text::bigint), '{{}}') AS xids,
         coalesce(array_agg(min_ts), '{{}}') AS min_ts,
         coalesce(array_agg(max_ts), '{{}}') AS max_ts,
         coalesce(array_agg(samples), '{{}}') AS samples,
         coalesce(array_agg(histogram_bytes), '{{}}') AS histogram_bytes
  FROM metrics.batch
  WHERE tenant_id = $1 AND compacted_by IS NULL AND xid >= $3::text::xid8) AS newer,
 (SELECT coalesce(array_agg(block_id), '{{}}') AS block_ids,
         coalesce(array_agg(precedence), '{{}}') AS block_precedences,
         coalesce(array_agg(min_ts), '{{}}') AS block_min_ts,
         coalesce(array_agg(max_ts), '{{}}') AS block_max_ts,
         coalesce(array_agg(samples), '{{}}') AS block_samples,
         coalesce(array_agg(bytes), '{{}}') AS block_bytes,
         coalesce(array_agg(object_key), '{{}}') AS block_keys,
         coalesce(array_agg(tail_sha256), '{{}}') AS block_digests,
         coalesce(array_agg(resolution_ms), '{{}}') AS block_resolutions
  FROM metrics.block
  WHERE tenant_id = $1 AND replaced_by IS NULL
    AND min_ts <= $5 AND max_ts >= $4) AS blocks
"""  # noqa: S608 - a text of ours

# $1 tenant, $2 xids. Found by the index (tenant_id, xid); others of those transactions are dropped.
PAYLOADS: Final = """
SELECT batch_id, payload FROM metrics.batch
WHERE tenant_id = $1 AND compacted_by IS NULL AND xid = ANY($2::text[]::xid8[])
"""

# $1 tenant, $2 series ids.
SERIES: Final = """
SELECT series_id, labels::text AS labels FROM metrics.series
WHERE tenant_id = $1 AND series_id = ANY($2::bigint[])
"""

# $1 tenant.
ALL_SERIES: Final = """
SELECT series_id, labels::text AS labels FROM metrics.series WHERE tenant_id = $1
"""

# $1 tenant, $2 series ids, $3 and $4 first and last ms, $5 how many at most.
EXEMPLARS: Final = """
SELECT series_id, timestamp_ms, value, labels::text AS labels FROM metrics.exemplar
WHERE tenant_id = $1 AND series_id = ANY($2::bigint[]) AND timestamp_ms BETWEEN $3 AND $4
ORDER BY timestamp_ms DESC LIMIT $5
"""

METADATA: Final = """
SELECT metric_name, type, help, unit FROM metrics.metadata
WHERE tenant_id = $1 AND ($2::text IS NULL OR metric_name = $2) ORDER BY metric_name
LIMIT $3
"""

# $1 tenant. One statement, so that a batch that becomes a block meanwhile counts once.
STORED: Final = """
SELECT blocks.*, head.*, least(block_min_ts, head_min_ts) AS min_ts,
       greatest(block_max_ts, head_max_ts) AS max_ts FROM
 (SELECT coalesce(sum(samples), 0)::bigint AS block_samples, count(*) AS blocks,
         min(min_ts) AS block_min_ts, max(max_ts) AS block_max_ts
  FROM metrics.block
  WHERE tenant_id = $1 AND replaced_by IS NULL AND resolution_ms = 0) AS blocks,
 (SELECT coalesce(sum(samples), 0)::bigint AS head_samples,
         min(min_ts) AS head_min_ts, max(max_ts) AS head_max_ts
  FROM metrics.batch WHERE tenant_id = $1 AND compacted_by IS NULL) AS head
"""

# $1 tenant, $2 how many. The newest live blocks, without rollups.
BLOCKS: Final = """
SELECT block_id, min_ts, max_ts, level, series, samples, bytes FROM metrics.block
WHERE tenant_id = $1 AND replaced_by IS NULL AND resolution_ms = 0
ORDER BY min_ts DESC, block_id DESC LIMIT $2
"""

STATEMENTS: Final = (
    LISTING, SERIES_LISTING, PAYLOADS, SERIES, ALL_SERIES, EXEMPLARS, METADATA, STORED, BLOCKS,
)  # fmt: skip
"""All that name a table."""
