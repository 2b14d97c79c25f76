"""Whatever ends a worker, its nursery, their start or a query: seats and processes are bounded, and
the next query gets its own answer.
"""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import worker_jobs as jobs

from data_api import promql
from data_api.chassis.identity import Limits
from data_api.errors import WorkerEnded
from data_api.workers.frames import PIECE_BYTES


@pytest.fixture(autouse=True)
def jobs_are_known_to_workers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(jobs.__file__).parent))


@pytest.fixture
async def engine(serve, monkeypatch):
    monkeypatch.setattr("data_api.workers.pool.PAUSE_S", 600.0)
    client = await serve()
    async with asyncio.timeout(600):
        yield client._transport.app.state.services.engine


@asynccontextmanager
async def asked(engine, tenant, work, expected_s=float("inf")):
    """A query that is on its way to a worker, and is left with the block."""

    async def ask():
        async with engine.reading(tenant, Limits(), work, expected_s=expected_s) as answer:
            return answer

    task = asyncio.create_task(ask())
    yield task
    task.cancel()
    await asyncio.wait([task])
    while engine._workers._stopping:
        await asyncio.wait(engine._workers._stopping)


async def answer(engine, tenant, work):
    async with asked(engine, tenant, work) as task:
        return await task


async def until(is_so):
    while not is_so():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


def is_amid_a_frame(worker):
    return 0 < len(worker._reader._buffer) < PIECE_BYTES


def threads_of(pid):
    return [one.name for one in Path(f"/proc/{pid}/task").iterdir()]


def seats(engine):
    return engine._workers._turns._running.total()


async def test_a_query_that_is_left_amid_its_answer_leaves_a_worker_that_is_understood(
    engine, tenant
):
    """Wherever in a frame its client leaves, its seat is free again, and the next query's answer is
    its own.
    """
    first = await answer(engine, tenant, jobs.pid)
    for turns in range(0, 200, 20):
        async with asked(engine, tenant, jobs.large) as task:
            await until(lambda: engine._workers._busy)
            (worker,) = engine._workers._busy
            await until(lambda: task.done() or is_amid_a_frame(worker))  # noqa: B023 - called here
            for _ in range(turns):
                await asyncio.sleep(0)
        assert seats(engine) == 0
        assert await answer(engine, tenant, jobs.pid) in engine._workers.processes
    assert first in engine._workers.processes


async def test_an_answer_that_cannot_be_read_is_nobody_elses(engine, tenant):
    """Its worker ends: what is left of it in the socket answers no other query."""
    with pytest.raises(ValueError, match="no number"):
        await answer(engine, tenant, jobs.unreadable)
    assert engine._workers.processes == []
    for _ in range(3):
        assert await answer(engine, tenant, jobs.pid) in engine._workers.processes
    assert seats(engine) == 0


async def test_a_nursery_that_was_killed_is_replaced(engine, tenant):
    """The query that needs it next is answered, beside one that computes. It has one thread: no
    lock of another is left locked in those that it forks.
    """
    async with asked(engine, tenant, jobs.endless):
        await until(lambda: engine._workers._busy)
        killed = engine._workers._nursery
        assert threads_of(killed.pid) == [str(killed.pid)]
        killed.kill()
        killed.wait()
        assert await answer(engine, tenant, jobs.pid) in engine._workers.processes
        assert engine._workers._nursery is not killed


async def test_a_worker_that_died_idle_gets_no_query(engine, tenant):
    """Its end is no query's fault."""
    first = await answer(engine, tenant, jobs.pid)
    (worker,) = engine._workers._idle
    os.kill(first, signal.SIGKILL)
    await until(lambda: worker.is_gone)
    assert await answer(engine, tenant, jobs.pid) != first
    assert first not in engine._workers.processes


async def test_where_no_worker_can_start_only_heavy_queries_are_refused(
    engine, tenant, monkeypatch
):
    """They are, at once and without another try for a while; later they are answered again."""
    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(WorkerEnded):
        await answer(engine, tenant, jobs.pid)
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(WorkerEnded):
        await answer(engine, tenant, jobs.pid)
    assert engine._workers._nursery is None
    async with engine.reading(tenant, Limits(), jobs.pid) as here:
        assert here == os.getpid()
    engine._workers._paused_until_s = 0.0
    assert await answer(engine, tenant, jobs.pid) in engine._workers.processes
    assert seats(engine) == 0


async def test_a_query_that_is_left_while_its_worker_starts_leaves_nothing_behind(engine, tenant):
    """Nobody starts another for it; the worker is idle once it is there, and ends in its time."""
    workers = engine._workers
    workers._idle_s = 0.0
    async with asked(engine, tenant, jobs.pid):
        await until(workers._starting.locked)
    assert seats(engine) == 0
    await until(lambda: not workers.processes)
    assert workers._nursery is None


async def test_what_a_query_read_here_is_gone_when_it_has_moved(engine, tenant):
    """It holds memory in its worker, and no longer in the service."""
    await until(promql.is_warm)
    engine._weights.light_s = 0.001
    async with asked(engine, tenant, jobs.moves, 0.0) as task:
        await until(lambda: engine._workers._busy)
        assert {one() for one in jobs.READ} == {None}  # on the event loop, and in a thread
        assert await task == "Thing"


async def test_an_answer_counts_as_held_whatever_was_read_for_it(engine, tenant):
    """As long as its reader is there."""

    async def names(_):
        return [b"x" * 16_000]

    async with engine.reading(tenant, Limits(), names):
        assert engine.pool._held[tenant] == 1000
    assert not engine.pool._held
