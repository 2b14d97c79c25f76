"""The hours of usage in Postgres: what compaction adds, and readings of what is stored.

Every change of an hour gives it the next revision, which is then due at ubs (`delivery`).
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from data_ingest.usage.counting import Counting

_ADD = """
INSERT INTO metrics.usage_hour AS kept (tenant_id, hour, samples, active_series)
VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, hour) DO UPDATE
   SET samples = kept.samples + excluded.samples,
       active_series = (SELECT array_agg(coalesce(before, 0) + more ORDER BY minute)
                          FROM unnest(kept.active_series, excluded.active_series)
                               WITH ORDINALITY AS minutes (before, more, minute)),
       revision = kept.revision + 1
"""
_READ_STORED_BYTES = """
INSERT INTO metrics.usage_hour AS kept
       (tenant_id, hour, samples, stored_bytes_max, stored_bytes_sum, stored_bytes_readings)
SELECT tenant_id, date_trunc('hour', now(), 'UTC'), 0, sum(bytes), sum(bytes), 1
  FROM metrics.block WHERE replaced_by IS NULL AND resolution_ms = 0
 GROUP BY tenant_id ORDER BY tenant_id
ON CONFLICT (tenant_id, hour) DO UPDATE
   SET stored_bytes_max = greatest(kept.stored_bytes_max, excluded.stored_bytes_max),
       stored_bytes_sum = kept.stored_bytes_sum + excluded.stored_bytes_sum,
       stored_bytes_readings = kept.stored_bytes_readings + 1,
       revision = kept.revision + 1
"""


async def add(conn: Any, tenant: UUID, counting: Counting) -> None:
    """What was counted is added to the tenant's hours once the caller's transaction commits."""
    await conn.executemany(
        _ADD,
        [
            (tenant, datetime.fromtimestamp(hour_ms / 1000, UTC), samples, active)
            for hour_ms, samples, active in counting.rows()
        ],
    )


async def read_stored_bytes(conn: Any) -> None:
    """This hour of each tenant with blocks has one more reading of their bytes, without rollups."""
    await conn.execute(_READ_STORED_BYTES)
