"""Chunks on the workers of a Dask scheduler, in this process: what comes back, and what is lost."""

from functools import partial

import anyio
import anyio.to_thread
import dask
import distributed
import numpy as np
import pytest
from probe_kind import PROBE, calls

from analysis_processing.analyses.block import Block
from analysis_processing.clients.together import together
from analysis_processing.errors import Unreachable
from analysis_processing.jobs import executors
from analysis_processing.jobs.chunks import Question, plan
from analysis_processing.jobs.executors import Local, executor_for
from analysis_processing.model import Request

BLOCK = Block([{"n": str(n)} for n in range(700)], 0, 1_000, np.arange(7_000.0).reshape(700, 10))
QUESTION = Question.of(PROBE, Request("probe", "q", 0, 9_000, 1_000, {}), {"mean": 1.0})


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """No bound of the product decides on a slow machine."""
    monkeypatch.setattr(executors, "DASK_WAIT_S", 600.0)
    monkeypatch.setattr(executors, "CLOSE_S", 600.0)
    calls.clear()


def on_cluster(use, workers=2):
    """What `use(executor, cluster)` returns, with a cluster of so many workers."""

    async def go():
        async with (
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=False,
                protocol="inproc://",
                dashboard_address=None,
                asynchronous=True,
            ) as cluster,
            executor_for(cluster.scheduler_address) as executor,
        ):
            return await use(executor, cluster)

    return anyio.run(go)


async def outcomes(executor):
    """The payload of every chunk, by number."""
    payloads = {}

    async def one(chunk):
        rows = BLOCK.rows(chunk.first, chunk.last)
        is_rate = [False] * len(rows.labels)
        computed = await executor.run(chunk.digest.hex(), QUESTION, rows, is_rate)
        payloads[chunk.number] = computed.payload

    chunks = plan(BLOCK, [False] * 700, QUESTION)
    assert len(chunks) == 3
    await together([partial(one, chunk) for chunk in chunks])
    return payloads


def test_results_are_those_of_the_local_pool():
    """Wherever a chunk is computed, its payload is the same, byte for byte."""

    async def local():
        return await outcomes(Local())

    assert on_cluster(lambda executor, _: outcomes(executor)) == anyio.run(local)


def test_a_lost_worker_s_chunk_runs_again():
    """The chunk of a worker that went away in the middle is computed by another."""
    calls.released.clear()

    async def use(executor, cluster):
        payloads = {}

        async def compute():
            payloads.update(await outcomes(executor))

        async def lose_one():
            await anyio.to_thread.run_sync(calls.entered.wait)
            busy = next(w for w in cluster.workers.values() if w.state.executing_count)
            await busy.close(executor_wait=False, nanny=False)
            calls.released.set()

        await together([compute, lose_one])
        return payloads

    assert set(on_cluster(use)) == {0, 2, 4}


def test_a_worker_has_two_chunks_at_most():
    """However many chunks wait, two for each worker are with the scheduler."""
    calls.released.clear()

    async def use(executor, cluster):
        async def watch():
            await anyio.to_thread.run_sync(calls.entered.wait)
            while len(cluster.scheduler.tasks) < 2:
                await anyio.lowlevel.checkpoint()
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            assert len(cluster.scheduler.tasks) == 2
            calls.released.set()

        await together([partial(outcomes, executor), watch])

    on_cluster(use, workers=1)


def test_cancelled_chunks_leave_the_scheduler():
    """When the job is cancelled nothing of it waits on the cluster, though a chunk still runs."""
    calls.released.clear()

    async def use(executor, cluster):
        with anyio.CancelScope() as scope:

            async def cancel():
                await anyio.to_thread.run_sync(calls.entered.wait)
                scope.cancel()

            await together([partial(outcomes, executor), cancel])
        assert scope.cancelled_caught
        while cluster.scheduler.tasks:
            await anyio.lowlevel.checkpoint()
        calls.released.set()

    on_cluster(use)


def test_a_scheduler_that_is_away_is_unreachable(monkeypatch):
    """A job waits for another attempt when there is nobody to compute it."""
    monkeypatch.setattr(executors, "DASK_WAIT_S", 0.01)

    async def go():
        async with executor_for("tcp://127.0.0.1:1"):
            pass

    with pytest.raises(Unreachable, match="dask"):
        anyio.run(go)


def test_a_scheduler_that_goes_away_is_unreachable():
    """Chunks that a scheduler took with it cost the job an attempt, no more."""
    calls.released.clear()

    async def use(executor, cluster):
        async def stop():
            await anyio.to_thread.run_sync(calls.entered.wait)
            await cluster.scheduler.close()
            calls.released.set()

        await together([partial(outcomes, executor), stop])

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),  # it tries to come back first
        pytest.raises(Unreachable, match="forgot a chunk"),
    ):
        on_cluster(use)
