"""A write path on real Postgres, and what tests do to it and ask of it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import asyncpg
from prometheus_client import REGISTRY

from data_ingest import batch
from data_ingest.chassis.identity import Limits
from data_ingest.errors import StoreUnavailable
from data_ingest.labels import LabelRules
from data_ingest.model import Sender
from data_ingest.pipeline import Pipeline
from data_ingest.protocols import remote_write
from data_ingest.protocols.protocol import Bounds
from data_ingest.replicas import ReplicaLabels
from data_ingest.store.elections import Elections
from data_ingest.store.rate_leases import RateLeases
from data_ingest.store.series import SeriesCache
from data_ingest.store.shared import SharedDecisions
from data_ingest.store.write_queue import WriterBounds
from data_ingest.store.writer import Writer
from tests import wire

BOUNDS = Bounds(1 << 24, 100_000)
RULES = LabelRules(labels_max=128, name_bytes_max=1024, value_bytes_max=8192)
WRITER_BOUNDS = WriterBounds(
    queue_samples_max=2_000_000,
    flush_samples_max=50_000,
    flush_new_series_max=10_000,
    commit_timeout_s=600.0,
    reconnect_delay_s_max=2.0,
    active_window_s=3600.0,
)
FREE = Limits()
REPLICA_LABELS = ReplicaLabels(b"cluster", b"__replica__")
WAIT_S = 600.0


def now_ms() -> int:
    return int(time.time() * 1000)


def body(*series: tuple[str, list[tuple[int, float]]]) -> bytes:
    """A request of series named `name`, each with one more label."""
    return wire.compressed(
        b"".join(
            wire.series([(b"__name__", name.encode()), (b"job", b"t")], samples)
            for name, samples in series
        )
    )


@contextlib.asynccontextmanager
async def write_path(
    url: str, clock: Callable[[], float] = time.monotonic, **bounds
) -> AsyncIterator[SimpleNamespace]:
    """A writer and a pipeline that are connected, and a connection of the test's own.

    clock: of rates and elections.
    """
    writer = Writer(url, replace(WRITER_BOUNDS, **bounds))
    cache = SeriesCache(1 << 20)
    shared = SharedDecisions(url)
    pipeline = Pipeline(
        cache,
        writer,
        RULES,
        future_ms_max=600_000,
        active_window_s=3600,
        rates=RateLeases(shared, clock),
        elections=Elections(shared, REPLICA_LABELS, failover_s=20, clusters_max=2, clock=clock),
    )
    conn = await asyncpg.connect(url)
    await writer.start()
    try:
        await until(lambda: is_up(writer))

        async def send(tenant: UUID, request: bytes, limits: Limits = FREE):
            return await pipeline.ingest_body(
                Sender(tenant, "key"),
                lambda: remote_write.decode(request, BOUNDS),
                limits,
                "remote_write",
            )

        yield SimpleNamespace(writer=writer, pipeline=pipeline, conn=conn, send=send, cache=cache)
    finally:
        await writer.close()
        await shared.close()
        await conn.close()


async def is_up(writer: Writer) -> bool:
    try:
        await writer.check()
    except StoreUnavailable:
        return False
    return True


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Polls, with a bound."""
    deadline = time.monotonic() + WAIT_S
    while not await holds():
        assert time.monotonic() < deadline, "not within the bound"
        await asyncio.sleep(0.01)


async def stored(conn, tenant: UUID) -> list[tuple[str, int, float]]:
    """Every sample of the tenant's batches with the name of its series, which must have its row."""
    rows = await conn.fetch(
        "SELECT series_id, labels->>'__name__' AS name FROM metrics.series WHERE tenant_id = $1",
        tenant,
    )
    names = {row["series_id"]: row["name"] for row in rows}
    samples = []
    for row in await conn.fetch(
        "SELECT * FROM metrics.batch WHERE tenant_id = $1 ORDER BY xid::text::bigint, batch_id",
        tenant,
    ):
        columns = batch.unpack(row["payload"])
        assert len(columns) == row["samples"]
        assert (columns.timestamps_ms.min(), columns.timestamps_ms.max()) == (
            row["min_ts"],
            row["max_ts"],
        )
        samples += [
            (names[one], ts, value)
            for one, ts, value in zip(
                columns.series_ids.tolist(),
                columns.timestamps_ms.tolist(),
                columns.values.tolist(),
                strict=True,
            )
        ]
    return samples


async def refused(conn, tenant: UUID) -> dict[str, int]:
    rows = await conn.fetch(
        "SELECT reason, sum(samples)::bigint AS n FROM metrics.refused_hour"
        " WHERE tenant_id = $1 GROUP BY 1",
        tenant,
    )
    return {row["reason"]: row["n"] for row in rows}


@contextlib.asynccontextmanager
async def locked(url: str, table: str = "metrics.batch") -> AsyncIterator[None]:
    """No commit that touches `table` gets through inside the block."""
    conn = await asyncpg.connect(url)
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        await transaction.rollback()
        await conn.close()


async def kill_writer(conn) -> int:
    """Ends the writer's server process, whatever it is doing; how many there were."""
    rows = await conn.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'cloudopshub-dis writer' AND datname = current_database()"
    )
    return len(rows)


async def writer_pid(conn) -> int | None:
    """The server process of the writer's connection."""
    pid: int | None = await conn.fetchval(
        "SELECT pid FROM pg_stat_activity"
        " WHERE application_name = 'cloudopshub-dis writer' AND datname = current_database()"
    )
    return pid


async def has_reconnected(path: SimpleNamespace, before: int | None) -> bool:
    """Whether the writer has another connection than the server process `before`."""
    return await writer_pid(path.conn) not in {None, before} and await is_up(path.writer)


async def are_queued(samples: int) -> bool:
    return REGISTRY.get_sample_value("cloudopshub_ingest_queued_samples") == samples


async def waiting(conn) -> bool:
    return bool(
        await conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'cloudopshub-dis writer'"
            " AND datname = current_database() AND wait_event_type = 'Lock'"
        )
    )
