"""Laws of retention on real Postgres and Parquet: what is past goes, no sample loses its series."""

import asyncio
import contextlib
import random
import uuid
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import numpy as np
import pytest

from data_ingest import batch
from data_ingest.background import compaction, upkeep
from data_ingest.batch import Columns
from data_ingest.chassis.identity import Limits
from data_ingest.errors import SeriesOutdated
from data_ingest.labels import canonical
from data_ingest.limits import DAY_MS
from data_ingest.model import SampleBatch
from data_ingest.retention import series
from data_ingest.retention.rounds import keep_retention, rewrite_mostly_past
from data_ingest.retention.series import Reach
from data_ingest.store import block, catalogue, tables
from tests.metric_store import AT_ONCE, NOW_MS, Store, opened_store
from tests.stored_values import bits_of
from tests.write_path import RULES, body, now_ms, until, waiting, write_path

DAYS = 30
CUTOFF = NOW_MS - DAYS * DAY_MS


async def keep(store: Store, days: int | None = DAYS) -> None:
    await keep_retention(store.conn, store.objects, days, NOW_MS)


async def add_series(store: Store, name: str, last_ms: int) -> int:
    """The id of a series whose samples reach to `last_ms`."""
    new = canonical([(b"__name__", name.encode())], RULES)
    return int(
        await store.conn.fetchval(
            "INSERT INTO metrics.series (tenant_id, labels, labels_hash, last_ms)"
            " VALUES ($1, $2::text::jsonb, $3, $4) RETURNING series_id",
            store.tenant,
            new.labels_json,
            new.labels_hash,
            last_ms,
        )
    )


async def series_rows(store: Store) -> set[int]:
    rows = await store.conn.fetch(
        "SELECT series_id FROM metrics.series WHERE tenant_id = $1", store.tenant
    )
    return {row["series_id"] for row in rows}


async def test_a_block_goes_when_all_of_it_is_past(store_url: str, tmp_path: Path) -> None:
    """New snapshots do not list it at once; its object stays as long as a query that began before
    may run. What has a sample to keep stays, and so does another tenant's.
    """
    async with opened_store(store_url, tmp_path) as store:
        tenants = [uuid.uuid4(), uuid.uuid4()]
        for store.tenant in tenants:
            for at in (CUTOFF - 1, CUTOFF - 10 * DAY_MS, CUTOFF, NOW_MS):
                await store.commit((1, at, 0.5))
                await store.compact()
        await store.conn.execute(tables.SET_RETENTION, tenants[1], 0)
        await keep(store)
        times = {}
        for store.tenant in tenants:
            times[store.tenant] = [at for _, at in await store.read()]
        assert sorted(times[tenants[0]]) == [CUTOFF, NOW_MS]
        assert len(times[tenants[1]]) == 4
        assert await upkeep.delete_replaced(store.conn, store.objects) == 0
        assert len(list(store.objects.list())) == 8
        await store.conn.execute(
            "UPDATE metrics.block SET replaced_at = replaced_at - interval '16 minutes'"
        )
        assert await upkeep.delete_replaced(store.conn, store.objects) == 2
        assert len(list(store.objects.list())) == 6


async def test_without_a_plan_and_a_setting_all_is_kept(store_url: str, tmp_path: Path) -> None:
    """Nothing is deleted for a tenant nothing is known of."""
    async with opened_store(store_url, tmp_path) as store:
        await store.commit((1, 1, 0.5))
        await store.compact()
        await keep(store, days=None)
        assert len(await store.read()) == 1


async def test_a_block_that_is_mostly_past_is_written_anew(store_url: str, tmp_path: Path) -> None:
    """Without what is past, at its place in the order of precedence; the rest reads the same."""
    start = CUTOFF - CUTOFF % (32 * DAY_MS)
    async with opened_store(store_url, tmp_path) as store:
        times = [start + day * DAY_MS for day in range(64)]
        await store.commit(*((s, at, s / 7) for s in (1, 2) for at in times))
        await store.compact()
        assert [row["samples"] for row in await store.blocks()] == [64, 64]
        before = await store.read()
        await store.commit((1, times[31], 9.0))
        await store.compact()
        for day, is_written in ((15, False), (20, True), (21, False)):
            live = await store.blocks()
            assert is_written == await rewrite_mostly_past(
                store.conn, store.objects, store.tenant, times[day]
            )
            assert is_written == (live != await store.blocks())
        left = {key: bits for key, bits in before.items() if key[1] >= times[20]}
        assert await store.read() == {**left, (1, times[31]): bits_of(9.0)}


async def test_a_series_without_samples_goes(store_url: str, tmp_path: Path) -> None:
    """One whose last sample is past has no row any more; one with a sample in a block or only in a
    live batch keeps it.
    """
    async with opened_store(store_url, tmp_path) as store:
        past, in_block, in_batch = [
            await add_series(store, name, CUTOFF - 1) for name in ("past", "in_block", "in_batch")
        ]
        await store.commit((past, CUTOFF - 3 * DAY_MS, 0.5), (in_block, CUTOFF - 3 * DAY_MS, 0.5))
        await store.compact()
        await store.conn.execute("UPDATE metrics.series SET last_ms = $1", CUTOFF - 1)
        await store.commit((in_block, NOW_MS, 0.5))
        await store.compact()
        await store.commit((in_batch, NOW_MS, 0.5))
        await keep(store)
        assert await series_rows(store) == {in_block, in_batch}
        assert set(await store.read()) == {(in_block, NOW_MS), (in_batch, NOW_MS)}


async def test_last_ms_is_not_before_any_sample_of_a_block(store_url: str, tmp_path: Path) -> None:
    """Whatever arrives in whatever order and is compacted by whichever process, over runs that
    fail: no series looks older than a sample that a block has of it.
    """
    chance = random.Random(7)
    async with opened_store(store_url, tmp_path) as store:
        ids = [await add_series(store, str(i), 0) for i in range(150)]
        conns = [store.conn, await catalogue.connect(store_url, "other")]
        reaches = [Reach(), Reach()]
        for step in range(40):
            rows = [
                (chance.choice(ids), NOW_MS + chance.randrange(-3, 3) * DAY_MS + step, 0.5)
                for _ in range(3)
            ]
            await store.commit(*rows)
            which = chance.randrange(2)
            run = compaction.compact_batches(
                conns[which], store.objects, store.tenant, AT_ONCE, reaches[which]
            )
            if step % 3 == 1:
                with pytest.raises(asyncpg.CheckViolationError):
                    async with refusing(store.conn):
                        await run
            else:
                await run
            rows = await store.conn.fetch("SELECT series_id, last_ms FROM metrics.series")
            last_ms = {row["series_id"]: row["last_ms"] for row in rows}
            for row in await store.blocks():
                with store.objects.reading(row["object_key"]) as source:
                    for piece in block.read(source):
                        for i, one in enumerate(piece.series_ids.tolist()):
                            assert piece.timestamps_ms[piece.starts[i + 1] - 1] <= last_ms[one]
        await conns[1].close()


@contextlib.asynccontextmanager
async def refusing(conn: asyncpg.Connection):
    """No batch can be marked inside the block."""
    await conn.execute("ALTER TABLE metrics.block ADD CONSTRAINT none CHECK (run_id < 0) NOT VALID")
    try:
        yield
    finally:
        await conn.execute("ALTER TABLE metrics.block DROP CONSTRAINT none")


@contextlib.asynccontextmanager
async def two_writers(url: str, tmp_path: Path):
    """Two processes that write, and the store of the tenant they write for."""
    async with (
        write_path(url) as one,
        write_path(url) as two,
        opened_store(url, tmp_path) as store,
    ):
        yield one, two, store


async def delete_all_series(store: Store, conn: asyncpg.Connection | None = None) -> int:
    """Retention as it would be long after all of the tenant's samples are past."""
    await store.compact()
    await store.conn.execute(
        "UPDATE metrics.block SET replaced_by = 1, replaced_at = now() WHERE replaced_by IS NULL"
    )
    return await series.delete_past(conn or store.conn, store.tenant, 2**62)


async def live_samples(store: Store) -> list[tuple[str | None, int]]:
    """The name of the series, None where it has no row, and the value of each sample of the live
    batches, of one snapshot.
    """
    async with store.conn.transaction(isolation="repeatable_read"):
        rows = await store.conn.fetch(
            "SELECT series_id, labels->>'__name__' AS name FROM metrics.series"
        )
        names = {row["series_id"]: row["name"] for row in rows}
        rows = await store.conn.fetch(
            "SELECT payload FROM metrics.batch WHERE tenant_id = $1 AND compacted_by IS NULL"
            " ORDER BY xid, batch_id",
            store.tenant,
        )
    columns = [batch.unpack(row["payload"]) for row in rows]
    return [
        (names.get(series_id), value)
        for one in columns
        for series_id, value in zip(one.series_ids.tolist(), one.values.tolist(), strict=True)
    ]


async def test_a_series_that_comes_back_gets_a_row_again(store_url: str, tmp_path: Path) -> None:
    """Every process that had its id cached looks it up anew, without an error for the sender."""
    async with two_writers(store_url, tmp_path) as (one, two, store):
        at = now_ms()
        for path in (one, two):
            await path.send(store.tenant, body(("up", [(at, 1.0)])))
        (old,) = await series_rows(store)
        assert await delete_all_series(store) == 1
        for path in (one, two, one):
            assert (await path.send(store.tenant, body(("up", [(at, 2.0)])))).accepted == 1
        (new,) = await series_rows(store)
        assert new != old
        assert await live_samples(store) == [("up", 2.0)] * 3


async def test_a_count_of_deletions_that_is_set_back_is_noticed(store_url: str) -> None:
    """After a restore it may be any number, or none: writers take what the store says."""
    async with write_path(store_url) as path:
        tenant, at = uuid.uuid4(), now_ms()
        for count in (3, 2, 0):
            await path.conn.execute("DELETE FROM metrics.tenant")
            if count:
                await path.conn.execute(
                    "INSERT INTO metrics.tenant VALUES ($1, 0, $2)", tenant, count
                )
            assert (await path.send(tenant, body(("up", [(at, 1.0)])))).accepted == 1


async def test_a_write_on_its_way_does_not_outlive_its_series(
    store_url: str, tmp_path: Path
) -> None:
    """A write with cached ids that waits while they are deleted is stored under new ones."""
    async with two_writers(store_url, tmp_path) as (one, _, store):
        at = now_ms()
        await one.send(store.tenant, body(("up", [(at, 1.0)])))
        conn = await catalogue.connect(store_url, "retention")
        async with conn.transaction():
            await conn.execute("LOCK TABLE metrics.series IN ACCESS EXCLUSIVE MODE")
            sending = asyncio.create_task(
                one.send(store.tenant, body(("up", [(at + 1, 2.0)]), ("new", [(at, 1.0)])))
            )
            await until(lambda: waiting(one.conn))
            await conn.execute("UPDATE metrics.batch SET compacted_by = 1")
            await conn.execute("DELETE FROM metrics.series")
            await conn.execute(
                "INSERT INTO metrics.tenant VALUES ($1, 0, 1)"
                " ON CONFLICT (tenant_id) DO UPDATE SET series_deletions = 1",
                store.tenant,
            )
        assert (await sending).accepted == 2
        await conn.close()
        assert await live_samples(store) == [("up", 2.0), ("new", 1.0)]


async def test_a_batch_that_is_not_committed_yet_keeps_its_series(
    store_url: str, tmp_path: Path
) -> None:
    """Deleting waits for writers under way, and then sees what they stored; a writer that takes too
    long is not waited for.
    """
    async with two_writers(store_url, tmp_path) as (one, _, store):
        at = now_ms()
        await one.send(store.tenant, body(("up", [(at, 1.0)])))
        (only,) = await series_rows(store)
        writer = await catalogue.connect(store_url, "writer")
        transaction = writer.transaction()
        await transaction.start()
        payload = batch.pack(Columns(np.array([only]), np.array([at]), np.array([2.0])))
        await writer.fetch(tables.INSERT_BATCH, store.tenant, at, at, 1, payload, 0, 0)
        assert await delete_all_series(store) == 0
        deleting = asyncio.create_task(delete_all_series(store))
        await until(lambda: waits_for_writers(one.conn))
        await transaction.commit()
        assert await deleting == 0
        assert await series_rows(store) == {only}
        await writer.close()


async def waits_for_writers(conn: asyncpg.Connection) -> bool:
    return bool(
        await conn.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
        )
    )


async def test_no_sample_points_at_a_deleted_series(store_url: str, tmp_path: Path) -> None:
    """While two processes write the same and new series and every series without a live sample is
    deleted again and again, each sample that was acknowledged has its series, in every snapshot.
    """
    async with two_writers(store_url, tmp_path) as (one, two, store):
        conn = await catalogue.connect(store_url, "retention")
        start, accepted, deleted = now_ms(), 0, 0
        is_over = asyncio.Event()

        async def send(path: SimpleNamespace, chance: random.Random) -> int:
            sent = 0
            while not is_over.is_set():
                names = chance.sample(range(300), 3)
                request = body(*((f"up{n}", [(start + sent, 1.0)]) for n in names))
                try:
                    outcome = await path.send(store.tenant, request)
                except SeriesOutdated:  # deleted thrice meanwhile: told to send it again
                    continue
                sent += outcome.accepted
                assert outcome.refused_total == 0
            return sent

        senders = [
            asyncio.create_task(send(path, random.Random(i))) for i, path in enumerate((one, two))
        ]
        for _ in range(25):
            await store.compact()
            assert all(name for name, _ in await live_samples(store))
            deleted += await series.delete_past(conn, store.tenant, 2**62)
        is_over.set()
        accepted = sum(await asyncio.gather(*senders))
        assert deleted > 0
        assert accepted == await store.conn.fetchval("SELECT sum(samples) FROM metrics.batch")
        await conn.close()


async def test_the_newest_plan_is_kept(store_url: str) -> None:
    """A write tells the days of its plan, once for each change; the hub's own samples tell none."""
    async with write_path(store_url) as path:
        tenant, at = uuid.uuid4(), now_ms()

        async def days() -> int | None:
            row = await path.conn.fetchrow(
                "SELECT retention_days FROM metrics.tenant WHERE tenant_id = $1", tenant
            )
            return None if row is None else row["retention_days"]

        nothing = SampleBatch(
            np.empty((0, 2), np.uint64), np.empty(0, np.int64), np.empty(0, np.int64),
            np.empty(0), lambda _: [],
        )  # fmt: skip
        await path.pipeline.ingest(tenant, nothing, Limits(), "scrape")
        assert await days() is None
        for plan in (30, 30, 400, None, 7):
            await path.send(tenant, body(("up", [(at, 1.0)])), Limits(retention_days=plan))
            assert await days() == (plan or 0)
