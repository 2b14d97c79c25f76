"""Hours of usage are reported to user-billing-service (ubs), which keeps what is billed.

    usage_hour: revision 7, delivered 5 ─▶ report of the whole hour at 7 ─▶ ubs ─▶ delivered 7

An hour is due while a revision of it was not answered for. The report says the hour as it stands,
so one whose answer was lost is sent again and adds nothing. Source:
docs/adr/0028-usage-delivery.md.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg
import structlog
from prometheus_client import Counter

from data_ingest.chassis.identity.billing import Billing

PAGE: Final = 50
"""Reports in one request: about 30 KiB."""
SETTLED: Final = timedelta(minutes=2)
"""A batch that began to be written before that has been committed, or never will be."""

_DUE: Final = """
SELECT tenant_id, hour, revision, samples, active_series, stored_bytes_sum, stored_bytes_readings
  FROM metrics.usage_hour WHERE delivered_revision < revision ORDER BY hour, tenant_id LIMIT $1
"""
_DELIVERED: Final = """
UPDATE metrics.usage_hour AS kept SET delivered_revision = told.revision
  FROM unnest($1::uuid[], $2::timestamptz[], $3::integer[]) AS told (tenant_id, hour, revision)
 WHERE kept.tenant_id = told.tenant_id AND kept.hour = told.hour
   AND kept.delivered_revision < told.revision
"""
_COMPLETE_THROUGH: Final = """
SELECT least(min(received_at), now() - $1::interval) FROM metrics.batch WHERE compacted_by IS NULL
"""

log = structlog.get_logger()
REPORTS: Final = Counter(
    "cloudopshub_usage_reports_total", "Hours of usage reported to ubs, by its answer.", ["outcome"]
)


async def deliver(conn: Any, billing: Billing) -> int:
    """Every hour that is due is reported; how many. Raises IdentityUnavailable without an answer;
    what was answered for until then stays so.
    """
    complete_through = await conn.fetchval(_COMPLETE_THROUGH, SETTLED)
    delivered, is_last = 0, False
    while not is_last:
        rows = await conn.fetch(_DUE, PAGE)
        is_last = len(rows) < PAGE
        body: dict[str, Any] = {"source": "dis", "reports": [report(row) for row in rows]}
        if is_last:
            body["complete_through"] = complete_through.isoformat()
        answer = await billing.ask("POST", "/internal/usage", json=body)
        _note(rows, answer["outcomes"])
        columns = zip(
            *((row["tenant_id"], row["hour"], row["revision"]) for row in rows), strict=True
        )
        await conn.execute(_DELIVERED, *(columns if rows else ([], [], [])))
        delivered += len(rows)
    return delivered


def report(row: Mapping[str, Any]) -> dict[str, Any]:
    """One hour as ubs takes it; stored bytes are the mean of the hour's readings."""
    meters: dict[str, Any] = {"samples": {"quantity": str(row["samples"])}}
    if row["active_series"]:
        meters["active_series"] = {"minutes": row["active_series"]}
    if readings := row["stored_bytes_readings"]:
        mean = (2 * row["stored_bytes_sum"] + readings) // (2 * readings)
        meters["stored_bytes"] = {"quantity": str(mean)}
    return {
        "tenant": str(row["tenant_id"]),
        "hour": row["hour"].isoformat(),
        "revision": row["revision"],
        "meters": meters,
    }


def _note(rows: Sequence[asyncpg.Record], outcomes: Sequence[str]) -> None:
    for row, outcome in zip(rows, outcomes, strict=True):
        REPORTS.labels(outcome).inc()
        if outcome in {"conflict", "unknown"}:
            log.warning(
                "usage_not_taken", outcome=outcome, tenant=str(row["tenant_id"]),
                hour=row["hour"].isoformat(), revision=row["revision"],
            )  # fmt: skip
