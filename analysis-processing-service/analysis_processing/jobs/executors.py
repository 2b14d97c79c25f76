"""Where chunks are computed: threads of the job process, or the workers of a Dask scheduler.

Kernels release the GIL, so threads use all cores. Dask's tasks get a key, the question and the rows
of one chunk; a chunk whose worker was lost runs on another, by the scheduler's own doing.
"""

import importlib
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread

from analysis_processing.analyses.block import Block
from analysis_processing.errors import Unreachable
from analysis_processing.jobs.chunks import Outcome, Question, compute

IN_FLIGHT = 2
"""Chunks that a worker computes or has waiting: the next one is there when one is done."""
DASK_IN_FLIGHT_MAX = 64
DASK_WAIT_S = 10.0
CLOSE_S = 1.0


class ChunkLost(Exception):
    """The chunk took the process that computed it with it, more than once."""


class Local:
    """As many threads as this process may use cores."""

    def __init__(self) -> None:
        workers = len(os.sched_getaffinity(0))
        self.in_flight = IN_FLIGHT * workers
        self._threads = anyio.CapacityLimiter(workers)

    async def run(
        self,
        key: str,  # noqa: ARG002  a thread needs no name
        question: Question,
        block: Block,
        is_rate: Sequence[bool],
    ) -> Outcome:
        """The chunk's outcome."""
        return await anyio.to_thread.run_sync(
            compute, question, block, is_rate, limiter=self._threads
        )


class Dask:
    """A client of a scheduler. Workers may come and go: their number is asked for each chunk."""

    def __init__(self, client: Any, killed: type[Exception]) -> None:
        self.in_flight = DASK_IN_FLIGHT_MAX
        self._client, self._killed = client, killed
        self._room = anyio.CapacityLimiter(IN_FLIGHT)

    async def run(
        self, key: str, question: Question, block: Block, is_rate: Sequence[bool]
    ) -> Outcome:
        """The chunk's outcome; its task is forgotten when nobody waits. ChunkLost, Unreachable."""
        self._room.total_tokens = IN_FLIGHT * max(1, len(await self._client.nthreads()))
        async with self._room:
            future = self._client.submit(compute, question, block, is_rate, key=key)
            try:
                computed: Outcome = await future
            except self._killed as exc:
                raise ChunkLost from exc
            except (CancelledError, OSError) as exc:
                detail = f"the scheduler forgot a chunk: {type(exc).__name__}"
                raise Unreachable(service="dask", detail=detail) from exc
            finally:
                future.release()
        return computed


Executor = Local | Dask
"""Computes chunks, `in_flight` of them at a time."""


@asynccontextmanager
async def executor_for(dask_scheduler: str | None) -> AsyncIterator[Executor]:
    """Threads here, or the scheduler at that address; raises Unreachable when it has no worker."""
    if dask_scheduler is None:
        yield Local()
        return
    # 1.2 s and 75 MB that a job without Dask does not pay
    dask, distributed = (importlib.import_module(name) for name in ("dask", "distributed"))
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "256MiB"})
    try:
        client = await distributed.Client(
            dask_scheduler, asynchronous=True, set_as_default=False, timeout=DASK_WAIT_S
        )
    except (OSError, TimeoutError) as exc:
        raise Unreachable(service="dask", detail=type(exc).__name__, retry_after_s=5) from exc
    try:
        try:
            await client.wait_for_workers(1, timeout=DASK_WAIT_S)
        except TimeoutError as exc:
            raise Unreachable(service="dask", detail="it has no workers") from exc
        yield Dask(client, distributed.scheduler.KilledWorker)
    finally:
        with anyio.CancelScope(shield=True):
            await client.close(timeout=CLOSE_S)
