"""The workers of a service: who is started, who computes what, who must end.

    run ─▶ seat (fair between tenants) ─▶ idle worker, or a new one ─▶ JOB ─▶ answer
                                                │ its client leaves: CANCEL, then killed
                                                └ idle for IDLE_S: ended; after the last the nursery

A seat is given back only when its worker is idle or dead, so no more processes compute than there
are seats, whatever clients do.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import structlog
from prometheus_client import Gauge

from data_api.chassis.kinds import ServiceError
from data_api.errors import QueryCanceled, WorkerEnded
from data_api.model import Cost, QueryLimits
from data_api.turns import Turn, Turns
from data_api.workers import frames
from data_api.workers.frames import Frame, Job
from data_api.workers.process import Conditions

IDLE_S: Final = 180.0
STOP_S: Final = 0.5  # from CANCEL to a worker that has stopped; then it is killed
START_S: Final = 120.0
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""What else would have threads in the nursery, which do not fork."""
HERE: Final = Path(__file__).parents[2]  # from where `data_api` can be imported
KEPT_PART: Final = 4  # a worker that keeps more than this part of what it may use is ended

log = structlog.get_logger()
WORKERS: Final = Gauge("cloudopshub_query_workers", "Processes for heavy queries.")


class Worker:
    """One process, as the service sees it."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, pid: int) -> None:
        self._reader = reader
        self._writer = writer
        self.pid = pid
        self.tenants: set[UUID] = set()  # whose series it has read
        self.resident_bytes = 0
        self.is_alive = True
        WORKERS.inc()

    async def compute(self, job: Job, limits: QueryLimits) -> Any:
        """What the job answers or raises; what it costs is added to the limits' cost."""
        frames.write(self._writer, Frame.JOB, job)
        pieces: list[bytes] = []
        answer: Any = pieces
        failure: Any = None
        while frame := await frames.read(self._reader):
            match frame:
                case Frame.PIECE, body:
                    pieces.append(body)
                case Frame.RESERVE, body:
                    frames.write(self._writer, Frame.GRANT, _refusal(limits, frames.content(body)))
                case Frame.VALUE, body:
                    answer = frames.content(body)
                case Frame.FAILURE, body:
                    failure = frames.content(body)
                case Frame.DONE, body:
                    cost, self.resident_bytes = frames.content(body)
                    _add(limits.cost, cost)
                    break
        else:
            self.end(is_gone=True)
            raise WorkerEnded(retry_after_s=1)
        if failure is None:
            return answer
        kind, facts = failure
        raise kind(**facts)

    async def stop(self) -> None:
        """Nothing is computed: it stopped by itself within STOP_S, or was killed."""
        frames.write(self._writer, Frame.CANCEL)
        try:
            async with asyncio.timeout(STOP_S):
                while frame := await frames.read(self._reader):
                    if frame[0] is Frame.DONE:
                        return
                    if frame[0] is Frame.RESERVE:
                        frames.write(self._writer, Frame.GRANT, (QueryCanceled, {}))
        except TimeoutError:
            log.warning("worker_killed", pid=self.pid, stop_s=STOP_S)
        self.end()

    def end(self, *, is_gone: bool = False) -> None:
        """The process is gone, whatever it did; `is_gone`: by itself."""
        if self.is_alive:
            self.is_alive = False
            if not is_gone:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            self._writer.close()
            WORKERS.dec()


def _refusal(limits: QueryLimits, samples: int) -> tuple[type[ServiceError], dict[str, Any]] | None:
    try:
        limits.reserve(samples)
    except ServiceError as error:
        return frames.failure(error)
    return None


def _add(cost: Cost, more: Cost) -> None:
    cost.series, cost.samples = more.series, more.samples
    cost.cpu_s += more.cpu_s


class Workers:
    """At most so many processes, one heavy query in each; none before the first of them."""

    def __init__(self, conditions: Conditions, most: int, *, idle_s: float = IDLE_S) -> None:
        self._conditions = conditions
        self._turns = Turns(most)
        self._idle_s = idle_s
        self._idle: dict[Worker, asyncio.TimerHandle] = {}  # the longest idle first
        self._busy: set[Worker] = set()
        self._stopping: set[asyncio.Task[None]] = set()
        self._nursery: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None  # to the nursery
        self._starting = asyncio.Lock()

    @property
    def processes(self) -> list[int]:
        """The pids of workers that live."""
        return [worker.pid for worker in (*self._idle, *self._busy)]

    async def run(
        self, tenant: UUID, work: bytes, limits: QueryLimits, ends_s: float, queue_ends_s: float
    ) -> Any:
        """What the packed `work` answers or raises, computed in a worker.

        ends_s, queue_ends_s: as of a `Turn`. Raises QueueTimeout, TooMuchMemory, WorkerEnded.
        """
        began_s = time.monotonic()
        seat = Turn(self._turns, tenant, ends_s, queue_ends_s)
        await seat.take()
        try:
            worker = await self._free(tenant)
        except BaseException:
            seat.rest()
            raise
        self._busy.add(worker)
        limits.cost.wait_s += time.monotonic() - began_s
        left_s = ends_s - time.monotonic()
        bounds = (limits.samples_max, limits.kept_since_ms, limits.answer_bytes_max, left_s)
        try:
            answer = await worker.compute(Job(work, *bounds), limits)
        except asyncio.CancelledError:
            stopping = asyncio.create_task(self._stop(worker, seat.rest))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)
            raise
        except BaseException:
            self._release(worker, seat.rest)
            raise
        worker.tenants.add(tenant)
        self._release(worker, seat.rest)
        return answer

    async def close(self) -> None:
        """No worker and no nursery is left."""
        for task in list(self._stopping):
            await task
        for worker in [*self._idle, *self._busy]:
            self._end(worker)
        if self._nursery is not None:
            self._leave()
        self._turns.close()

    async def _stop(self, worker: Worker, then: Callable[[], None]) -> None:
        await worker.stop()
        self._release(worker, then)

    def _release(self, worker: Worker, then: Callable[[], None]) -> None:
        """The worker is idle, or ended where it keeps too much memory."""
        self._busy.discard(worker)
        if worker.resident_bytes * KEPT_PART > self._conditions.bytes_max:
            worker.end()
        if worker.is_alive:
            timer = asyncio.get_running_loop().call_later(self._idle_s, self._end, worker)
            self._idle[worker] = timer
        then()

    def _end(self, worker: Worker) -> None:
        self._busy.discard(worker)
        if (timer := self._idle.pop(worker, None)) is not None:
            timer.cancel()
        worker.end()
        if not self.processes and not self._starting.locked():
            self._leave()

    def _leave(self) -> None:
        """No nursery is left: the next worker needs another."""
        if self._door is not None and self._nursery is not None:
            self._door.close()
            self._nursery.kill()
            self._nursery.wait()
            self._door = self._nursery = None

    async def _free(self, tenant: UUID) -> Worker:
        """A worker that computes nothing; best one that knows the tenant's series."""
        knowing = [worker for worker in self._idle if tenant in worker.tenants]
        for worker in [*knowing, *reversed(self._idle)]:
            self._idle.pop(worker).cancel()
            return worker
        async with self._starting:
            return await self._started()

    async def _started(self) -> Worker:
        """A new worker; the nursery is started before the first."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                await anyio.to_thread.run_sync(self._hand_over, theirs)
            opened = asyncio.open_unix_connection(sock=ours, limit=frames.READ_BYTES)
            reader, writer = await opened
        except BaseException:
            ours.close()
            raise
        try:
            async with asyncio.timeout(START_S):
                hello = await frames.read(reader)
        except BaseException:
            writer.close()
            raise
        if hello is None:
            writer.close()
            self._leave()  # the next one gets a nursery that lives
            raise WorkerEnded(retry_after_s=1)
        frames.write(writer, Frame.HELLO, self._conditions)
        return Worker(reader, writer, frames.content(hello[1]))

    def _hand_over(self, end: socket.socket) -> None:
        if self._door is None:
            self._door, door = socket.socketpair()
            with door:
                self._nursery = subprocess.Popen(  # noqa: S603 - ourselves
                    [sys.executable, "-m", "data_api.workers", str(door.fileno())],
                    pass_fds=[door.fileno()],
                    stdin=subprocess.DEVNULL,
                    cwd=HERE,
                    env=os.environ | ONE_THREAD,
                )
        with contextlib.suppress(BrokenPipeError):  # it has ended: no hello will come
            socket.send_fds(self._door, [b"w"], [end.fileno()])
