"""The store against a real Postgres and real Parquet."""

import asyncio
import uuid
from pathlib import Path

import anyio
import asyncpg
import numpy as np
import pytest
from embedded_postgres import execute, fresh_database, own_postgres
from factories import SCHEMA, Ingest
from histograms import Written
from stored_values import STALE

from data_api.chassis.objects import Bucket, Directory, ObjectStoreUnavailable, open_store
from data_api.errors import CorruptData, QueryCanceled, TooManySamples
from data_api.model import STALE_BITS, Matcher, MatchOp, QueryLimits, SelectorSpan
from data_api.store import catalogue
from data_api.store.block import BlockReader
from data_api.store.catalogue import Catalogue, Database
from data_api.store.postings import SeriesIndex
from data_api.store.reader import Store

UP = (Matcher("__name__", MatchOp.EQUAL, "up"),)
ALL = SelectorSpan(UP, -(2**61), 2**61)
FREE = QueryLimits()


@pytest.fixture
async def store(database_url, objects):
    async with Database(database_url, 4) as database:
        places = open_store(objects.as_uri(), Directory, Bucket)
        yield Store(
            Catalogue(database, 1 << 26),
            BlockReader(places, 1 << 26),
            places,
        )


async def load(store, tenant, span=ALL, **limits):
    """{label set: [(ms, value)]} of one selector."""
    columns = (await store.load(tenant, [span], QueryLimits(**limits)))[0]
    return {
        tuple(sorted(labels.items())): list(
            zip(
                columns.timestamps_ms[columns.offsets[row] : columns.offsets[row + 1]].tolist(),
                columns.values[columns.offsets[row] : columns.offsets[row + 1]].tolist(),
                strict=True,
            )
        )
        for row, labels in enumerate(columns.labels)
    }


def key(**labels):
    return tuple(sorted({"__name__": "up", **labels}.items()))


async def test_a_committed_sample_is_read_at_once(store, ingest, tenant):
    """The commit is the acknowledgement: the very next read has it, new series and known ones."""
    assert await load(store, tenant) == {}
    for n in range(1, 20):
        await ingest.write(tenant, {"__name__": "up", "n": str(n % 3)}, [(n * 1000, float(n))])
        found = await load(store, tenant)
        assert sum(map(len, found.values())) == n
    assert found[key(n="0")] == [(n * 1000, float(n)) for n in range(3, 20, 3)]


async def test_a_lower_transaction_that_commits_later_is_not_lost(
    store, ingest, database_url, tenant, objects
):
    """Sequence order is not commit order: rows of an older transaction appear when it commits."""
    known = await ingest.write(tenant, {"__name__": "up"}, [(1, 1.0)])
    other = await asyncpg.connect(database_url)
    slow = Ingest(other, objects)
    transaction = other.transaction()
    await transaction.start()
    late = await slow.series(tenant, __name__="up", late="yes")
    await slow.batch(tenant, [(known, 2, 2.0), (known, 3, 99.0), (late, 2, 2.0)])
    for n in range(3, 6):  # higher ids, committed and read first
        await ingest.write(tenant, {"__name__": "up"}, [(n, float(n))])
        assert (await load(store, tenant))[key()][-1] == (n, float(n))
    await transaction.commit()
    await other.close()
    found = await load(store, tenant)
    # … and its own value for ms 3 is the older one: precedence is the transaction's, too.
    assert found[key()] == [(n, float(n)) for n in range(1, 6)]
    assert found[key(late="yes")] == [(2, 2.0)]


async def test_of_two_samples_at_one_time_the_last_committed_wins(store, ingest, tenant):
    """Within a batch, between batches, batch over block, and block over block by precedence."""
    up = await ingest.series(tenant, __name__="up")
    await ingest.block(tenant, [(up, 1, 9.0), (up, 2, 9.0), (up, 3, 9.0), (up, 4, 9.0)], 20)
    await ingest.block(tenant, [(up, 1, 5.0), (up, 2, 5.0), (up, 5, 5.0)], 10)
    await ingest.block(tenant, [(up, 2, 7.0)], 30)
    await ingest.batch(tenant, [(up, 3, 1.0), (up, 3, 2.0)])
    await ingest.batch(tenant, [(up, 4, 3.0)])
    assert await load(store, tenant) == {key(): [(1, 9.0), (2, 7.0), (3, 2.0), (4, 3.0), (5, 5.0)]}


@pytest.mark.parametrize("arrived", [(2.0, STALE), (STALE, 2.0)], ids=["value", "marker"])
@pytest.mark.parametrize("blocks", [0, 1, 2])
async def test_a_value_beats_a_stale_marker(store, ingest, tenant, arrived, blocks):
    """Whichever of the two came first, in whatever of batches and blocks they are."""
    up = await ingest.series(tenant, __name__="up")
    for precedence, value in enumerate(arrived):
        if precedence < blocks:
            await ingest.block(tenant, [(up, 1, value)], precedence)
        else:
            await ingest.batch(tenant, [(up, 1, value)])
    await ingest.batch(tenant, [(up, 2, value) for value in arrived])
    assert await load(store, tenant) == {key(): [(1, 2.0), (2, 2.0)]}


async def test_samples_past_retention_are_read_as_deleted(store, ingest, tenant):
    """Whether their blocks are still there or not, in the head and in blocks: the first ms that is
    kept is read, the one before is not, and a series with older samples alone is not listed.
    """
    up = await ingest.series(tenant, __name__="up")
    old = await ingest.series(tenant, __name__="up", is_old="yes")
    await ingest.block(tenant, [(up, ms, 1.0) for ms in (99, 100, 101)] + [(old, 99, 1.0)], 1)
    await ingest.batch(tenant, [(up, 98, 2.0), (up, 102, 2.0)])
    limits = {"kept_since_ms": 100}
    assert await load(store, tenant, **limits) == {key(): [(100, 1.0), (101, 1.0), (102, 2.0)]}
    assert await load(store, tenant, SelectorSpan(UP, 0, 99), **limits) == {}
    listed = await store.series(tenant, [UP], (0, 200), QueryLimits(**limits))
    assert [dict(labels) for labels in listed] == [{"__name__": "up"}]


async def test_a_deleted_series_is_not_listed_and_comes_back_as_another(store, ingest, tenant):
    """The next snapshot has it in no posting, whoever held it in memory; its name again is one
    series with the new samples, also while a block still has samples of the old one.
    """
    labels = {"__name__": "up", "job": "gone"}
    old = await ingest.write(tenant, labels, [(1, 1.0)])
    await ingest.write(tenant, {"__name__": "up"}, [(1, 1.0)])
    await ingest.compact(tenant)
    assert len(await load(store, tenant)) == 2
    await ingest.delete_series(tenant, old)
    assert list(await load(store, tenant)) == [key()]
    assert await store.label_values(tenant, "job", [], None, FREE) == []
    new = await ingest.write(tenant, labels, [(2, 2.0)])
    assert new != old
    assert (await load(store, tenant))[key(job="gone")] == [(2, 2.0)]
    assert len(await store.series(tenant, [UP], None, FREE)) == 2


async def test_moving_batches_to_blocks_changes_no_answer(
    store, ingest, database_url, tenant, objects
):
    """While a compactor works, every read has each committed sample once and misses none."""
    committed, reads, stop = 0, 0, asyncio.Event()
    ids = [await ingest.series(tenant, __name__="up", n=str(n)) for n in range(3)]

    async def compactor() -> None:
        connection = await asyncpg.connect(database_url)
        while not stop.is_set():
            await Ingest(connection, objects).compact(tenant)
        await connection.close()

    async def writer() -> None:
        nonlocal committed
        while reads < 30 and committed < 3_000:
            n = committed + 1
            await ingest.batch(tenant, [(i, n, float(n)) for i in ids])
            committed = n
        stop.set()

    async def reader() -> None:
        nonlocal reads
        while not stop.is_set():
            before = committed
            columns = (await store.load(tenant, [ALL], QueryLimits()))[0]
            counts = np.diff(columns.offsets)
            assert counts.size == (3 if before else counts.size)
            for row in range(counts.size):
                start, end = columns.offsets[row], columns.offsets[row + 1]
                expected = np.arange(1, counts[row] + 1)
                assert (columns.timestamps_ms[start:end] == expected).all()
            assert before <= (counts.min() if counts.size else 0) <= committed + 1
            reads += 1

    await asyncio.gather(compactor(), writer(), reader(), reader())
    assert reads >= 30
    assert {row[-1] for row in (await load(store, tenant)).values()} == {
        (committed, float(committed))
    }


async def test_values_keep_their_bits(store, ingest, tenant):
    """Stale markers, NaN, -0.0 and infinities come back bit for bit, from head and from blocks."""
    stale = np.array([STALE_BITS], np.uint64).view(np.float64)[0]
    values = [1.25, -0.0, stale, float("nan"), float("inf"), 0.1, 1e300, 5e-324]
    for name in ("up", "exact"):
        series = await ingest.series(tenant, __name__=name)
        await ingest.batch(tenant, [(series, ms, value) for ms, value in enumerate(values)])
        scaled = await ingest.series(tenant, __name__=name, kind="scaled")
        await ingest.batch(tenant, [(scaled, ms, ms / 100) for ms in range(500)])

    async def bits():
        columns = (await store.load(tenant, [ALL], QueryLimits()))[0]
        return columns.values.view(np.uint64).tolist()

    expected = np.array([*values, *(ms / 100 for ms in range(500))]).view(np.uint64).tolist()
    assert await bits() == expected
    await ingest.compact(tenant)
    assert await bits() == expected


async def test_a_span_is_open_at_its_start(store, ingest, tenant):
    """It holds start < time ≤ end, across chunks, row groups and the head."""
    up = await ingest.series(tenant, __name__="up")
    other = await ingest.series(tenant, __name__="up", n="1")
    samples = [(series, ms, float(ms)) for series in (up, other) for ms in range(100)]
    await ingest.block(tenant, samples, 5, chunk=7, group=3)
    await ingest.batch(tenant, [(up, ms, float(ms)) for ms in range(100, 120)])
    found = await load(store, tenant, SelectorSpan(UP, 90, 105))
    assert [ms for ms, _ in found[key()]] == list(range(91, 106))
    assert [ms for ms, _ in found[key(n="1")]] == list(range(91, 100))


async def test_row_groups_out_of_reach_are_not_read(store, ingest, tenant):
    """Statistics of series_id and time decide what is read at all."""
    ids = [await ingest.series(tenant, __name__="up", n=str(n)) for n in range(8)]
    samples = [(series, ms, 1.0) for series in ids for ms in range(40)]
    await ingest.block(tenant, samples, 5, chunk=10, group=4)
    one = SelectorSpan((*UP, Matcher("n", MatchOp.EQUAL, "5")), 14, 19)
    assert await load(store, tenant, one) == {key(n="5"): [(ms, 1.0) for ms in range(15, 20)]}
    assert len(store._blocks._columns) == 1


async def test_a_tenant_sees_only_itself(store, ingest, tenant):
    """Same labels, another tenant: neither samples nor series cross."""
    other = uuid.uuid4()
    for one, value in ((tenant, 1.0), (other, 2.0)):
        await ingest.write(one, {"__name__": "up"}, [(1, value)])
        await ingest.compact(one)
        await ingest.write(one, {"__name__": "up"}, [(2, value)])
    assert await load(store, tenant) == {key(): [(1, 1.0), (2, 1.0)]}
    assert await load(store, other) == {key(): [(1, 2.0), (2, 2.0)]}
    assert await load(store, uuid.uuid4()) == {}


async def test_the_limit_of_samples_is_exact(store, ingest, tenant):
    """As many as allowed pass, one more is refused; the limit holds over all selectors together."""
    await ingest.write(tenant, {"__name__": "up"}, [(ms, 1.0) for ms in range(10)])
    await ingest.compact(tenant)
    await ingest.write(tenant, {"__name__": "up"}, [(ms, 1.0) for ms in range(10, 20)])
    assert await load(store, tenant, samples_max=20)
    with pytest.raises(TooManySamples):
        await load(store, tenant, samples_max=19)
    with pytest.raises(TooManySamples):
        await store.load(tenant, [ALL, ALL], QueryLimits(samples_max=39))


@pytest.mark.parametrize("compacted", [False, True], ids=["head", "block"])
async def test_histograms_count_by_their_size_over_all_selectors(store, ingest, tenant, compacted):
    """Two selectors of the same histograms take twice what they cost: no less is enough."""
    stored = Written(positive=tuple((n, n + 1) for n in range(500))).encoded()
    await ingest.write(tenant, {"__name__": "up"}, [(ms, stored) for ms in range(10)])
    if compacted:
        await ingest.compact(tenant)
    (columns,) = await store.load(tenant, [ALL], FREE)
    assert columns.cost > 10 * len(stored) // 16
    await store.load(tenant, [ALL, ALL], QueryLimits(samples_max=2 * columns.cost))
    with pytest.raises(TooManySamples):
        await store.load(tenant, [ALL, ALL], QueryLimits(samples_max=2 * columns.cost - 1))


async def test_series_of_a_time_range(store, ingest, tenant):
    """Labels and series of a span are those with samples in it; without a span, of all time."""
    old = await ingest.series(tenant, __name__="up", age="old")
    await ingest.block(tenant, [(old, 1000, 1.0)], 5)
    await ingest.write(tenant, {"__name__": "up", "age": "new"}, [(9000, 1.0)])
    assert await store.label_values(tenant, "age", [], None, FREE) == ["new", "old"]
    assert await store.label_values(tenant, "age", [], (0, 1000), FREE) == ["old"]
    assert await store.label_values(tenant, "age", [UP], (8000, 9000), FREE) == ["new"]
    assert await store.series(tenant, [UP], (2000, 8000), FREE) == []


async def test_a_head_out_of_budget_is_read_again(database_url, objects, ingest, tenant):
    """With no room at all every answer is still whole; the budget only costs time."""
    async with Database(database_url, 4) as database:
        places = open_store(objects.as_uri(), Directory, Bucket)
        store = Store(Catalogue(database, 0), BlockReader(places, 0), places)
        others = [tenant, uuid.uuid4(), uuid.uuid4()]
        for n in range(1, 4):
            for one in others:
                await ingest.write(one, {"__name__": "up"}, [(n, float(n))])
                assert len((await load(store, one))[key()]) == n


async def test_a_backlog_of_batches_is_read_within_the_budget(
    database_url, objects, ingest, tenant
):
    """Where nobody compacts, the head keeps what fits and the rest passes by: answers are whole and
    the last sample wins, limits hold, and memory stays inside the budget.
    """
    budget = 24 * 1000
    ids = [await ingest.series(tenant, __name__="up", n=str(n)) for n in range(10)]
    for k in range(20):  # 4,000 samples; each batch writes the last instant of the one before again
        await ingest.batch(tenant, [(i, 19 * k + ms, k + i / 100) for i in ids for ms in range(20)])
    last = {(i, 19 * k + ms): k + i / 100 for k in range(20) for i in ids for ms in range(20)}
    one = SelectorSpan((*UP, Matcher("n", MatchOp.EQUAL, "3")), -1, 10_000)
    async with Database(database_url, 4) as database:
        places = open_store(objects.as_uri(), Directory, Bucket)
        store = Store(Catalogue(database, budget), BlockReader(places, 0), places)

        def kept():
            return store.catalogue._tenants[tenant].head.nbytes

        for span, wanted_ids in ((one, ids[3:4]), (ALL, ids), (one, ids[3:4])):
            found = await load(store, tenant, span)
            values = sorted(value for points in found.values() for value in points)
            assert values == sorted((ms, v) for (i, ms), v in last.items() if i in wanted_ids)
            assert 0 < kept() <= budget * 1.5
        assert await load(store, tenant, one, samples_max=400)
        with pytest.raises(TooManySamples):
            await load(store, tenant, one, samples_max=399)
        assert await store.label_values(tenant, "n", [], (0, 5), FREE) == list("0123456789")
        assert await store.label_values(tenant, "n", [], (500, 600), FREE) == []
        shown = await store.cardinality(tenant, 3, FREE)
        assert (shown.head_samples, shown.span) == (4000, (0, 380))
        assert kept() <= budget * 1.5


async def test_counting_a_tenants_series_reads_no_sample(store, ingest, tenant):
    """Cardinality comes from the catalogue: nothing is decoded or kept for it."""
    assert (await store.cardinality(tenant, 3, FREE)).span is None
    await ingest.write(tenant, {"__name__": "up"}, [(1, 1.0), (5, 2.0)])
    found = await store.cardinality(tenant, 3, FREE)
    assert (found.series, found.head_samples, found.span) == (1, 2, (1, 5))
    assert store.catalogue._tenants[tenant].head.runs == ()


async def test_a_block_number_that_comes_again_is_another_block(store, ingest, tenant):
    """After a database is restored from a backup its numbers are given out anew; what was kept of
    an object is never shown for another one's, least of all another tenant's.
    """
    other = uuid.uuid4()
    secret = await ingest.series(other, __name__="up")
    block_id = await ingest.block(other, [(secret, 1, 42.0)], 5)
    assert await load(store, other) == {key(): [(1, 42.0)]}
    await ingest.connection.execute("DELETE FROM metrics.block WHERE block_id = $1", block_id)
    again = await ingest.block(tenant, [(secret, 1, 7.0)], 5)
    await ingest.connection.execute(
        "UPDATE metrics.block SET block_id = $1 WHERE block_id = $2", block_id, again
    )
    await ingest.connection.execute(
        "UPDATE metrics.series SET tenant_id = $1 WHERE series_id = $2", tenant, secret
    )
    assert await load(store, tenant) == {key(): [(1, 7.0)]}


async def test_an_open_transaction_does_not_make_queries_read_labels_again(
    store, ingest, database_url, tenant, monkeypatch
):
    """While one stands open the watermark stands still; new series are read once all the same, in
    bounded pages.
    """
    monkeypatch.setattr(catalogue, "SERIES_PAGE", 4)
    read: list[int] = []
    add = SeriesIndex.add

    def counted_add(index, series):
        rows = list(series)
        read.append(len(rows))
        add(index, rows)

    monkeypatch.setattr(SeriesIndex, "add", counted_add)
    await ingest.write(tenant, {"__name__": "up"}, [(1, 1.0)])
    await load(store, tenant)
    other = await asyncpg.connect(database_url)
    transaction = other.transaction()
    await transaction.start()
    await other.fetchval("SELECT pg_current_xact_id()::text")
    for n in range(10):
        await ingest.write(tenant, {"__name__": "up", "n": str(n)}, [(1, 1.0)])
    read.clear()
    for _ in range(3):
        assert len(await load(store, tenant)) == 11
    assert read == [4, 4, 2]
    await transaction.rollback()
    await other.close()


async def test_a_store_made_anew_is_followed_from_its_beginning(server_url, objects, tenant):
    """Where the schema was restored or made anew under a running service, ids begin again and mean
    other series: none is shown with labels from before.
    """
    with fresh_database(server_url, "das") as url:
        execute(url, SCHEMA)
        async with Database(url, 4) as database:
            places = open_store(objects.as_uri(), Directory, Bucket)
            store = Store(
                Catalogue(database, 1 << 26),
                BlockReader(places, 1 << 26),
                places,
            )
            for n, ask in enumerate(("samples", "labels", "samples")):
                connection = await asyncpg.connect(url)
                ingest = Ingest(connection, objects)
                await ingest.write(tenant, {"__name__": "up", "n": str(n)}, [(1, float(n))])
                if ask == "labels":
                    found = await store.label_values(tenant, "n", [UP], None, FREE)
                    assert found == [str(n)]
                assert await load(store, tenant) == {key(n=str(n)): [(1, float(n))]}
                await connection.execute("DROP SCHEMA metrics CASCADE")
                await connection.close()
                execute(url, SCHEMA)


@pytest.mark.parametrize("how", ["a copy", "a promoted standby"])
async def test_rows_of_another_server_are_not_shown(objects, tenant, tmp_path, how):
    """Where a copy taken earlier, or a standby that lagged, has taken the server's place behind the
    one address, what only the old one had is forgotten, though the new one gives the same ids and
    transaction ids to other series and batches.
    """
    url = f"postgresql://postgres@/das?host={tmp_path}"
    socket = tmp_path / ".s.PGSQL.5432"
    is_standby = how == "a promoted standby"

    def folder(server):
        return server.split("host=")[1]

    def lead_to(server):
        socket.unlink(missing_ok=True)
        socket.symlink_to(Path(folder(server), socket.name))

    async def write(name):
        """The series' id and transaction id."""
        connection = await asyncpg.connect(url)
        await Ingest(connection, objects).write(tenant, {"__name__": "up", "n": name}, [(1, 1.0)])
        row = await connection.fetchrow(
            "SELECT series_id, xid::text FROM metrics.series WHERE labels->>'n' = $1", name
        )
        await connection.close()
        return tuple(row)

    async def shown(by_labels, by_samples):
        loaded = sorted(dict(labels)["n"] for labels in await load(by_samples, tenant))
        assert await by_labels.label_values(tenant, "n", [UP], None, FREE) == loaded
        return loaded

    with own_postgres() as old:
        lead_to(old)
        execute(old, "CREATE DATABASE das")
        execute(url, SCHEMA)
        await write("kept")
        options = ("--standby",) if is_standby else ()
        with own_postgres("--copy-of", folder(old), *options) as new:
            if is_standby:
                execute(new, "ALTER SYSTEM SET primary_conninfo = ''")
                execute(new, "SELECT pg_reload_conf()")
                receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
                assert any(execute(new, receivers) == "0" for _ in range(1000))
            async with Database(url, 4) as database:
                places = open_store(objects.as_uri(), Directory, Bucket)
                by_labels, by_samples = (
                    Store(
                        Catalogue(database, 1 << 26),
                        BlockReader(places, 1 << 26),
                        places,
                    )
                    for _ in range(2)
                )
                gone = await write("gone")
                assert await shown(by_labels, by_samples) == ["gone", "kept"]
                lead_to(new)
                if is_standby:
                    execute(new, "SELECT pg_promote()")
                assert await write("new") == gone
                execute(
                    old,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'data-api-service'",
                )
                assert await shown(by_labels, by_samples) == ["kept", "new"]


async def test_looking_for_series_ends_with_its_query(store, ingest, tenant):
    """A search through blocks that nobody waits for stops at the next block, a load at the next row
    group.
    """
    ids = [await ingest.series(tenant, __name__="up", n=str(n)) for n in range(6)]
    for some in (ids[:5], ids[5:]):
        rows = [(i, ms, 1.0) for i in some for ms in range(4)]
        await ingest.block(tenant, rows, 5, chunk=2, group=2)
    looks = 0

    def checkpoint():
        nonlocal looks
        looks += 1
        if looks == 2:
            raise QueryCanceled

    with pytest.raises(QueryCanceled):
        await store.series(tenant, [UP], (1, 9), QueryLimits(checkpoint=checkpoint))
    assert looks == 2
    looks = 0
    with pytest.raises(QueryCanceled):
        await load(store, tenant, checkpoint=checkpoint)


async def test_a_block_that_is_gone_or_foreign_is_an_error(store, ingest, tenant, objects):
    """A lost object is `unavailable`, another format is corrupt; neither is silently less data."""
    up = await ingest.series(tenant, __name__="up")
    await ingest.block(tenant, [(up, 1, 1.0)], 5)
    (path,) = objects.rglob("*.parquet")
    whole = path.read_bytes()
    path.write_bytes(b"PAR1 not at all PAR1")
    with pytest.raises(CorruptData):
        await load(store, tenant)
    path.unlink()
    with pytest.raises(ObjectStoreUnavailable):
        await load(store, tenant)
    path.write_bytes(whole)
    assert await load(store, tenant) == {key(): [(1, 1.0)]}


async def test_a_read_that_is_cancelled_anywhere_leaves_the_store_whole(store, ingest, tenant):
    """Wherever a query ends early, its session is clean and the next one sees every sample."""
    cancelled = 0
    for n in range(1, 81):
        await ingest.write(tenant, {"__name__": "up", "n": str(n % 4)}, [(n, float(n))])
        with anyio.move_on_after(n % 40 / 10_000) as scope:  # 0 to 4 ms, inside every await in turn
            await store.load(tenant, [ALL], QueryLimits())
        cancelled += scope.cancelled_caught
        if n % 5 == 0:
            assert sum(map(len, (await load(store, tenant)).values())) == n
    assert cancelled > 5
