"""Alerts in: durable when this returns, the same alert again changes only its times and texts.

The tenant's row is locked first, so alerts of one tenant commit in the order of `received`; what
follows them by it misses none.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import orjson
import structlog
from prometheus_client import Counter

from data_api.notify.errors import TooMany
from data_api.notify.state import fingerprint
from data_api.notify.tables import WAKE
from data_api.rules.model import Alert
from data_api.rules.repository import connected
from data_api.store.catalogue import Database

ALERTS_MAX: Final = 10_000
"""Alerts of one tenant; of more, those that are not known yet are refused."""
TEXT_MAX: Final = 4096
"""Characters of one annotation; the rest is cut off."""
REFUSED: Final = Counter(
    "cloudopshub_alerts_refused_total", "Alerts that were over the bound of their tenant."
)
COUNT: Final = "SELECT count(*) FROM rules.notify_alert WHERE tenant_id = $1"
OLD: Final = (
    "SELECT fingerprint FROM rules.notify_alert WHERE tenant_id = $1 AND fingerprint = ANY($2)"
)
# An alert that fires on keeps when it began; one that had ended begins anew.
UPSERT: Final = """
INSERT INTO rules.notify_alert AS a
SELECT $1, * FROM unnest($2::text[], $3::json[], $4::json[], $5::bigint[], $6::bigint[],
                         $7::bigint[], $8::text[]), (VALUES ($9::bigint)) AS v
ON CONFLICT (tenant_id, fingerprint) DO UPDATE SET
    annotations = EXCLUDED.annotations,
    starts_ms = CASE WHEN a.ends_ms >= EXCLUDED.starts_ms
                     THEN LEAST(a.starts_ms, EXCLUDED.starts_ms) ELSE EXCLUDED.starts_ms END,
    ends_ms = EXCLUDED.ends_ms,
    updated_ms = EXCLUDED.updated_ms,
    generator_url = EXCLUDED.generator_url,
    received = EXCLUDED.received
WHERE EXCLUDED.updated_ms >= a.updated_ms
"""

log = structlog.get_logger()


def _cut(texts: Mapping[str, str]) -> str:
    return orjson.dumps({name: text[:TEXT_MAX] for name, text in texts.items()}).decode()


async def receive(database: Database, tenant: UUID, alerts: Sequence[Alert], now_ms: int) -> None:
    """The alerts are stored and their tenant is due.

    Raises TooMany where there is no room for all: the others are stored. Raises
    DatabaseUnavailable, and then none is.
    """
    rows = {fingerprint(alert.labels): alert for alert in alerts if any(alert.labels.values())}
    if not rows:
        return
    async with connected(database) as connection, connection.transaction():
        received = await connection.fetchval(WAKE, tenant, now_ms)
        room = ALERTS_MAX - await connection.fetchval(COUNT, tenant)
        refused: list[str] = []
        if len(rows) > room:
            old_rows = await connection.fetch(OLD, tenant, list(rows))
            known_rows = {row["fingerprint"] for row in old_rows}
            refused = [name for name in rows if name not in known_rows][max(0, room) :]
            for name in refused:
                del rows[name]
        await connection.execute(
            UPSERT,
            tenant,
            list(rows),
            [orjson.dumps(dict(one.labels)).decode() for one in rows.values()],
            [_cut(one.annotations) for one in rows.values()],
            [one.starts_at_ms for one in rows.values()],
            [one.ends_at_ms for one in rows.values()],
            [one.updated_at_ms for one in rows.values()],
            [one.generator_url.replace("\0", "") for one in rows.values()],
            received,
        )
    if refused:
        REFUSED.inc(len(refused))
        log.warning("alerts_refused", tenant=str(tenant), refused=len(refused), limit=ALERTS_MAX)
        raise TooMany(detail="alerts of this tenant", refused=len(refused), limit=ALERTS_MAX)
