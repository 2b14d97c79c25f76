"""Laws of compaction on real Postgres and Parquet: nothing lost, nothing doubled, the last wins."""

import asyncio
import contextlib
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow.parquet as pq
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from data_ingest import migrate
from data_ingest.background import compaction, upkeep
from data_ingest.store import catalogue, runs
from data_ingest.store.objects import DirectoryObjects
from data_ingest.store.partitions import AHEAD, WIDTH, ensure_partitions, partition_name
from tests.embedded_postgres import fresh_database, running_postgres
from tests.metric_store import AT_ONCE, HOUR_MS, NOW_MS, Store, merge_all, opened_store
from tests.stored_values import STALE, STALE_BITS, bits_of, stored


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture
def database(server: str) -> Iterator[str]:
    with fresh_database(server, "compaction") as url, _migrated(url):
        yield url


@contextlib.contextmanager
def _migrated(url: str) -> Iterator[None]:
    migrate.upgrade(url)
    yield


async def test_batches_become_blocks_and_read_the_same(database: str, tmp_path: Path) -> None:
    """What was committed is read back from blocks bit for bit, the last of two samples of one
    instant wins.
    """
    async with opened_store(database, tmp_path) as store:
        await store.commit((7, NOW_MS, 1.5), (3, NOW_MS, -0.0), (7, NOW_MS + 10, STALE))
        await store.commit(
            (7, NOW_MS, 2.5), (7, NOW_MS - 3 * HOUR_MS, float("inf")), (3, NOW_MS + 1, 0.1)
        )
        before = await store.read()
        assert await store.compact()
        assert await store.read() == before
        assert before[7, NOW_MS] == bits_of(2.5)
        assert before[7, NOW_MS + 10] == STALE_BITS
        assert before[3, NOW_MS] == bits_of(-0.0)
        blocks = await store.blocks()
        assert [b["samples"] for b in blocks] == [1, 4]
        assert all((tmp_path / b["object_key"]).stat().st_size == b["bytes"] for b in blocks)
        assert all(b["object_key"].startswith(f"{store.tenant}/2026-") for b in blocks)
        assert not await store.compact()


@pytest.mark.parametrize("compacted", ["never", "between", "after"])
@pytest.mark.parametrize("arrived", [(2.0, STALE), (STALE, 2.0)], ids=["value", "marker"])
async def test_a_value_beats_a_stale_marker(
    database: str, tmp_path: Path, arrived: tuple[float, float], compacted: str
) -> None:
    """Whichever came first, in one block, in two that are merged, and in batches."""
    rows = [(1, NOW_MS, value) for value in arrived]
    async with opened_store(database, tmp_path) as store:
        for row in rows:
            await store.commit(row)
            if compacted == "between":
                await store.compact()
        if compacted == "after":
            await store.compact()
        await store.merge(NOW_MS + 100 * HOUR_MS)
        assert await store.read() == stored(rows) == {(1, NOW_MS): bits_of(2.0)}


async def test_a_batch_below_a_running_transaction_waits(database: str, tmp_path: Path) -> None:
    """A batch is compacted only when every transaction that began before it has ended, so
    precedence stays the order of commits.
    """
    async with opened_store(database, tmp_path) as store:
        other = await catalogue.connect(database, "other")
        transaction = other.transaction()
        await transaction.start()
        await other.fetchval("SELECT pg_current_xact_id()::text")
        await store.commit((1, NOW_MS, 1.0))
        assert not await store.compact()
        await transaction.rollback()
        assert await store.compact()
        await other.close()


async def test_one_compactor_a_tenant(database: str, tmp_path: Path) -> None:
    """While one process compacts a tenant, another leaves it alone."""
    async with opened_store(database, tmp_path) as store:
        await store.commit((1, NOW_MS, 1.0))
        other = await catalogue.connect(database, "other")
        async with other.transaction():
            assert await catalogue.lock_tenant(other, store.tenant)
            assert not await store.compact()
        assert await store.compact()
        await other.close()


async def test_merging_keeps_every_sample_and_the_later_wins(database: str, tmp_path: Path) -> None:
    """Eight small blocks of one window become one of the next level that reads the same; the
    replaced go 15 minutes later.
    """
    async with opened_store(database, tmp_path) as store:
        for i in range(8):
            await store.commit(
                *((series, NOW_MS + step, series + i / 10) for series in (1, 2) for step in (0, i))
            )
            assert await store.compact()
        before = await store.read()
        assert await store.merge()
        assert await store.read() == before
        (merged,) = await store.blocks()
        assert (merged["level"], merged["samples"], merged["series"]) == (1, len(before), 2)
        assert merged["precedence"] == await store.conn.fetchval(
            "SELECT max(precedence) FROM metrics.block"
        )
        assert await store.used() == len(before)
        assert await upkeep.delete_replaced(store.conn, store.objects) == 0
        await store.conn.execute(
            "UPDATE metrics.block SET replaced_at = replaced_at - interval '16 minutes'"
        )
        assert await upkeep.delete_replaced(store.conn, store.objects) == 8
        assert len(list(store.objects.list())) == 1
        assert await store.read() == before
        assert not await store.merge()


async def test_a_corrupt_block_is_kept_apart(database: str, tmp_path: Path) -> None:
    """A block with a flipped bit is named and quarantined: never merged, replaced or deleted, while
    what is below and above it is. Restored and freed by hand, it is merged as if nothing had been.
    """
    later_ms = int(datetime.now(UTC).timestamp() * 1000) + HOUR_MS
    async with opened_store(database, tmp_path) as store:
        for i in range(8):
            await store.commit((1, NOW_MS, i), (2, NOW_MS + i, 0.5))
            assert await store.compact()
        await store.commit((1, NOW_MS - 6 * HOUR_MS, 0.0))
        await store.compact()
        before = await store.read()
        corrupt = sorted(await store.blocks(), key=lambda row: row["precedence"])[3]
        path = tmp_path / corrupt["object_key"]
        whole = path.read_bytes()
        path.write_bytes(whole[:40] + bytes([whole[40] ^ 4]) + whole[41:])
        with capture_logs() as logs:
            await compaction.compact_due(store.conn, store.objects, AT_ONCE, lambda: later_ms)
        (told,) = [entry for entry in logs if entry["event"] == "block_quarantined"]
        assert told["log_level"] == "error"
        assert told["block_id"] == corrupt["block_id"]
        assert corrupt["object_key"] in told["reason"]
        assert REGISTRY.get_sample_value("cloudopshub_blocks_quarantined") == 1
        live = {row["block_id"]: row for row in await store.blocks()}
        assert live[corrupt["block_id"]]["quarantined_at"] is not None
        assert sorted(row["level"] for row in live.values()) == [0, 0, 1, 1]
        await store.conn.execute(
            "UPDATE metrics.block SET replaced_at = replaced_at - interval '16 minutes'"
        )
        await upkeep.delete_replaced(store.conn, store.objects)
        await upkeep.sweep_orphans(store.conn, store.objects, later_ms + upkeep.ORPHAN_AGE_MS)
        assert path.exists()
        path.write_bytes(whole)
        assert await store.read() == before
        await store.conn.execute(
            "UPDATE metrics.block SET quarantined_at = NULL WHERE object_key = $1",
            corrupt["object_key"],
        )
        assert await store.merge(later_ms)
        assert len(await store.blocks()) == 2
        assert await store.read() == before


class Killed(BaseException):
    """The process ended here."""


class MortalConnection:
    """A connection whose owner is killed before or after its n-th round trip."""

    def __init__(self, conn: asyncpg.Connection, steps: int, *, after: bool) -> None:
        self._conn = conn
        self._left = steps
        self._after = after

    async def _step(self, call: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        answer = await call()
        if self._left == 0:
            raise Killed
        return answer

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._conn, name)

        async def call(*args: Any) -> Any:
            return await self._step(lambda: method(*args))

        return call

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        await self._step(lambda: self._conn.execute("BEGIN"))
        yield
        await self._step(lambda: self._conn.execute("COMMIT"))


class MortalObjects(DirectoryObjects):
    """A directory whose owner is killed while or after it writes the n-th object."""

    def __init__(self, root: Path, writes: int, *, after: bool) -> None:
        super().__init__(root)
        self._left = writes
        self._after = after

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[Any]:
        self._left -= 1
        with super().writing(key) as sink:
            yield sink
            if self._left == 0 and not self._after:
                raise Killed
        if self._left == 0:
            raise Killed


@dataclass
class Victim:
    """One kind of run that is killed at one place, in a tenant of its own each time."""

    store: Store
    database: str
    what: str
    after: bool

    async def fill(self, i: int) -> None:
        """Batches, or blocks of one window; in both a later sample replaces an earlier one."""
        self.store.tenant = uuid.uuid4()
        for k in range(8 if self.what == "blocks" else 3):
            shift = -3 * HOUR_MS if self.what == "batches" and k == 1 else 0
            at = NOW_MS + shift + i
            await self.store.commit((1, at, k), (1, at, k + 0.25), (2, NOW_MS + k, i))
            if self.what == "blocks":
                await self.store.compact()

    async def run(self, conn: Any, objects: DirectoryObjects) -> None:
        tenant = self.store.tenant
        if self.what == "batches":
            await compaction.compact_batches(conn, objects, tenant, AT_ONCE)
        else:
            await merge_all(conn, objects, tenant, NOW_MS)

    async def dies(self, folder: Path, steps: int, writes: int) -> bool:
        """Whether it was killed before it had ended."""
        raw = await catalogue.connect(self.database, "mortal")
        try:
            conn = MortalConnection(raw, steps, after=self.after)
            await self.run(conn, MortalObjects(folder, writes, after=self.after))
        except Killed:
            return True
        finally:
            raw.terminate()
            await _gone(self.store.conn, "mortal")
        return False

    async def check(self, before: dict[tuple[int, int], int], where: object) -> None:
        """The same is read after the kill and the next run, and every sample is counted once."""
        assert await self.store.read() == before, where
        await self.run(self.store.conn, self.store.objects)
        assert await self.store.read() == before, where
        assert await self.store.used() == len(before), where


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("what", ["batches", "blocks"])
async def test_killed_at_any_step(database: str, tmp_path: Path, what: str, after: bool) -> None:
    """Killed before or after any round trip or object, compaction leaves a store that reads and
    counts the same, and goes on; what it left over is swept an hour later.
    """
    async with opened_store(database, tmp_path) as store:
        victim = Victim(store, database, what, after)
        deaths = 0
        for kind, n in itertools.chain(
            (("step", n) for n in range(1, 16)), (("write", n) for n in range(1, 4))
        ):
            await victim.fill(n)
            before = await store.read()
            steps, writes = (n, -1) if kind == "step" else (-1, n)
            deaths += await victim.dies(tmp_path, steps, writes)
            await victim.check(before, (kind, n))
        assert 9 <= deaths < 18, "every step of a run was reached, and the last tries had none"
        await _sweeps_what_is_left(store)


async def _sweeps_what_is_left(store: Store) -> None:
    listed = {facts.key for facts in store.objects.list()}
    rows = await store.conn.fetch("SELECT object_key FROM metrics.block")
    registered = {row["object_key"] for row in rows}
    assert registered <= listed
    later_ms = int(datetime.now(UTC).timestamp() * 1000) + upkeep.ORPHAN_AGE_MS + 1000
    assert await upkeep.sweep_orphans(store.conn, store.objects, 0) == 0
    swept = await upkeep.sweep_orphans(store.conn, store.objects, later_ms)
    assert swept == len(listed - registered)
    assert {facts.key for facts in store.objects.list()} == registered


async def _gone(conn: asyncpg.Connection, name: str) -> None:
    """The server has noticed that a connection was cut: a bounded wait, as after a kill."""
    await conn.fetch(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1",
        f"cloudopshub-dis {name}",
    )


async def test_partitions_go_when_all_is_compacted(database: str, tmp_path: Path) -> None:
    """A past partition is dropped once all its batches are compacted; the hours ahead are there."""
    async with opened_store(database, tmp_path) as store:
        now = datetime.now(UTC)
        old = now - timedelta(hours=5)
        await ensure_partitions(store.conn, old)
        await store.commit((1, NOW_MS, 1.0), received_at=old)
        before = await store.read()
        dropped = await upkeep.keep_partitions(store.conn, now)
        assert partition_name(old) not in dropped
        assert partition_name(old - WIDTH) in dropped
        assert await store.compact()
        assert partition_name(old) in await upkeep.keep_partitions(store.conn, now)
        assert await store.read() == before
        assert await upkeep.keep_partitions(store.conn, now) == []
        later = partition_name(now + AHEAD)
        assert await store.conn.fetchval("SELECT to_regclass($1)::text", f"metrics.{later}")


async def test_a_partition_left_half_detached_is_finished(database: str, tmp_path: Path) -> None:
    """Upkeep that was killed between detaching and dropping is finished by the next one."""
    async with opened_store(database, tmp_path) as store:
        now = datetime.now(UTC)
        old = now - timedelta(hours=5)
        await ensure_partitions(store.conn, old)
        name = partition_name(old)
        await store.conn.execute(
            f"ALTER TABLE metrics.batch DETACH PARTITION metrics.{name} CONCURRENTLY"
        )
        assert name in await upkeep.keep_partitions(store.conn, now)
        assert await store.conn.fetchval("SELECT to_regclass($1)::text", f"metrics.{name}") is None


async def test_any_parquet_reader_reads_a_block(database: str, tmp_path: Path) -> None:
    """The object is plain Parquet whose columns and metadata are those of the format document."""
    async with opened_store(database, tmp_path) as store:
        await store.commit(*((5, NOW_MS + i * 1000, i / 4) for i in range(9000)))
        assert await store.compact()
        block_row = (await store.blocks())[0]
        table = pq.read_table(tmp_path / block_row["object_key"])
        assert table.column_names == [
            "series_id",
            "min_ts",
            "max_ts",
            "samples",
            "step_ms",
            "jitter",
            "scale",
            "base",
            "integers",
            "values",
            "histograms",
        ]
        row = table.to_pylist()[0]
        assert row["scale"] == 2
        assert row["values"] is None
        assert [row["base"] + integer for integer in row["integers"][:3]] == [0, 25, 50]
        assert (row["min_ts"], row["step_ms"], row["jitter"]) == (NOW_MS, 1000, None)
        assert row["samples"] == len(row["integers"])
        metadata = pq.read_metadata(tmp_path / block_row["object_key"]).metadata
        assert metadata[b"cloudopshub.format"] == b"block/2"
        assert metadata[b"cloudopshub.tenant"] == str(store.tenant).encode()
        assert json.loads(metadata[b"cloudopshub.resolution_ms"]) == 0


async def test_the_sweep_leaves_a_run_under_way_alone(database: str, tmp_path: Path) -> None:
    """However old its object looks (the machine slept), a run that is not over keeps it."""
    async with opened_store(database, tmp_path) as store:
        await store.commit((1, NOW_MS, 1.0))
        assert await store.compact()
        other = await catalogue.connect(database, "other")
        key = catalogue.object_key(store.tenant, NOW_MS, uuid.uuid4())
        later_ms = int(datetime.now(UTC).timestamp() * 1000) + upkeep.ORPHAN_AGE_MS + 1000
        async with other.transaction():
            assert await catalogue.lock_tenant(other, store.tenant)
            with store.objects.writing(key) as sink:
                sink.write(b"a block on its way to the catalogue")
            assert await upkeep.sweep_orphans(store.conn, store.objects, later_ms) == 0
            assert key in {facts.key for facts in store.objects.list()}
        assert await upkeep.sweep_orphans(store.conn, store.objects, later_ms) == 1
        await other.close()


class RefusingObjects(DirectoryObjects):
    """A directory that fails, in a way nobody foresaw, for one tenant's objects."""

    def __init__(self, root: Path, tenant: uuid.UUID) -> None:
        super().__init__(root)
        self._tenant = str(tenant)

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[Any]:
        if key.startswith(self._tenant):
            raise RuntimeError("a fault of ours")
        with super().writing(key) as sink:
            yield sink


@pytest.mark.parametrize("is_slow", [False, True], ids=["fails", "takes too long"])
async def test_one_tenants_failure_is_its_own(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    """A run that fails, or takes too long, keeps no other tenant from being compacted."""

    async def never(*_: object) -> None:
        monkeypatch.setattr(runs, "RUN_TIMEOUT_S", 600.0)  # of the other runs
        await asyncio.Event().wait()

    async with opened_store(database, tmp_path) as store:
        tenants = sorted(uuid.uuid4() for _ in range(4))
        for store.tenant in tenants:
            await store.commit((1, NOW_MS, 1.0))
        failing = tenants[0]
        objects: DirectoryObjects = RefusingObjects(tmp_path, failing)
        if is_slow:
            monkeypatch.setattr(runs, "RUN_TIMEOUT_S", 0.5)
            exchange = catalogue.exchange
            calls = itertools.count()
            monkeypatch.setattr(
                catalogue,
                "exchange",
                lambda *args: never() if next(calls) == 0 else exchange(*args),
            )
            objects = DirectoryObjects(tmp_path)
        ended = await compaction.compact_due(store.conn, objects, AT_ONCE, lambda: NOW_MS)
        assert ended.failures == ["TimeoutError" if is_slow else "RuntimeError"]
        rows = await store.conn.fetch(
            "SELECT tenant_id FROM metrics.block WHERE tenant_id = ANY($1::uuid[])", tenants
        )
        assert len(rows) == 3
        again = await compaction.compact_due(store.conn, store.objects, AT_ONCE, lambda: NOW_MS)
        assert (again.is_behind, again.failures) == (False, [])
        for store.tenant in tenants:
            assert await store.used() == 1


async def test_a_batch_from_the_future_holds_nothing_back(database: str, tmp_path: Path) -> None:
    """After the server's clock was set back, batches stamped ahead of it are compacted like
    others, and so is what came after them.
    """
    async with opened_store(database, tmp_path) as store:
        ahead = datetime.now(UTC) + timedelta(hours=20)
        await ensure_partitions(store.conn, ahead)
        await store.commit((1, NOW_MS, 1.0), received_at=ahead)
        await store.commit(
            (1, NOW_MS + 1, 2.0), received_at=datetime.now(UTC) - timedelta(minutes=2)
        )
        settings = replace(AT_ONCE, delay_s=60.0)
        await compaction.compact_due(store.conn, store.objects, settings, lambda: NOW_MS)
        assert await store.used() == 2


async def test_a_partition_that_is_being_read_holds_nothing_up(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody reads `batch` for hours (a dump), upkeep goes on without dropping, and drops
    when the reader is gone; a query sees everything meanwhile.
    """
    monkeypatch.setattr(upkeep, "DETACH_TIMEOUT_S", 1)

    async with opened_store(database, tmp_path) as store:
        now = datetime.now(UTC)
        old = now - timedelta(hours=5)
        await ensure_partitions(store.conn, old)
        await store.commit((1, NOW_MS, 1.0), received_at=old)
        reader = await catalogue.connect(database, "dump")
        transaction = reader.transaction()
        await transaction.start()
        await reader.execute("LOCK TABLE metrics.batch IN ACCESS SHARE MODE")
        dropped = await upkeep.keep_partitions(store.conn, now)
        assert dropped == []
        await store.commit((1, NOW_MS + 1, 2.0))
        assert len(await store.read()) == 2
        await transaction.rollback()
        await reader.close()
        monkeypatch.setattr(upkeep, "DETACH_TIMEOUT_S", 600)
        assert await upkeep.keep_partitions(store.conn, now)
        assert len(await store.read()) == 2
        assert await store.conn.fetchval("SHOW statement_timeout") == "0"


async def test_a_partition_that_stands_apart_is_attached_again(
    database: str, tmp_path: Path
) -> None:
    """One that was detached and not dropped, and is needed again, takes samples as any other."""
    async with opened_store(database, tmp_path) as store:
        now = datetime.now(UTC)
        name = partition_name(now)
        await store.conn.execute(f"ALTER TABLE metrics.batch DETACH PARTITION metrics.{name}")
        assert await ensure_partitions(store.conn, now) == [name]
        await store.commit((1, NOW_MS, 1.0), received_at=now)
        assert len(await store.read()) == 1
