"""Which process evaluates which groups: leases in Postgres, by Postgres' clock.

    evaluator ─ renews every ROUND_S ─▶ rules.evaluator (lease_until)
                                            │ a lease ran out: its row goes, its groups are free
    group ── claimed ──▶ owner ── commit: still the owner, and the last slot is the one read

A commit names the slot that its state came from. So of two processes that evaluate one group, one
suspended and one that took over, only one can commit.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import structlog

from data_api.rules import parsing
from data_api.rules.model import Group, LabelKey
from data_api.rules.repository import connected
from data_api.rules.state import GroupState, decode, encode, series_of
from data_api.store.catalogue import Database

ROUND_S: Final = 5.0
LEASE_S: Final = 15.0
log = structlog.get_logger()

_EXPIRE: Final = "DELETE FROM rules.evaluator WHERE lease_until < clock_timestamp() AND id <> $1"
_RENEW: Final = """
INSERT INTO rules.evaluator (id, lease_until)
VALUES ($1, clock_timestamp() + $2::float8 * interval '1 second')
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
"""
_SHARE: Final = """
SELECT ceil(count(*)::float8 / greatest((SELECT count(*) FROM rules.evaluator), 1))::int AS share,
       count(*) FILTER (WHERE owner = $1)::int AS mine
FROM rules.rule_group
"""
_CLAIM: Final = """
UPDATE rules.rule_group SET owner = $1 WHERE group_id IN (
  SELECT group_id FROM rules.rule_group WHERE owner IS NULL
  ORDER BY group_id LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
_RELEASE: Final = """
UPDATE rules.rule_group SET owner = NULL WHERE owner = $1 AND group_id = ANY($2::bigint[])
"""
_OWNED: Final = "SELECT group_id, version FROM rules.rule_group WHERE owner = $1"
_NOW_MS: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_LOAD: Final = """
SELECT group_id, tenant_id, namespace, name, definition, version, is_deleted, evaluated_ms, state,
  series
FROM rules.rule_group WHERE owner = $1 AND group_id = ANY($2::bigint[])
"""
# A slot that the database's time has not reached is not marked, whatever the process' clock says.
_COMMIT: Final = f"""
UPDATE rules.rule_group SET evaluated_ms = $4, missed = missed + $5, failing = $6, state = $7,
  series = coalesce($8, series)
WHERE group_id = $1 AND owner = $2 AND evaluated_ms IS NOT DISTINCT FROM $3 AND $4 <= {_NOW_MS}
"""  # noqa: S608 - a text of ours
_ELSEWHERE: Final = """
SELECT series FROM rules.rule_group
WHERE tenant_id = $1 AND group_id <> $2 AND NOT is_deleted AND series IS NOT NULL
"""
_FINISH: Final = """
DELETE FROM rules.rule_group
WHERE group_id = $1 AND owner = $2 AND evaluated_ms IS NOT DISTINCT FROM $3 AND is_deleted
"""


@dataclass(slots=True)
class Owned:
    """A group of this process: what was read of it, and its state since.

    is_readable: whether it could be; else group and state are empty, and it is left alone.
    """

    group_id: int
    tenant: UUID
    group: Group
    version: int
    is_deleted: bool
    evaluated_ms: int | None
    state: GroupState
    series: bytes = b""
    is_readable: bool = True


class Leases:
    """The groups that the process `me` evaluates."""

    def __init__(self, database: Database, me: UUID) -> None:
        self._database = database
        self._me = me

    async def renew(
        self, busy: Collection[int], owned: Collection[int]
    ) -> tuple[dict[int, int], int]:
        """Group ids with their versions, and the database's time in ms, after a renewal: what is
        free was claimed, and what is above this process's share was given back, but for the `busy`.
        """
        async with connected(self._database) as db, db.transaction():
            await db.execute(_EXPIRE, self._me)
            await db.execute(_RENEW, self._me, LEASE_S)
            share, mine = await db.fetchrow(_SHARE, self._me)
            if mine < share:
                await db.execute(_CLAIM, self._me, share - mine)
            elif mine > share:
                idle = [one for one in owned if one not in busy]
                await db.execute(_RELEASE, self._me, idle[: mine - share])
            versions = dict(await db.fetch(_OWNED, self._me))
            return versions, await db.fetchval(f"SELECT {_NOW_MS}")

    async def load(self, group_ids: Sequence[int]) -> list[Owned]:
        """The groups as they are stored, as far as they are this process's. Of one that cannot be
        read the log says why: it is no other group's trouble.
        """
        async with connected(self._database) as db:
            rows = await db.fetch(_LOAD, self._me, group_ids)
        return [await anyio.to_thread.run_sync(_read, row) for row in rows]

    async def commit(self, one: Owned, state: GroupState, at_ms: int, missed: int) -> bool:
        """The evaluation at `at_ms` is applied; False: another process has the group."""
        text, series = await anyio.to_thread.run_sync(encode, state)
        failing = sum(rule.health == "err" for rule in state.rules.values())
        changed = None if series == one.series else series
        done = await self._execute(
            _COMMIT, one.group_id, self._me, one.evaluated_ms, at_ms, missed, failing, text, changed
        )
        if done:
            one.state, one.evaluated_ms, one.series = state, at_ms, series
        return done

    async def ended(self, one: Owned, gone: frozenset[LabelKey]) -> frozenset[LabelKey]:
        """Of series that the group writes no more those that no other group writes: of a group that
        has another name now, or gave a rule to another one, nothing ends.
        """
        async with connected(self._database) as db:
            rows = await db.fetch(_ELSEWHERE, one.tenant, one.group_id)
        return await anyio.to_thread.run_sync(
            lambda: gone.difference(*(series_of(row["series"]) for row in rows))
        )

    async def finish(self, one: Owned) -> bool:
        """The deleted group is gone."""
        return await self._execute(_FINISH, one.group_id, self._me, one.evaluated_ms)

    async def leave(self) -> None:
        """Every group is free for others at once."""
        async with connected(self._database) as db:
            await db.execute("DELETE FROM rules.evaluator WHERE id = $1", self._me)

    async def _execute(self, statement: str, *values: Any) -> bool:
        async with connected(self._database) as db:
            done: str = await db.execute(statement, *values)
        return not done.endswith(" 0")


def _read(row: Any) -> Owned:
    group_id, tenant, namespace, name, definition, version, is_deleted, at_ms, state, series = row
    group, memory, is_readable = Group(namespace, name), GroupState(), True
    try:
        if not is_deleted:
            group = parsing.stored_group(definition, namespace)
        memory = decode(state, series)
    except Exception:
        log.exception("rule_group_not_read", tenant=str(tenant), group=name)
        is_readable = False
    of_row = group_id, tenant, group, version, is_deleted, at_ms
    return Owned(*of_row, memory, series or b"", is_readable)
