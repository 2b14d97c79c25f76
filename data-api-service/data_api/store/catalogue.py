"""What a tenant has at one instant: series, live batches decoded, live blocks. One snapshot.

    name ─▶ as it was: all is in memory ─────────────────────────────────────────────▶ Snapshot
       └─ one statement ─▶ xmin, live batches, live blocks, ids of new series ─┬──────▶
                                missing payloads, labels: rows that never change ─┘

A statement is a snapshot of its own. What it lists and is not in memory is read by further ones:
such a row is as it was, or gone since, and then all is read again in one REPEATABLE READ.
The state of a tenant stays in memory between queries and is brought up to date by transaction id:
every row with `xid <` the watermark (`pg_snapshot_xmin` of the last snapshot) has been read; rows
at or above it are listed again. Row ids cannot be a watermark: a lower one may commit after a
higher one.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Self
from uuid import UUID

import anyio.to_thread
import asyncpg
import orjson
import structlog
from prometheus_client import Gauge, Histogram

from data_api.chassis.postgres_async import LOST, translating
from data_api.store import batch, tables
from data_api.store.head import BatchRef, Head, missing, pages, split
from data_api.store.postings import SeriesIndex
from data_api.store.tenant_state import ALL_TIME, NO_TIME, Snapshot, TenantState, covers

SERIES_PAGE: Final = 20_000
NO_XID: Final = 2**64 - 1
IDLE_S_MAX: Final = 3_600.0
ACQUIRE_TIMEOUT_S: Final = 5.0
UNUSED_S_MAX: Final = 30.0  # a session of Postgres takes 2 to 9 MiB
STATEMENT_TIMEOUT_S: Final = 60.0

log = structlog.get_logger()
HEAD_BYTES: Final = Gauge("cloudopshub_head_bytes", "Memory of the decoded newest samples.")
SNAPSHOTS: Final = Histogram(
    "cloudopshub_snapshot_duration_seconds",
    "Time to bring a tenant's state up to date from Postgres.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)


Pick = Callable[[batch.SampleColumns], batch.SampleColumns]
Picker = Callable[[SeriesIndex], Pick]
"""Called once a snapshot; the Pick reduces a batch to the samples that the query may need."""


class _MovedError(Exception):
    """What a statement listed is gone by the next one, or has to be read by many."""


class _Session(asyncpg.Connection):  # type: ignore[misc] # it has no types
    """asyncpg closes expired sessions in tasks that nobody awaits; one that had ended is closed."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """It is closed, or was broken and is aborted."""
        with contextlib.suppress(*LOST, OSError):
            await super().close(timeout=timeout)


class Database:
    """Postgres behind a pool that is not connected yet: a service whose database is down starts.

    The pool is made when the block is entered, because asyncpg ties it to the running event loop.
    """

    def __init__(self, database_url: str, connections: int, *, pings: bool = False) -> None:
        """pings: a connection is asked before it is lent, a round trip for whoever cannot repeat
        what it does: after a restart of Postgres the pool is full of sessions that ended.
        """
        self._pings = pings
        self._database_url = database_url
        self._connections = connections
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._asking = asyncio.Lock()
        self._following: asyncio.Task[str] | None = None
        self._session: Any = None  # that names are asked in: to borrow one costs more than to ask

    async def __aenter__(self) -> Self:
        """The pool is there; its first connection is made by whoever needs it."""
        self._pool = await asyncpg.create_pool(
            self._database_url,
            min_size=0,
            max_size=self._connections,
            max_inactive_connection_lifetime=UNUSED_S_MAX,
            command_timeout=STATEMENT_TIMEOUT_S,
            timeout=ACQUIRE_TIMEOUT_S,
            reset=_no_reset,
            connection_class=_Session,
            server_settings={"application_name": "data-api-service", "jit": "off"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """All connections are closed."""
        assert self._pool is not None
        await self._give_back()
        await self._pool.close()

    def acquire(self) -> Any:
        """One connection for an `async with` block, waited for at most ACQUIRE_TIMEOUT_S."""
        assert self._pool is not None, "the service's lifespan has not begun"
        return self._pinged() if self._pings else self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S)

    @contextlib.asynccontextmanager
    async def _pinged(self) -> AsyncIterator[Any]:
        assert self._pool is not None
        connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
        try:
            try:
                await connection.execute("SELECT")
            except LOST:
                with contextlib.suppress(*LOST):  # when its end was noticed, it is the pool's again
                    connection.terminate()
                await self._pool.release(connection)
                await self._pool.expire_connections()  # they will have ended, too
                connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
            yield connection
        finally:
            await self._pool.release(connection)

    async def name(self) -> str:
        """That of what is there to be read (`tables.NAME`), asked for after the call began: once
        for all that wait while another question is under way.
        """
        if not self._asking.locked():
            return await self._ask()
        if self._following is None:
            self._following = asyncio.create_task(self._ask(follows=True))
        return await asyncio.shield(self._following)

    async def _ask(self, *, follows: bool = False) -> str:
        async with self._asking:
            if follows:
                self._following = None  # who comes from here on needs another
            try:
                return await self._asked()
            except (*LOST, OSError):
                await self._give_back()  # it had ended while idle, and others will have, too
                assert self._pool is not None
                await self._pool.expire_connections()
                return await self._asked()

    async def _asked(self) -> str:
        if self._session is None:
            assert self._pool is not None, "the service's lifespan has not begun"
            self._session = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
        name: str = await self._session.fetchval(tables.NAME)
        return name

    async def _give_back(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            assert self._pool is not None
            await self._pool.release(session)


async def _no_reset(_: object) -> None:
    """Sessions hold no state here, so asyncpg's reset would be a round trip for nothing."""


class Catalogue:
    """Snapshots of tenants, each brought up to date from Postgres."""

    def __init__(self, database: Database, head_bytes_max: int) -> None:
        self._database = database
        self._head_bytes_max = head_bytes_max
        self._tenants: dict[UUID, TenantState] = {}

    async def snapshot(
        self, tenant_id: UUID, span: tuple[int, int], picker: Picker | None
    ) -> Snapshot:
        """Series, batches and blocks that overlap `span` (ms, inclusive), all of one instant.

        Without a picker only the series are brought up to date: head and blocks are empty.
        Raises DatabaseUnavailable, and what the picker raises.
        """
        state = self._tenants.setdefault(tenant_id, TenantState())
        state.used_s = came_s = time.monotonic()
        with translating(tables.SCHEMA):
            name = await self._database.name()
        if picker is None and name and name in {state.name, state.series_name}:
            return Snapshot(state.index, Head(), ())
        if picker is not None and state.shows(name, span, came_s):
            return state.shown(span, state.head)
        async with state.lock:
            if picker is not None and state.shows(name, span, came_s):
                return state.shown(span, state.head)  # was read for another meanwhile
            with SNAPSHOTS.time(), translating(tables.SCHEMA):
                try:
                    snapshot = await self._read(tenant_id, state, span, picker, name)
                except LOST:
                    # The session had ended while idle in the pool; reading again changes nothing.
                    snapshot = await self._read(tenant_id, state, span, picker, name)
        self._make_room(tenant_id)
        return snapshot

    def index(self, tenant_id: UUID) -> SeriesIndex | None:
        """The tenant's series as far as they were read; None before its first query."""
        state = self._tenants.get(tenant_id)
        return None if state is None else state.index

    async def metadata(
        self, tenant_id: UUID, metric: str | None, limit: int
    ) -> list[tuple[str, str, str, str]]:
        """(metric name, type, help, unit) of the first metrics by name."""
        rows = await self.rows(tables.METADATA, tenant_id, metric, limit)
        return [(row["metric_name"], row["type"], row["help"], row["unit"]) for row in rows]

    async def stored(self, tenant_id: UUID) -> Mapping[str, Any]:
        """Samples and number of the tenant's live blocks; samples of its live batches; first and
        last ms of all (None without any).
        """
        (row,) = await self.rows(tables.STORED, tenant_id)
        return dict(row)

    async def rows(self, statement: str, *values: object) -> Sequence[Mapping[str, Any]]:
        """What a statement of `tables` gives by itself, outside of a snapshot."""
        with translating(tables.SCHEMA):
            async with self._database.acquire() as connection:
                rows: Sequence[Mapping[str, Any]] = await connection.fetch(statement, *values)
                return rows

    async def check_postgres(self) -> str:
        """Postgres answers."""
        with translating(tables.SCHEMA):
            async with self._database.acquire() as connection:
                return f"PostgreSQL {await connection.fetchval('SHOW server_version')}"

    async def check_schema(self) -> str:
        """Schema metrics has every table and column this service reads."""
        with translating(tables.SCHEMA):
            async with self._database.acquire() as connection:
                for statement in tables.STATEMENTS:
                    await connection.prepare(statement)
        return "schema metrics is complete"

    async def _read(
        self,
        tenant_id: UUID,
        state: TenantState,
        span: tuple[int, int],
        picker: Picker | None,
        name: str,
    ) -> Snapshot:
        async with self._database.acquire() as connection:
            with contextlib.suppress(_MovedError):
                return await self._update(connection, tenant_id, state, span, picker, name)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await self._update(connection, tenant_id, state, span, picker, "")

    async def _update(  # noqa: PLR0917 - what `snapshot` was asked
        self,
        connection: Any,
        tenant_id: UUID,
        state: TenantState,
        span: tuple[int, int],
        picker: Picker | None,
        name: str,
    ) -> Snapshot:
        """`state` is brought up to date, and what of it overlaps `span` returned. name: of what is
        there to be read now; "" where that is not known.
        """
        asked_s = time.monotonic()
        since = str(state.series_watermark or NO_XID)
        if picker is None:
            row = await connection.fetchrow(tables.SERIES_LISTING, tenant_id, since)
            if reason := state.compare(row):
                state.reset(tenant_id, reason)
                return await self._update(connection, tenant_id, state, span, picker, "")
            await self._update_series(connection, tenant_id, state, row)
            return Snapshot(state.index, Head(), ())
        if not name or name != state.name or not covers(state.listed, span):
            first_ms, last_ms = span
            if state.listed != NO_TIME:
                first_ms, last_ms = min(state.listed[0], first_ms), max(state.listed[1], last_ms)
            row = await connection.fetchrow(
                tables.LISTING, tenant_id, since, str(state.batch_watermark), first_ms, last_ms
            )
            if reason := state.compare(row) or state.list_batches(row):
                state.reset(tenant_id, reason)
                return await self._update(connection, tenant_id, state, span, picker, "")
            await self._update_series(connection, tenant_id, state, row)
            state.list_blocks(row, (first_ms, last_ms))
            name = row["name"]
        head = state.head
        if not covers(state.decoded, span):
            head = await self._update_head(connection, tenant_id, state, span, picker=picker)
        state.name, state.asked_s = name, asked_s
        return state.shown(span, head)

    async def _update_series(
        self, connection: Any, tenant_id: UUID, state: TenantState, position: Mapping[str, Any]
    ) -> None:
        """The series that the snapshot shows are in the index, and no others: once some were
        deleted, all are read again.
        """
        if state.series_deletions != position["series_deletions"]:
            state.index, state.series_watermark = SeriesIndex(), 0
            state.series_deletions = position["series_deletions"]
        if state.series_watermark:
            unknown = state.index.unknown(position["new_series_ids"])
            for start in range(0, len(unknown), SERIES_PAGE):
                page = unknown[start : start + SERIES_PAGE]
                rows = await connection.fetch(tables.SERIES, tenant_id, page)
                if len(rows) < len(page):
                    raise _MovedError
                await anyio.to_thread.run_sync(_add_series, state.index, rows)
        elif not connection.is_in_transaction():
            raise _MovedError
        else:
            cursor = await connection.cursor(tables.ALL_SERIES, tenant_id)
            while rows := await cursor.fetch(SERIES_PAGE):
                await anyio.to_thread.run_sync(_add_series, state.index, rows)
        state.series_watermark, state.series_name = position["xmin"], position["name"]

    async def _update_head(
        self,
        connection: Any,
        tenant_id: UUID,
        state: TenantState,
        span: tuple[int, int],
        *,
        picker: Picker,
    ) -> Head:
        """The head with live batches only, among them all that overlap `span`.

        As many of the newest as fit the budget stay in memory between queries. They are added page
        by page, so the pages of a query that is cancelled are not read again. Of the others (when
        nothing compacts, say) only the samples that `picker` selects are added, for this query.
        """
        refs = frozenset(state.live.values())
        if not state.head.batches <= refs:
            state.head = await anyio.to_thread.run_sync(state.head.only, refs)
        new = missing(refs, state.head.batches, span)
        beyond, fitting = split(new, self._head_bytes_max - state.head.nbytes)
        for page in pages(fitting):
            columns = await _decoded(connection, tenant_id, page)
            state.head = await anyio.to_thread.run_sync(state.head.add, columns)
        head = state.head
        if not beyond:
            state.decoded = ALL_TIME if len(state.head.batches) == len(refs) else span
        else:
            pick = await anyio.to_thread.run_sync(picker, state.index)
            for page in pages(beyond):
                columns = await _decoded(connection, tenant_id, page)
                head = await anyio.to_thread.run_sync(_add_picked, head, columns, pick)
        return head

    def _make_room(self, current: UUID) -> None:
        """Heads fit their budget and long idle tenants are dropped; never `current`."""
        now_s = time.monotonic()
        idle = [
            tenant_id
            for tenant_id, state in self._tenants.items()
            if now_s - state.used_s > IDLE_S_MAX and not state.lock.locked()
        ]
        for tenant_id in idle:
            del self._tenants[tenant_id]
        total = sum(state.head.nbytes for state in self._tenants.values())
        for tenant_id, state in sorted(self._tenants.items(), key=lambda item: item[1].used_s):
            if total <= self._head_bytes_max:
                break
            if tenant_id != current and not state.lock.locked():
                total -= state.head.nbytes
                state.head, state.decoded = Head(), NO_TIME
        HEAD_BYTES.set(total)


def _add_series(index: SeriesIndex, rows: Sequence[Mapping[str, Any]]) -> None:
    index.add((row["series_id"], orjson.loads(row["labels"])) for row in rows)


async def _decoded(
    connection: Any, tenant_id: UUID, page: Sequence[BatchRef]
) -> dict[BatchRef, batch.SampleColumns]:
    rows = await connection.fetch(
        tables.PAYLOADS, tenant_id, sorted({str(ref.xid) for ref in page})
    )
    payloads = {row["batch_id"]: row["payload"] for row in rows}
    return await anyio.to_thread.run_sync(_decode_all, page, payloads)


def _add_picked(head: Head, columns: Mapping[BatchRef, batch.SampleColumns], pick: Pick) -> Head:
    picked = {ref: pick(one) for ref, one in columns.items()}
    return head.add({ref: one for ref, one in picked.items() if one.values.size})


def _decode_all(
    refs: Sequence[BatchRef], payloads: Mapping[int, bytes]
) -> dict[BatchRef, batch.SampleColumns]:
    if any(ref.batch_id not in payloads for ref in refs):
        raise _MovedError
    return {ref: batch.decode(payloads[ref.batch_id]) for ref in refs}
