"""Group commit: what queued while one transaction was in flight goes into the next.

    commit() ─▶ queue ─▶ flush: look up and insert new series ─ pack ─ one batch a tenant ─ COMMIT
              (bounded)   └─ one dedicated connection, one flush at a time ─┘                 │
    commit() returns ◀────────────────────────────────────────────────────────────────────────┘

Small writes wait at most GATHER_S for those whose senders were just answered: a lone sender never
waits, several make one transaction of what would be two or three (docs/adr/0026-write-cost.md).

The commit is the acknowledgement: durable (`synchronous_commit=on`) and visible to every reader.
When Postgres refuses a transaction for what is in it, its writes are committed one by one, so that
only the bad one fails. While Postgres is away every write fails at once, and the connection is
tried again with a bounded backoff. Source: docs/adr/0001-metric-store.md.
"""

import asyncio
import contextlib
import time
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np
import structlog
from prometheus_client import Counter, Gauge, Histogram

from data_ingest.errors import SeriesOutdated, StoreRefused, StoreUnavailable
from data_ingest.model import I64
from data_ingest.store.failures import is_about_content, reason, trouble, unavailable
from data_ingest.store.history import StoreHistory, identify
from data_ingest.store.packing import Write, registrations, resolved
from data_ingest.store.partitions import ensure_partitions, server_now
from data_ingest.store.rebase import rebase
from data_ingest.store.series import Epoch
from data_ingest.store.transaction import Transactions
from data_ingest.store.write_queue import Queued, WriteQueue, WriterBounds, outdated

log = structlog.get_logger()

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
CONNECTED = Gauge(
    "cloudopshub_ingest_writer_connected", "1 while the writer has its Postgres connection."
)
FAILED_FLUSHES = Counter(
    "cloudopshub_ingest_failed_transactions_total", "Transactions that did not commit.", ["reason"]
)

GATHER_S = 0.001
GATHER_SAMPLES_MAX = 10_000
"""With more, a transaction of its own costs little beside its samples."""
RECONNECT_DELAY_S_MIN = 0.05


class Writer:
    """Owns one connection and commits on it, from `start` to `close`."""

    def __init__(self, database_url: str, bounds: WriterBounds) -> None:
        self._database_url = database_url
        self._bounds = bounds
        self._queue = WriteQueue(bounds, self._is_valid)
        self._wake = asyncio.Event()
        self._wake_at_writes = 1
        self._conn: Any = None
        self._transactions = Transactions(bounds.active_window_s)
        self._history = StoreHistory()
        self._trouble = "not connected yet"
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def store_epoch(self) -> int:
        """Grows when the store is another one; series ids of another epoch are not valid."""
        return self._history.epoch

    def series_epoch(self, tenant: UUID) -> Epoch:
        """Grows when series ids of the tenant may not be valid any more."""
        return self.store_epoch, self._transactions.deletions(tenant)

    def _is_valid(self, tenant: UUID, epoch: Epoch | None) -> bool:
        """Whether ids that were looked up in this epoch still are their series'."""
        return epoch in {None, self.series_epoch(tenant)}

    async def start(self) -> None:
        """It connects from here on, and again whenever the connection is lost."""
        self._task = asyncio.create_task(self._run(), name="writer")

    async def close(self) -> None:
        """What was queued is committed or has failed, and the connection is closed."""
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, self._bounds.commit_timeout_s)
        self._queue.fail_all("stopping")

    async def check(self) -> str:
        """A readiness check: connected, and the schema is there. Raises `StoreUnavailable`."""
        conn = self._conn
        if conn is None or conn.is_closed():
            raise StoreUnavailable(detail=self._trouble)
        return "connected, schema metrics is there"

    async def commit(self, write: Write, epoch: Epoch | None = None) -> I64:
        """The ids of `write.new`, once all of the write is durable and visible.

        An id is 0 where the plan left no room: see `Transactions.commit`.

        epoch: what `series_epoch` of its tenant was when the ids in `write` were looked up; None
        when they cannot be of another epoch.

        Raises `Overloaded` when too much is waiting, `StoreUnavailable` when Postgres is away or
        the time is up (the write may then still have been committed: senders resend, and the last
        one wins), `SeriesOutdated` when the epoch is another one, nothing being stored then, and
        `StoreRefused` when Postgres refuses what is in this write.
        """
        if len(write.new) <= self._bounds.flush_new_series_max:
            return await self._commit_at_once(write, epoch)
        new_ids = np.concatenate(
            [
                await self._commit_at_once(part, epoch)
                for part in registrations(write, self._bounds.flush_new_series_max)
            ]
        )
        (whole,) = await resolved([write], [new_ids])
        await self._commit_at_once(whole, epoch)
        return new_ids

    async def _commit_at_once(self, write: Write, epoch: Epoch | None) -> I64:
        if self._conn is None or self._closing.is_set():
            raise StoreUnavailable(detail=self._trouble, retry_after_s=1)
        if not self._is_valid(write.tenant, epoch):
            raise outdated()
        loop = asyncio.get_running_loop()
        queued = Queued(write, epoch, loop.create_future(), write.weight)
        self._queue.add(queued)
        if len(self._queue) >= self._wake_at_writes or self._queue.weight >= GATHER_SAMPLES_MAX:
            self._wake.set()
        timer = loop.call_later(self._bounds.commit_timeout_s, self._time_out, queued)
        try:
            return await queued.done
        finally:
            timer.cancel()

    def _time_out(self, queued: Queued) -> None:
        detail = f"no commit within {self._bounds.commit_timeout_s:g} s"
        queued.fail(StoreUnavailable(detail=detail, retry_after_s=1))

    # -- the one task that uses the connection ------------------------------------------------

    async def _run(self) -> None:
        delay_s = RECONNECT_DELAY_S_MIN
        while not self._closing.is_set():
            try:
                await self._connect()
                delay_s = RECONNECT_DELAY_S_MIN
                await self._serve()
            except asyncio.CancelledError:
                raise
            except Exception as exc:  # noqa: BLE001 - whatever it is, writes are answered and the writer goes on
                self._lost(exc)
                if not self._closing.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), delay_s)
                    delay_s = min(delay_s * 2, self._bounds.reconnect_delay_s_max)
        await self._disconnect()

    async def _connect(self) -> None:
        conn = await asyncpg.connect(
            self._database_url,
            timeout=self._bounds.commit_timeout_s,
            command_timeout=self._bounds.commit_timeout_s,
            server_settings={"application_name": "cloudopshub-dis writer"},
        )
        try:
            identity, now = await identify(conn), await server_now(conn)
            await ensure_partitions(conn, now)
            if not await self._history.compare(conn, identity, now):
                self._transactions.forget()
            await rebase(conn)
            await self._transactions.use(conn)
        except BaseException:
            conn.terminate()
            raise
        conn.add_termination_listener(lambda _: self._wake.set())
        self._conn = conn
        CONNECTED.set(1)
        log.info("writer_connected")

    async def _serve(self) -> None:
        senders = 1
        while self._queue or not self._closing.is_set():
            if self._conn.is_closed():
                raise ConnectionError("Postgres closed the connection")
            await self._gather(senders)
            if queued := self._queue.take():
                await self._flush(queued)
                senders = len(queued) + len(self._queue)

    async def _gather(self, senders: int) -> None:
        """Writes of so many senders are queued, or at least one and GATHER_S is over.

        Ends at once when the writer closes or loses its connection, and with many samples.
        """
        self._wake.clear()
        if not (self._queue or self._closing.is_set() or self._conn.is_closed()):
            await self._wake.wait()
        if 0 < len(self._queue) < senders and self._queue.weight < GATHER_SAMPLES_MAX:
            self._wake.clear()
            self._wake_at_writes = senders
            timer = asyncio.get_running_loop().call_later(GATHER_S, self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake_at_writes = 1

    async def _flush(self, queued: list[Queued]) -> None:
        """All of `queued` are answered; raises when the connection must not be used again."""
        started_s = time.perf_counter()
        try:
            new_ids, committed = await self._transactions.commit([one.write for one in queued])
        except SeriesOutdated:
            await self._flush_valid(queued)
            return
        except Exception as exc:
            FAILED_FLUSHES.labels(reason(exc)).inc()
            if not is_about_content(exc):
                for one in queued:
                    one.fail(unavailable(exc))
                raise
            if len(queued) == 1:
                log.warning(
                    "write_refused_by_store", tenant=str(queued[0].write.tenant), error=str(exc)
                )
                queued[0].fail(StoreRefused(detail=str(exc)))
                return
            await self._flush_each(queued)
            return
        if committed is not None:
            self._history.record(committed)
        COMMIT_SECONDS.observe(time.perf_counter() - started_s)
        FLUSH_WRITES.observe(len(queued))
        for one, ids in zip(queued, new_ids, strict=True):
            if not one.done.done():
                one.done.set_result(ids)

    async def _flush_valid(self, queued: list[Queued]) -> None:
        """Those fail whose ids are of another epoch, not the tenants that shared a transaction."""
        valid = [one for one in queued if self._is_valid(one.write.tenant, one.epoch)]
        if len(valid) == len(queued):
            valid = []
        for one in set(queued).difference(valid):
            one.fail(outdated())
        if valid:
            await self._flush(valid)

    async def _flush_each(self, queued: list[Queued]) -> None:
        """Each is committed by itself, so that only the bad one fails; otherwise as `_flush`."""
        for i, one in enumerate(queued):
            if one.done.done():
                continue
            try:
                await self._flush([one])
            except Exception as exc:
                for untried in queued[i + 1 :]:
                    untried.fail(unavailable(exc))
                raise

    # -- losing the connection ------------------------------------------------------------------

    def _lost(self, exc: Exception) -> None:
        self._trouble = trouble(exc)
        CONNECTED.set(0)
        log.warning("writer_disconnected", reason=self._trouble)
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.terminate()
        self._queue.fail_all(self._trouble)

    async def _disconnect(self) -> None:
        conn, self._conn, self._trouble = self._conn, None, "stopping"
        CONNECTED.set(0)
        if conn is not None:
            with contextlib.suppress(Exception):
                await conn.close(timeout=2)
