"""Group commit: what queued while one transaction was in flight goes into the next. No timer.

    commit() ─▶ queue ─▶ flush: look up and insert new series ─ pack ─ one batch a tenant ─ COMMIT
              (bounded)   └─ one dedicated connection, one flush at a time ─┘                 │
    commit() returns ◀────────────────────────────────────────────────────────────────────────┘

The commit is the acknowledgement: durable (`synchronous_commit=on`) and visible to every reader.
When Postgres refuses a transaction for what is in it, its writes are committed one by one, so that
only the bad one fails. While Postgres is away every write fails at once, and the connection is
tried again with a bounded backoff. Source: docs/adr/0001-metric-store.md.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio.to_thread
import asyncpg
import numpy as np
import structlog
from prometheus_client import Counter, Gauge, Histogram

from data_ingest import batch
from data_ingest.chassis.postgres_async import translated
from data_ingest.errors import Overloaded, StoreRefused, StoreUnavailable
from data_ingest.labels import NewSeries
from data_ingest.model import F64, I64, MetricMetadata
from data_ingest.store import tables
from data_ingest.store.partitions import ensure_partitions, server_now

log = structlog.get_logger()

FLUSH_SAMPLES = Histogram(
    "cloudopshub_ingest_flush_samples",
    "Samples committed in one transaction.",
    buckets=(1, 100, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 500_000),
)
FLUSH_WRITES = Histogram(
    "cloudopshub_ingest_flush_writes",
    "Requests committed in one transaction.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
COMMIT_SECONDS = Histogram(
    "cloudopshub_ingest_commit_duration_seconds",
    "Time of one transaction, packing included.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
PAYLOAD_BYTES = Counter(
    "cloudopshub_ingest_payload_bytes_total", "Bytes of committed batch payloads."
)
NEW_SERIES = Counter(
    "cloudopshub_ingest_series_looked_up_total", "Series that were not in the cache.", ["outcome"]
)
QUEUED_SAMPLES = Gauge("cloudopshub_ingest_queued_samples", "Samples that wait for a transaction.")
CONNECTED = Gauge(
    "cloudopshub_ingest_writer_connected", "1 while the writer has its Postgres connection."
)
FAILED_FLUSHES = Counter(
    "cloudopshub_ingest_failed_transactions_total", "Transactions that did not commit.", ["reason"]
)

INLINE_SAMPLES_MAX = 10_000
"""Packing this many takes 0.3 ms: as long as waking a thread on a busy machine."""
QUEUE_WRITES_MAX = 10_000
METADATA_CACHED_MAX = 50_000
RECONNECT_DELAY_S_MIN = 0.05


@dataclass(slots=True, eq=False)
class Write:
    """The part of one request that is to be committed, as a whole or not at all.

    series_ids: (n,) int64; -1 - i stands for the series `new[i]`, which has no id yet.
    refused: counted in the same transaction, so that accepted + refused = received after any crash.
    """

    tenant: UUID
    series_ids: I64
    timestamps_ms: I64
    values: F64
    new: Sequence[NewSeries] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    metadata: Sequence[MetricMetadata] = ()

    @property
    def samples(self) -> int:
        """How many samples it has; may be 0."""
        return int(self.series_ids.size)


@dataclass(slots=True, eq=False)
class _Queued:
    write: Write
    done: asyncio.Future[I64]


@dataclass(frozen=True, slots=True)
class WriterBounds:
    """What may wait, what one transaction may hold and how long it may take; see `settings`."""

    queue_samples_max: int
    flush_samples_max: int
    flush_new_series_max: int
    commit_timeout_s: float
    reconnect_delay_s_max: float


class Writer:
    """Owns one connection and commits on it, from `start` to `close`."""

    def __init__(self, database_url: str, bounds: WriterBounds) -> None:
        self._database_url = database_url
        self._bounds = bounds
        self._queue: deque[_Queued] = deque()
        self._queued_samples = 0
        self._wake = asyncio.Event()
        self._conn: Any = None
        self._insert_batch: Any = None
        self._trouble = "not connected yet"
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._series_table = 0
        self._last_series_id = 0
        self.store_epoch = 0
        """Counts how often the store was replaced (restored, made anew): series ids of another
        epoch are not valid."""
        self._metadata_cache: OrderedDict[tuple[UUID, str], MetricMetadata] = OrderedDict()

    @property
    def new_series_max(self) -> int:
        """How many new series one transaction is to hold."""
        return self._bounds.flush_new_series_max

    async def start(self) -> None:
        """It connects from here on, and again whenever the connection is lost."""
        self._task = asyncio.create_task(self._run(), name="writer")

    async def close(self) -> None:
        """What was queued is committed or has failed, and the connection is closed."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, self._bounds.commit_timeout_s)
        self._fail_queued("stopping")

    async def check(self) -> str:
        """A readiness check: connected, and the schema is there. Raises `StoreUnavailable`."""
        conn = self._conn
        if conn is None or conn.is_closed():
            raise StoreUnavailable(detail=self._trouble)
        return "connected, schema metrics is there"

    async def commit(self, write: Write, store_epoch: int | None = None) -> I64:
        """The ids of `write.new`, once all of the write is durable and visible.

        store_epoch: what `self.store_epoch` was when the ids in `write` were looked up; None when
        they cannot be of another epoch.

        Raises `Overloaded` when too much is waiting, `StoreUnavailable` when Postgres is away or
        the time is up (the write may then still have been committed: senders resend, and the last
        one wins), `StoreRefused` when Postgres refuses what is in this write.
        """
        if self._conn is None or self._closing:
            raise StoreUnavailable(detail=self._trouble, retry_after_s=1)
        if store_epoch not in {None, self.store_epoch}:
            raise StoreUnavailable(detail="the store has been replaced", retry_after_s=1)
        if self._queue and (
            self._queued_samples + write.samples > self._bounds.queue_samples_max
            or len(self._queue) >= QUEUE_WRITES_MAX
        ):
            raise Overloaded(
                queued=self._queued_samples, limit=self._bounds.queue_samples_max, retry_after_s=1
            )
        queued = _Queued(write, asyncio.get_running_loop().create_future())
        self._queue.append(queued)
        self._queued_samples += write.samples
        QUEUED_SAMPLES.set(self._queued_samples)
        self._wake.set()
        try:
            async with asyncio.timeout(self._bounds.commit_timeout_s):
                return await queued.done
        except TimeoutError:
            raise StoreUnavailable(
                detail=f"no commit within {self._bounds.commit_timeout_s:g} s", retry_after_s=1
            ) from None

    # -- the one task that uses the connection ------------------------------------------------

    async def _run(self) -> None:
        delay_s = RECONNECT_DELAY_S_MIN
        while not self._closing:
            try:
                await self._connect()
                delay_s = RECONNECT_DELAY_S_MIN
                await self._serve()
            except asyncio.CancelledError:
                raise
            except Exception as exc:  # noqa: BLE001 - whatever it is, writes are answered and the writer goes on
                self._lost(exc)
                if not self._closing:
                    await self._pause(delay_s)
                    delay_s = min(delay_s * 2, self._bounds.reconnect_delay_s_max)
        await self._disconnect()

    async def _pause(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                while not self._closing:
                    self._wake.clear()
                    await self._wake.wait()

    async def _connect(self) -> None:
        conn = await asyncpg.connect(
            self._database_url,
            timeout=self._bounds.commit_timeout_s,
            command_timeout=self._bounds.commit_timeout_s,
            server_settings={"application_name": "cloudopshub-dis writer"},
        )
        try:
            await ensure_partitions(conn, await server_now(conn))
            self._compare_store(await conn.fetchrow(tables.STORE))
            self._insert_batch = await conn.prepare(tables.INSERT_BATCH)
            # Set here, so that no default of server, database or role weakens an acknowledgement.
            # After `prepare`, which leaves its transaction, and so a lock on the table, open until
            # the next statement.
            await conn.execute("SET synchronous_commit = on")
        except BaseException:
            conn.terminate()
            raise
        conn.add_termination_listener(lambda _: self._wake.set())
        self._conn = conn
        CONNECTED.set(1)
        log.info("writer_connected")

    def _compare_store(self, store: Mapping[str, int]) -> None:
        """A new epoch begins when `store` (tables.STORE) is not that of the last connection."""
        is_same = (
            store["series_table"] == self._series_table
            and store["last_series_id"] >= self._last_series_id
        )
        if self._series_table and not is_same:
            log.warning("store_replaced")
            self.store_epoch += 1
            self._metadata_cache.clear()
        self._series_table = store["series_table"]
        self._last_series_id = store["last_series_id"]

    async def _serve(self) -> None:
        while not (self._closing and not self._queue):
            if self._conn.is_closed():
                raise ConnectionError("Postgres closed the connection")
            queued = self._take()
            if not queued:
                self._wake.clear()
                if not self._queue and not self._closing and not self._conn.is_closed():
                    await self._wake.wait()
                continue
            await self._flush(queued)

    def _take(self) -> list[_Queued]:
        """What the next transaction holds: the oldest first, up to the bounds, at least one."""
        taken: list[_Queued] = []
        samples = new = 0
        while self._queue:
            write = self._queue[0].write
            over = (
                samples + write.samples > self._bounds.flush_samples_max
                or new + len(write.new) > self._bounds.flush_new_series_max
            )
            if taken and over:
                break
            queued = self._queue.popleft()
            self._queued_samples -= write.samples
            if queued.done.done():
                continue  # its request was cancelled or timed out
            taken.append(queued)
            samples += write.samples
            new += len(write.new)
        QUEUED_SAMPLES.set(self._queued_samples)
        return taken

    async def _flush(self, queued: list[_Queued]) -> None:
        """All of `queued` are answered; raises when the connection must not be used again."""
        started_s = time.perf_counter()
        try:
            new_ids = await self._transaction([one.write for one in queued])
        except Exception as exc:
            FAILED_FLUSHES.labels(_reason(exc)).inc()
            if not _is_about_content(exc):
                for one in queued:
                    _fail(one, _unavailable(exc))
                raise
            if len(queued) == 1:
                log.warning(
                    "write_refused_by_store", tenant=str(queued[0].write.tenant), error=str(exc)
                )
                _fail(queued[0], StoreRefused(detail=str(exc)))
                return
            await self._flush_each(queued)
            return
        COMMIT_SECONDS.observe(time.perf_counter() - started_s)
        FLUSH_SAMPLES.observe(sum(one.write.samples for one in queued))
        FLUSH_WRITES.observe(len(queued))
        for one, ids in zip(queued, new_ids, strict=True):
            if not one.done.done():
                one.done.set_result(ids)

    async def _flush_each(self, queued: list[_Queued]) -> None:
        """Each is committed by itself, so that only the bad one fails; otherwise as `_flush`."""
        for i, one in enumerate(queued):
            if one.done.done():
                continue
            try:
                await self._flush([one])
            except Exception as exc:
                for untried in queued[i + 1 :]:
                    _fail(untried, _unavailable(exc))
                raise

    async def _transaction(self, writes: list[Write]) -> list[I64]:
        """One commit; for each write the ids of its new series."""
        for attempt in (1, 2):
            try:
                return await self._attempt(writes)
            except asyncpg.CheckViolationError as exc:
                # The clock went past the partitions made ahead: make them, once.
                if attempt == 2 or not _is_partition_missing(exc):
                    raise
                await ensure_partitions(self._conn, await server_now(self._conn))
        raise AssertionError

    async def _attempt(self, writes: list[Write]) -> list[I64]:
        changed = [
            (write.tenant, metadata)
            for write in writes
            for metadata in write.metadata
            if self._metadata_cache.get((write.tenant, metadata.metric_name)) != metadata
        ]
        if not changed and not any(write.new or write.refused for write in writes):
            # Known series only: one statement, which is a transaction by itself and one round trip.
            if rows := await _packed(writes, None):
                await self._insert(rows)
            return [_NO_IDS] * len(writes)
        async with self._conn.transaction():
            new_ids = await self._resolve(writes)
            rows = await _packed(writes, new_ids)
            if rows:
                await self._insert(rows)
            refused = _refused_rows(writes)
            if refused:
                await self._conn.executemany(tables.ADD_REFUSED, refused)
            if changed:
                await self._conn.executemany(tables.UPSERT_METADATA, _metadata_rows(changed))
        for tenant, metadata in changed:
            self._metadata_cache[tenant, metadata.metric_name] = metadata
        while len(self._metadata_cache) > METADATA_CACHED_MAX:
            self._metadata_cache.popitem(last=False)
        self._last_series_id = max(
            self._last_series_id, *(int(ids.max()) for ids in new_ids if ids.size), 0
        )
        return new_ids

    async def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        # executemany sends all rows before one sync: also one transaction and one round trip.
        if len(rows) == 1:
            await self._insert_batch.fetch(*rows[0])
        else:
            await self._insert_batch.executemany(rows)
        PAYLOAD_BYTES.inc(sum(len(row[-1]) for row in rows))

    async def _resolve(self, writes: list[Write]) -> list[I64]:
        """The ids of the new series of each write, in its order; missing rows are inserted."""
        wanted: dict[UUID, dict[bytes, str]] = {}
        for write in writes:
            if write.new:
                wanted.setdefault(write.tenant, {}).update(
                    (series.labels_hash, series.labels_json) for series in write.new
                )
        ids: dict[UUID, dict[bytes, int]] = {}
        for tenant in sorted(wanted):
            ids[tenant] = await self._series_ids(tenant, wanted[tenant])
        return [
            np.array([ids[write.tenant][series.labels_hash] for series in write.new], np.int64)
            if write.new
            else _NO_IDS
            for write in writes
        ]

    async def _series_ids(self, tenant: UUID, wanted: Mapping[bytes, str]) -> dict[bytes, int]:
        ids = await self._select(tenant, wanted)
        NEW_SERIES.labels("found").inc(len(ids))
        missing = [labels_hash for labels_hash in wanted if labels_hash not in ids]
        if missing:
            texts = [wanted[labels_hash] for labels_hash in missing]
            made = await self._conn.fetch(tables.INSERT_SERIES, tenant, texts, missing)
            ids.update((row["labels_hash"], row["series_id"]) for row in made)
            NEW_SERIES.labels("created").inc(len(made))
            # Another writer may have committed the same series between our select and our insert.
            if conflicting := [labels_hash for labels_hash in missing if labels_hash not in ids]:
                ids.update(await self._select(tenant, conflicting))
        assert len(ids) == len(wanted), (len(ids), len(wanted))
        return ids

    async def _select(self, tenant: UUID, hashes: Iterable[bytes]) -> dict[bytes, int]:
        rows = await self._conn.fetch(tables.SELECT_SERIES, tenant, list(hashes))
        return {row["labels_hash"]: row["series_id"] for row in rows}

    # -- losing the connection ------------------------------------------------------------------

    def _lost(self, exc: Exception) -> None:
        self._trouble = _trouble(exc)
        CONNECTED.set(0)
        log.warning("writer_disconnected", reason=self._trouble)
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.terminate()
        self._fail_queued(self._trouble)

    async def _disconnect(self) -> None:
        conn, self._conn, self._trouble = self._conn, None, "stopping"
        CONNECTED.set(0)
        if conn is not None:
            with contextlib.suppress(Exception):
                await conn.close(timeout=2)

    def _fail_queued(self, trouble: str) -> None:
        while self._queue:
            queued = self._queue.popleft()
            self._queued_samples -= queued.write.samples
            _fail(queued, StoreUnavailable(detail=trouble, retry_after_s=1))
        QUEUED_SAMPLES.set(self._queued_samples)


_NO_IDS: I64 = np.empty(0, np.int64)


def _fail(queued: _Queued, error: Exception) -> None:
    if not queued.done.done():
        queued.done.set_exception(error)


def _refused_rows(writes: list[Write]) -> list[tuple[UUID, str, int]]:
    totals: dict[tuple[UUID, str], int] = {}
    for write in writes:
        for reason, samples in write.refused.items():
            totals[write.tenant, reason] = totals.get((write.tenant, reason), 0) + samples
    # In one order, so that two writers cannot wait for each other's rows.
    return [(tenant, reason, samples) for (tenant, reason), samples in sorted(totals.items())]


def _metadata_rows(changed: list[tuple[UUID, MetricMetadata]]) -> list[tuple[Any, ...]]:
    latest = {(tenant, metadata.metric_name): metadata for tenant, metadata in changed}
    # In one order, so that two writers cannot wait for each other's rows.
    return [
        (
            tenant,
            name,
            latest[tenant, name].type,
            latest[tenant, name].help,
            latest[tenant, name].unit,
        )
        for tenant, name in sorted(latest)
    ]


async def _packed(writes: list[Write], new_ids: list[I64] | None) -> list[tuple[Any, ...]]:
    """One row of `metrics.batch` for each tenant, arrival order kept."""
    if sum(write.samples for write in writes) <= INLINE_SAMPLES_MAX:
        return pack_rows(writes, new_ids)
    return await anyio.to_thread.run_sync(pack_rows, writes, new_ids)


def pack_rows(writes: list[Write], new_ids: list[I64] | None) -> list[tuple[Any, ...]]:
    """(tenant, min_ts, max_ts, samples, payload) of each tenant that has samples, by tenant."""
    parts: dict[UUID, list[tuple[I64, I64, F64]]] = {}
    for i, write in enumerate(writes):
        if write.samples:
            series_ids = write.series_ids
            if write.new and new_ids is not None:
                series_ids = np.where(
                    series_ids < 0, new_ids[i][-1 - np.minimum(series_ids, -1)], series_ids
                )
            parts.setdefault(write.tenant, []).append(
                (series_ids, write.timestamps_ms, write.values)
            )
    rows: list[tuple[Any, ...]] = []
    for tenant in sorted(parts):
        pieces = parts[tenant]
        whole = (
            pieces[0]
            if len(pieces) == 1
            else tuple(np.concatenate(column) for column in zip(*pieces, strict=True))
        )
        columns = batch.Columns(*whole)
        times = columns.timestamps_ms
        rows.append((tenant, int(times.min()), int(times.max()), len(columns), batch.pack(columns)))
    return rows


def _is_partition_missing(exc: asyncpg.PostgresError) -> bool:
    # A row without a partition has no constraint name, a failed CHECK has; the text is translated.
    return isinstance(exc, asyncpg.CheckViolationError) and not exc.constraint_name


def _is_about_content(exc: Exception) -> bool:
    """Whether Postgres objects to the content, by SQLSTATE: data, constraint and size errors."""
    if isinstance(exc, asyncpg.PostgresError):
        if _is_partition_missing(exc):
            return False  # 23514 like any check, but a 400 would make the sender drop the samples
        return str(exc.sqlstate or "")[:2] in {"22", "23", "54"}
    return isinstance(exc, asyncpg.DataError | ValueError | OverflowError)


def _unavailable(exc: Exception) -> StoreUnavailable:
    return StoreUnavailable(detail=_trouble(exc), retry_after_s=1)


def _trouble(exc: Exception) -> str:
    if (error := translated(exc, tables.SCHEMA)) is not None:
        return str(error.facts.get("detail") or error)
    return f"{type(exc).__name__}: {exc}".strip().rstrip(":")


def _reason(exc: Exception) -> str:
    return (
        "content"
        if _is_about_content(exc)
        else "timeout"
        if isinstance(exc, TimeoutError)
        else "connection"
    )
