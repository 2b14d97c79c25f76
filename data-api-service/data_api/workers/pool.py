"""The workers of a service: who is started, who computes what, who must end.

    run ─▶ seat (fair between tenants) ─▶ idle worker, or a new one ─▶ JOB ─▶ answer
                                                │ its client leaves: CANCEL, then killed
                                                └ idle for IDLE_S: ended; after the last the nursery

A seat is given back only when its worker is idle or dead, so no more processes compute than there
are seats, whatever clients do.
"""

import asyncio
import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine
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
from data_api.workers import counters, frames
from data_api.workers.frames import Frame, Job
from data_api.workers.process import Conditions

IDLE_S: Final = 180.0
STOP_S: Final = 0.5  # from CANCEL to a worker that has stopped; then it is killed
START_S: Final = 120.0
PAUSE_S: Final = 10.0  # after a start that failed none is tried: each would take seconds of CPU
ONE_THREAD: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
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
        self.is_computing = False
        self._reading: asyncio.Task[tuple[Frame, bytes] | None] | None = None
        WORKERS.inc()

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended by itself."""
        return self._reader.at_eof()

    async def compute(self, job: Job, limits: QueryLimits) -> Any:
        """What the job answers or raises; what it costs is added to the limits' cost."""
        self.is_computing = True
        frames.write(self._writer, Frame.JOB, job)
        pieces: list[bytes] = []
        answer: Any = pieces
        failure: Any = None
        while frame := await self._next():
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
                    cost, self.resident_bytes, counts = frames.content(body)
                    counters.add(counts)
                    _add(limits.cost, cost)
                    self.is_computing = False
                    break
        else:
            raise WorkerEnded(retry_after_s=1)
        if failure is None:
            return answer
        kind, facts = failure
        raise kind(**facts)

    async def stop(self) -> None:
        """It computes nothing, or has not stopped within STOP_S."""
        frames.write(self._writer, Frame.CANCEL)
        try:
            async with asyncio.timeout(STOP_S):
                while frame := await self._next():
                    if frame[0] is Frame.DONE:
                        self.is_computing = False
                        return
                    if frame[0] is Frame.RESERVE:
                        frames.write(self._writer, Frame.GRANT, (QueryCanceled, {}))
        except TimeoutError:
            log.warning("worker_killed", pid=self.pid, stop_s=STOP_S)

    async def _next(self) -> tuple[Frame, bytes] | None:
        """As `frames.read`; of a frame whose reader is cancelled, the next call reads the rest."""
        if self._reading is None:
            self._reading = asyncio.create_task(frames.read(self._reader))
        frame = await asyncio.shield(self._reading)
        self._reading = None
        return frame

    def end(self) -> None:
        """The process is gone, whatever it did."""
        if self.is_alive:
            self.is_alive = False
            if not self.is_gone:  # else its pid may be another's by now
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
        self._paused_until_s = 0.0

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
        coming = asyncio.create_task(self._free(tenant))
        try:
            worker = await asyncio.shield(coming)
        except BaseException:
            self._later(self._not_needed(coming, seat.rest))
            raise
        self._busy.add(worker)
        limits.cost.wait_s += time.monotonic() - began_s
        left_s = ends_s - time.monotonic()
        bounds = (limits.samples_max, limits.kept_since_ms, limits.answer_bytes_max, left_s)
        try:
            answer = await worker.compute(Job(work, *bounds), limits)
        except asyncio.CancelledError:
            self._later(self._stop(worker, seat.rest))
            raise
        except BaseException:
            self._release(worker, seat.rest)
            raise
        worker.tenants.add(tenant)
        self._release(worker, seat.rest)
        return answer

    async def close(self) -> None:
        """No worker and no nursery is left."""
        self._paused_until_s = math.inf
        self._leave()
        while self._stopping:
            await asyncio.wait(self._stopping)
        for worker in [*self._idle, *self._busy]:
            self._end(worker)
        self._leave()
        self._turns.close()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _stop(self, worker: Worker, then: Callable[[], None]) -> None:
        try:
            await worker.stop()
        finally:
            self._release(worker, then)

    async def _not_needed(self, coming: asyncio.Task[Worker], then: Callable[[], None]) -> None:
        """A worker that its query did not wait for is idle once it is there."""
        await asyncio.wait([coming])
        if coming.exception() is None:
            self._release(coming.result(), then)
        else:
            then()

    def _release(self, worker: Worker, then: Callable[[], None]) -> None:
        """The worker is idle; or ended, where it has not told its job's end or keeps too much."""
        self._busy.discard(worker)
        if worker.is_computing or worker.resident_bytes * KEPT_PART > self._conditions.bytes_max:
            worker.end()
        loop = asyncio.get_running_loop()
        if worker.is_alive:
            self._idle[worker] = loop.call_later(self._idle_s, self._end, worker)
        else:
            loop.call_later(self._idle_s, self._leave_unless_needed)
        then()

    def _end(self, worker: Worker) -> None:
        self._busy.discard(worker)
        if (timer := self._idle.pop(worker, None)) is not None:
            timer.cancel()
        worker.end()
        self._leave_unless_needed()

    def _leave_unless_needed(self) -> None:
        if not self.processes and not self._starting.locked():
            self._leave()

    def _leave(self) -> None:
        """No nursery is left: the next worker needs another."""
        if self._door is not None:
            self._door.close()
        if self._nursery is not None:
            self._nursery.kill()
            self._nursery.wait()
        self._door = self._nursery = None

    async def _free(self, tenant: UUID) -> Worker:
        """A worker that computes nothing; best one that knows the tenant's series."""
        for worker in [worker for worker in self._idle if worker.is_gone]:
            self._idle.pop(worker).cancel()
            worker.end()
        knowing = [worker for worker in self._idle if tenant in worker.tenants]
        for worker in [*knowing, *reversed(self._idle)]:
            self._idle.pop(worker).cancel()
            return worker
        async with self._starting:
            return await self._started()

    async def _started(self) -> Worker:
        """A new worker, from another nursery where the one that there was has died."""
        for _ in range(2):
            if time.monotonic() < self._paused_until_s:
                break
            if (worker := await self._forked()) is not None:
                return worker
            self._leave()
        else:
            self._paused_until_s = max(self._paused_until_s, time.monotonic() + PAUSE_S)
            log.error("no_worker_starts", pause_s=PAUSE_S)
        raise WorkerEnded(retry_after_s=PAUSE_S)

    async def _forked(self) -> Worker | None:
        """A new worker; the nursery is started before the first. None where it has died, or cannot
        be started.
        """
        ours, theirs = socket.socketpair()
        try:
            await anyio.to_thread.run_sync(self._hand_over, theirs)
        except OSError as exc:
            ours.close()
            log.warning("nursery_gone", reason=str(exc))
            return None
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=frames.READ_BYTES)
        hello = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                hello = await frames.read(reader)
        if hello is None:
            writer.close()
            return None
        frames.write(writer, Frame.HELLO, self._conditions)
        return Worker(reader, writer, frames.content(hello[1]))

    def _hand_over(self, end: socket.socket) -> None:
        with end:
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
            socket.send_fds(self._door, [b"w"], [end.fileno()])
