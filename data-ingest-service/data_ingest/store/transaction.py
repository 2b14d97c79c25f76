"""One transaction of the writer: new series, a batch a tenant, exemplars, refused counts, metadata,
retention.

known series only ── one statement, which is a transaction by itself: one round trip
anything else ────── BEGIN ─ look up and insert series ─ pack ─ insert ─ COMMIT
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np

from data_ingest.errors import SeriesOutdated
from data_ingest.model import I64, MetricMetadata
from data_ingest.store import packing, tables
from data_ingest.store.active_series import ActiveSeries
from data_ingest.store.history import Acknowledged
from data_ingest.store.packing import Write
from data_ingest.store.partitions import ensure_partitions, server_now

METADATA_CACHED_MAX = 50_000
TENANTS_MAX = 100_000
_NO_IDS: I64 = np.empty(0, np.int64)


class Transactions:
    """Commits writes on one connection after another; knows what metadata is stored already."""

    def __init__(self, active_window_s: float) -> None:
        self._active = ActiveSeries(active_window_s)
        self._conn: Any = None
        self._insert_batch: Any = None
        self._metadata: OrderedDict[tuple[UUID, str], MetricMetadata] = OrderedDict()
        self._retention_days: OrderedDict[UUID, int] = OrderedDict()
        self._deletions: dict[UUID, int] = {}
        self._makers: set[UUID] = set()

    async def use(self, conn: Any) -> None:
        """Transactions are on `conn` from here on."""
        self._insert_batch = await conn.prepare(tables.INSERT_BATCH)
        # Set here, so that no default of server, database or role weakens an acknowledgement.
        # After `prepare`, which leaves its transaction, and so a lock on the table, open until
        # the next statement.
        await conn.execute("SET synchronous_commit = on")
        rows = await conn.fetch(tables.TENANTS_WITH_DELETIONS)
        self._deletions = {row["tenant_id"]: row["series_deletions"] for row in rows}
        self._conn = conn

    def forget(self) -> None:
        """Nothing is known of what the store holds."""
        self._metadata.clear()
        self._retention_days.clear()
        self._active.forget()

    def deletions(self, tenant: UUID) -> int:
        """How often series of the tenant had been deleted, as far as this process knows."""
        return self._deletions.get(tenant, 0)

    async def commit(self, writes: Sequence[Write]) -> tuple[list[I64], Acknowledged | None]:
        """All of `writes` are durable: for each the ids of its new series; and the transaction.

        An id is 0 where the plan left no room for the series: its samples are counted as refused.
        The transaction is None when it had no batch. Raises `SeriesOutdated` where series of one of
        the tenants were deleted since their ids were looked up: `deletions` is right from then on.
        """
        for attempt in (1, 2):
            try:
                return await self._attempt(writes)
            except asyncpg.CheckViolationError as exc:
                # The clock went past the partitions made ahead: make them, once.
                if attempt == 2 or not is_partition_missing(exc):
                    raise
                await ensure_partitions(self._conn, await server_now(self._conn))
            except asyncpg.PostgresError as exc:
                if exc.sqlstate != tables.SERIES_DELETED:
                    raise
                tenants = {write.tenant for write in writes}
                rows = await self._conn.fetch(tables.SERIES_DELETIONS, list(tenants))
                self._deletions.update(dict.fromkeys(tenants, 0))
                self._deletions.update((row["tenant_id"], row["series_deletions"]) for row in rows)
                raise SeriesOutdated(detail="series were deleted", retry_after_s=1) from exc
        raise AssertionError

    async def _attempt(self, writes: Sequence[Write]) -> tuple[list[I64], Acknowledged | None]:
        changed = [
            (write.tenant, metadata)
            for write in writes
            for metadata in write.metadata
            if self._metadata.get((write.tenant, metadata.metric_name)) != metadata
        ]
        reports = [write for write in writes if write.active_ids is not None]
        retention_days = {
            write.tenant: write.retention_days
            for write in writes
            if write.retention_days not in {None, self._retention_days.get(write.tenant)}
        }
        exemplars = any(write.exemplars for write in writes)
        is_simple = not (changed or reports or retention_days or exemplars)
        if is_simple and not any(write.new or write.refused for write in writes):
            return [_NO_IDS] * len(writes), await self._insert(
                await packing.computed(packing.pack_rows, writes)
            )
        async with self._conn.transaction():
            # Before any batch: who deletes series takes the row of the tenant, then waits for them.
            if retention_days:
                await self._conn.executemany(tables.SET_RETENTION, sorted(retention_days.items()))
            for write in sorted(reports, key=lambda write: write.tenant):
                assert write.active_ids is not None
                await self._active.report(self._conn, write.tenant, write.active_ids)
            new_ids = await self._resolve(writes)
            whole = await packing.resolved(writes, new_ids)
            committed = await self._insert(await packing.computed(packing.pack_rows, whole))
            rows_of = packing.exemplar_rows
            for rows in await packing.computed(rows_of, whole) if exemplars else ():
                await self._conn.execute(tables.INSERT_EXEMPLARS, *rows)
            if refused := packing.refused_rows(whole):
                await self._conn.executemany(tables.ADD_REFUSED, refused)
            if changed:
                await self._conn.executemany(tables.UPSERT_METADATA, packing.metadata_rows(changed))
        for tenant, metadata in changed:
            self._metadata[tenant, metadata.metric_name] = metadata
        self._retention_days.update(retention_days)
        for cached, size_max in (
            (self._metadata, METADATA_CACHED_MAX),
            (self._retention_days, TENANTS_MAX),
        ):
            while len(cached) > size_max:
                cached.popitem(last=False)
        return new_ids, committed

    async def _insert(self, rows: Sequence[tuple[Any, ...]]) -> Acknowledged | None:
        if not rows:
            return None
        rows = [(*row, self.deletions(row[0])) for row in rows]
        # fetchmany sends all rows before one sync: also one transaction and one round trip.
        many = len(rows) > 1
        made = await (
            self._insert_batch.fetchmany(rows) if many else self._insert_batch.fetch(*rows[0])
        )
        return Acknowledged(**made[0], samples=sum(row[3] for row in rows))

    async def _resolve(self, writes: Sequence[Write]) -> list[I64]:
        """The ids of the new series of each write, in its order; missing rows are inserted."""
        wanted: dict[UUID, dict[bytes, str]] = {}
        limits: dict[UUID, int | None] = {}
        for write in writes:
            if write.new:
                limits[write.tenant] = write.active_series_max
                wanted.setdefault(write.tenant, {}).update(write.new)
        ids: dict[UUID, dict[bytes, int]] = {}
        for tenant in sorted(wanted):
            ids[tenant] = await self._series_ids(tenant, wanted[tenant], limits[tenant])
        return [
            np.array([ids[write.tenant][series.labels_hash] for series in write.new], np.int64)
            if write.new
            else _NO_IDS
            for write in writes
        ]

    async def _series_ids(
        self, tenant: UUID, wanted: Mapping[bytes, str], active_max: int | None
    ) -> dict[bytes, int]:
        # Looking up costs a fifth of making, and is for nothing where all of the last were new.
        ids = {} if (is_maker := tenant in self._makers) else await self._select(tenant, wanted)
        self._makers.discard(tenant)
        missing = [labels_hash for labels_hash in wanted if labels_hash not in ids]
        if missing and active_max is not None:
            room = max(0, active_max - await self._active.count(self._conn, tenant))
            if is_maker and room < len(missing):
                return await self._series_ids(tenant, wanted, active_max)
            ids.update(dict.fromkeys(missing[room:], 0))
            missing = missing[:room]
        made: dict[bytes, int] = {}
        if missing:
            texts = "\n".join([wanted[labels_hash] for labels_hash in missing])
            made = await self._fetch_ids(tables.INSERT_SERIES, tenant, texts, b"".join(missing))
            ids.update(made)
            # Another writer may have committed the same series before our insert.
            if conflicting := [labels_hash for labels_hash in missing if labels_hash not in ids]:
                ids.update(await self._select(tenant, conflicting))
        if len(made) == len(wanted) and len(self._makers) < TENANTS_MAX:
            self._makers.add(tenant)
        assert len(ids) == len(wanted), (len(ids), len(wanted))
        return ids

    async def _select(self, tenant: UUID, hashes: Iterable[bytes]) -> dict[bytes, int]:
        return await self._fetch_ids(tables.SELECT_SERIES, tenant, list(hashes))

    async def _fetch_ids(self, statement: str, *arguments: Any) -> dict[bytes, int]:
        row = await self._conn.fetchrow(statement, *arguments)
        hashes = row["hashes"]
        keys = (hashes[i : i + 16] for i in range(0, len(hashes), 16))
        return dict(zip(keys, row["series_ids"], strict=True))


def is_partition_missing(exc: asyncpg.PostgresError) -> bool:
    """Whether a batch had no partition: that has no constraint name, which a failed CHECK has."""
    return isinstance(exc, asyncpg.CheckViolationError) and not exc.constraint_name
