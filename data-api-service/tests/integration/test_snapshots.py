import asyncio
from pathlib import Path

import asyncpg
import pytest
from factories import Ingest

from data_api.chassis.objects import Directory
from data_api.model import Matcher, MatchOp, QueryLimits, SelectorSpan
from data_api.store import catalogue, tables
from data_api.store.block import BlockReader
from data_api.store.catalogue import Catalogue, Database
from data_api.store.reader import Store

UP = (Matcher("__name__", MatchOp.EQUAL, "up"),)


@pytest.fixture
async def store(database_url, objects: Path):
    database = Database(database_url, 2)
    directory = Directory(objects)
    async with database:
        yield Store(Catalogue(database, 1 << 22), BlockReader(directory, 1 << 22), directory)


async def samples(store, tenant, span=(0, 100)):
    (columns,) = await store.load(tenant, [SelectorSpan(UP, *span)], QueryLimits())
    return list(zip(columns.timestamps_ms.tolist(), columns.values.tolist(), strict=True))


@pytest.mark.parametrize("reads_before", [False, True], ids=["first", "later"])
async def test_a_batch_that_is_compacted_between_two_statements_is_read_once(
    store, ingest, tenant, monkeypatch, reads_before
):
    """What a statement listed may be compacted before the next one reads it: the answer has each
    sample once all the same.
    """
    await ingest.write(tenant, {"__name__": "up"}, [(1, 1.0)])
    if reads_before:
        assert await samples(store, tenant) == [(1, 1.0)]
    await ingest.write(tenant, {"__name__": "up"}, [(2, 2.0)])
    decoded, compactions = catalogue._decoded, 0

    async def after_a_compaction(*arguments):
        nonlocal compactions
        if not compactions:
            compactions += 1
            await ingest.compact(tenant)
        return await decoded(*arguments)

    monkeypatch.setattr(catalogue, "_decoded", after_a_compaction)
    assert await samples(store, tenant) == [(1, 1.0), (2, 2.0)]
    assert compactions == 1


async def test_each_span_sees_what_is_committed_whatever_was_read_before(store, ingest, tenant):
    """Spans that grow, shrink and lie apart, with commits and a compaction between: each read has
    every sample of its span, also where nothing changed since the one before.
    """
    written = []
    for n in range(1, 13):
        await ingest.write(tenant, {"__name__": "up"}, [(n * 7 % 13, float(n))])
        written.append((n * 7 % 13, float(n)))
        if n == 6:
            await ingest.compact(tenant)
        for first, last in ((n, n + 2), (0, 13), (2, 4), (2, 4), (0, n)):
            inside = sorted(one for one in written if first < one[0] <= last)
            assert await samples(store, tenant, (first, last)) == inside


async def test_those_that_wait_for_each_other_read_the_position_once(
    store, ingest, tenant, monkeypatch
):
    """What one reads after the others came is as new as they need; who comes later reads again."""
    await ingest.write(tenant, {"__name__": "up"}, [(1, 1.0)])
    assert await samples(store, tenant) == [(1, 1.0)]
    reads, update = [], Catalogue._update

    async def counted(self, *arguments):
        reads.append(arguments)
        return await update(self, *arguments)

    monkeypatch.setattr(Catalogue, "_update", counted)
    await ingest.write(tenant, {"__name__": "up"}, [(2, 2.0)])
    async with asyncio.TaskGroup() as group, store.catalogue._tenants[tenant].lock:
        tasks = [group.create_task(samples(store, tenant)) for _ in range(5)]
        await asyncio.sleep(0)
    assert [task.result() for task in tasks] == [[(1, 1.0), (2, 2.0)]] * 5
    assert len(reads) == 1
    await ingest.write(tenant, {"__name__": "up"}, [(3, 3.0)])
    assert await samples(store, tenant) == [(1, 1.0), (2, 2.0), (3, 3.0)]


async def test_what_commits_is_in_the_next_answer_however_transactions_overlap(
    store, ingest, tenant, database_url, objects
):
    """One that has no id yet, has one, took back a part of itself, or ends after a later one: its
    samples are in no answer before its end, and in the very next one after it.
    """
    up = await ingest.write(tenant, {"__name__": "up"}, [(1, 1.0)])
    connection = await asyncpg.connect(database_url)
    late, seen = Ingest(connection, objects), [(1, 1.0)]

    async def is_seen():
        for _ in range(2):  # the second time, nothing has changed
            assert await samples(store, tenant) == sorted(seen)

    for n, ends_first in enumerate([True, False] * 2):
        at = 10 * (n + 1)
        transaction = connection.transaction()
        await transaction.start()
        await is_seen()
        part = connection.transaction()
        await part.start()
        await late.batch(tenant, [(up, at + 1, 0.0)])
        await part.rollback()
        await is_seen()
        await late.batch(tenant, [(up, at + 2, 2.0)])
        await is_seen()
        if ends_first:
            await transaction.commit()
            seen.append((at + 2, 2.0))
            await is_seen()
        await ingest.batch(tenant, [(up, at + 3, 3.0)])
        seen.append((at + 3, 3.0))
        await is_seen()
        if not ends_first:
            await transaction.commit()
            seen.append((at + 2, 2.0))
            await is_seen()
    await connection.close()


async def test_all_that_wait_ask_for_one_name(store, ingest, tenant, monkeypatch):
    """However many queries come at once, whether or not something changed: one question is under
    way and one follows for all the others, none of whom is answered by a question asked before.
    """
    await ingest.write(tenant, {"__name__": "up"}, [(1, 1.0)])
    assert await samples(store, tenant) == [(1, 1.0)]
    asked, ask = [], Database._asked

    async def counted(self):
        asked.append(None)
        return await ask(self)

    monkeypatch.setattr(Database, "_asked", counted)
    for written in ([(1, 1.0)], [(1, 1.0), (2, 2.0)]):
        await ingest.write(tenant, {"__name__": "up"}, written[-1:])
        asked.clear()
        answers = await asyncio.gather(*(samples(store, tenant) for _ in range(20)))
        assert answers == [written] * 20
        assert len(asked) == 2


async def test_one_that_leaves_leaves_the_question_to_the_others(store, ingest, tenant):
    """A query that is cancelled while it asks, or while it waits, changes nothing for the rest."""
    await ingest.write(tenant, {"__name__": "up"}, [(1, 1.0)])
    for leaves in range(3):
        tasks = [asyncio.create_task(samples(store, tenant)) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[leaves].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done.pop(leaves), asyncio.CancelledError)
        assert done == [[(1, 1.0)]] * 3


async def test_a_pool_that_pings_has_names_too(database_url):
    """They are asked in a session of their own, which is lent to nobody else."""
    async with Database(database_url, 2, pings=True) as database:
        name = await database.name()
        async with database.acquire() as connection:
            assert name == await connection.fetchval(tables.NAME)
