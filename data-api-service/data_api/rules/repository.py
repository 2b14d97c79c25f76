"""Groups in Postgres, as the API and the rule folder change and show them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

import anyio.to_thread
from prometheus_client import Gauge

from data_api.chassis.database import Schema
from data_api.chassis.kinds import Kind, ServiceError
from data_api.chassis.postgres_async import translating
from data_api.errors import BadRequest
from data_api.rules import parsing, printing
from data_api.rules.fields import Bounds
from data_api.rules.model import Group
from data_api.rules.state import GroupState, decode
from data_api.settings import Settings
from data_api.store.catalogue import Database

SCHEMA: Final = Schema("rules", "data_api.migrate")
FOLDER: Final = "folder:"
"""Namespaces that begin so are files of the operator's folder, and nobody else's to change."""

_UPSERT: Final = """
INSERT INTO rules.rule_group AS g (tenant_id, namespace, name, definition) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, namespace, name) DO UPDATE
  SET definition = excluded.definition, version = g.version + 1, is_deleted = false
  WHERE g.is_deleted OR g.definition <> excluded.definition
"""
# What was evaluated has series that still need their stale markers: its evaluator deletes it.
_DELETE: Final = """
UPDATE rules.rule_group SET is_deleted = true, version = version + 1
WHERE tenant_id = $1 AND namespace = $2 AND name <> ALL($3::text[]) AND NOT is_deleted
  AND ($4::text IS NULL OR name = $4)
"""
_TOTALS: Final = """
SELECT count(*) AS groups, coalesce(sum(octet_length(definition)), 0) AS bytes
FROM rules.rule_group WHERE tenant_id = $1 AND NOT is_deleted
"""
_GROUPS: Final = """
SELECT namespace, definition, evaluated_ms, missed, state FROM rules.rule_group
WHERE tenant_id = $1 AND NOT is_deleted
ORDER BY namespace, name
"""
_MEASURES: Final = """
SELECT count(*) AS groups, coalesce(sum(failing), 0) AS failing, coalesce(sum(missed), 0) AS missed,
  coalesce(max(extract(epoch FROM now()) - evaluated_ms / 1000.0), 0)::float8 AS oldest_s,
  (SELECT count(*) FROM rules.evaluator) AS evaluators
FROM rules.rule_group WHERE NOT is_deleted
"""
MEASURE_S: Final = 15.0
MEASURES: Final = {
    "groups": Gauge("cloudopshub_rule_groups", "Groups of rules."),
    "failing": Gauge("cloudopshub_rules_failing", "Rules whose last evaluation failed."),
    "missed": Gauge("cloudopshub_rules_missed_iterations", "Evaluations that nobody did in time."),
    "oldest_s": Gauge(
        "cloudopshub_rules_oldest_evaluation_seconds", "How long ago the last one of a group was."
    ),
    "evaluators": Gauge("cloudopshub_rules_evaluators", "Processes that evaluate rules."),
}
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('rules:' || $1::uuid, 0))"


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[Any]:
    """A connection; what goes wrong with it is DatabaseUnavailable."""
    with translating(SCHEMA):
        async with database.acquire() as connection:
            yield connection


def bounds_of(settings: Settings) -> Bounds:
    """What one tenant may have."""
    return Bounds(
        settings.rules_groups_max,
        settings.rules_per_group_max,
        settings.rules_bytes_max,
        round(settings.rules_interval_min_s * 1000),
        round(settings.rules_interval_s * 1000),
    )


class ReadOnly(ServiceError):
    """The rules of this namespace are files of the operator"""

    kind: ClassVar[Kind] = Kind.CONFLICT


@dataclass(frozen=True, slots=True)
class Shown:
    """A group and where it stands."""

    group: Group
    state: GroupState
    evaluated_ms: int | None
    missed: int


class Rules:
    """The groups of all tenants; every call is one tenant's."""

    def __init__(self, database: Database, bounds: Bounds) -> None:
        self.bounds = bounds
        self._database = database

    async def check(self) -> str:
        """A readiness check: the schema is there."""
        async with self._transaction() as connection:
            await connection.fetchval("SELECT FROM rules.rule_group LIMIT 1")
        return "schema rules is there"

    async def measure(self) -> None:
        """The gauges say how rules stand, from here on until cancelled. Every replica of the
        service shows the same, since evaluators serve no port: use `max`, not `sum`.
        """
        while True:
            with contextlib.suppress(ServiceError):
                async with self._transaction() as connection:
                    row = await connection.fetchrow(_MEASURES)
                for name, gauge in MEASURES.items():
                    gauge.set(row[name])
            await asyncio.sleep(MEASURE_S)

    async def shown(self, tenant: UUID) -> list[Shown]:
        """The tenant's groups, by namespace and name."""
        async with self._transaction() as connection:
            rows = await connection.fetch(_GROUPS, tenant)
        return await anyio.to_thread.run_sync(lambda: [_shown(row) for row in rows])

    async def put(
        self, tenant: UUID, namespace: str, groups: Sequence[Group], *, whole: bool
    ) -> None:
        """The groups are in the namespace; if `whole`, no others. Raises BadRequest at a bound."""
        texts = await anyio.to_thread.run_sync(
            lambda: [(group.name, printing.group_text(group)) for group in groups]
        )
        async with self._transaction() as connection:
            await connection.execute(_LOCK, tenant)
            if whole:
                await connection.execute(_DELETE, tenant, namespace, [n for n, _ in texts], None)
            for name, text in texts:
                await connection.execute(_UPSERT, tenant, namespace, name, text)
            total = await connection.fetchrow(_TOTALS, tenant)
            for what, limit in (("groups", self.bounds.groups), ("bytes", self.bounds.text_bytes)):
                if total[what] > limit:
                    raise BadRequest(detail=f"too many {what} of rules: {total[what]}", limit=limit)

    async def delete(self, tenant: UUID, namespace: str, name: str | None) -> bool:
        """The group, or all of the namespace, is gone; False when there was none."""
        async with self._transaction() as connection:
            done: str = await connection.execute(_DELETE, tenant, namespace, [], name)
        return done != "UPDATE 0"

    async def keep_files(self, wanted: Collection[tuple[UUID, str]]) -> None:
        """Of namespaces that are files, only these (tenant, namespace) are left."""
        async with self._transaction() as connection:
            rows = await connection.fetch(
                "SELECT DISTINCT tenant_id, namespace FROM rules.rule_group"
                " WHERE starts_with(namespace, $1) AND NOT is_deleted",
                FOLDER,
            )
            for tenant, namespace in rows:
                if (tenant, namespace) not in wanted:
                    await connection.execute(_DELETE, tenant, namespace, [], None)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        async with connected(self._database) as connection, connection.transaction():
            yield connection


def _shown(row: Any) -> Shown:
    return Shown(
        parsing.stored_group(row["definition"], row["namespace"]),
        decode(row["state"], None),
        row["evaluated_ms"],
        row["missed"],
    )
