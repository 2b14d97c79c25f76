"""The state of the scrape targets: written by the one replica that scrapes, read by all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

_CLEAR = "DELETE FROM metrics.scrape_target"
_REMOVE = "DELETE FROM metrics.scrape_target WHERE tenant_id = $1 AND target_key = $2"
_WRITE = """
INSERT INTO metrics.scrape_target AS kept (tenant_id, target_key, is_dropped, facts)
VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, target_key)
  DO UPDATE SET is_dropped = excluded.is_dropped, facts = excluded.facts
"""
_LIST = """
SELECT is_dropped, facts FROM metrics.scrape_target WHERE tenant_id = $1
"""

Key = tuple[UUID, str]
"""Tenant, and what tells the target from others of the tenant."""


@dataclass(frozen=True, slots=True)
class Row:
    """A target as `GET /api/v1/targets` shows it; dropped: relabelling took it away."""

    is_dropped: bool
    facts: str


async def clear(conn: Any) -> None:
    """Nothing of an earlier leader is left."""
    await conn.execute(_CLEAR)


async def write(conn: Any, before: Mapping[Key, Row], now: Mapping[Key, Row]) -> None:
    """The table, which had the rows `before`, has the rows `now`."""
    async with conn.transaction():
        await conn.executemany(_REMOVE, [key for key in before if key not in now])
        changed = [(key, row) for key, row in now.items() if before.get(key) != row]
        await conn.executemany(
            _WRITE, [(tenant, key, row.is_dropped, row.facts) for (tenant, key), row in changed]
        )


async def of_tenant(conn: Any, tenant: UUID) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The facts of the tenant's targets that are scraped, and of those that are dropped."""
    listed = await conn.fetch(_LIST, tenant)
    rows = [(row["is_dropped"], json.loads(row["facts"])) for row in listed]
    rows.sort(key=lambda row: (row[1]["scrapePool"], row[1].get("scrapeUrl", "")))
    return [facts for dropped, facts in rows if not dropped], [
        facts for dropped, facts in rows if dropped
    ]
