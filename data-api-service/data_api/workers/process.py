"""A worker: one heavy query at a time, with a store, caches and bounds of its own.

    JOB ─▶ task: work(limits) ─▶ PIECE… or VALUE or FAILURE ─▶ DONE
             │ computes in the one thread; stops at its next checkpoint after CANCEL
             └ memory it is about to hold is asked for: RESERVE ─▶ GRANT

A query may use so much memory and not more: the system refuses it, which ends the worker.
"""

import asyncio
import contextlib
import os
import resource
import socket
import time
import traceback
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from data_api.chassis import telemetry
from data_api.chassis.kinds import ServiceError
from data_api.errors import QueryCanceled, QueryTimeout, TooMuchMemory
from data_api.model import Cost, QueryLimits
from data_api.store.reader import Store
from data_api.store.source import Source
from data_api.tuning import tune
from data_api.workers import counters, frames
from data_api.workers.frames import Frame, Job

T = TypeVar("T")
ASKED_AHEAD: Final = 65_536  # samples: a query that grows step by step does not ask at each


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a worker is told first."""

    source: Source
    bytes_max: int
    log_level: str


def main(end: socket.socket) -> None:
    """Serves the service at the other end of the socket until it closes it."""
    tune()
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(end))


async def _serve(end: socket.socket) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=end)
    frames.write(writer, Frame.HELLO, os.getpid())
    if (first := await frames.read(reader)) is None:
        return
    conditions: Conditions = frames.content(first[1])
    telemetry.configure("das", conditions.log_level)
    _bound(conditions.bytes_max)
    database, store = conditions.source.opened()
    async with database:
        await _Worker(store, reader, writer, conditions.bytes_max).serve()


def _bound(bytes_max: int) -> None:
    """This process may use so much memory more; when all is out of it, it goes first."""
    used = resource.getpagesize() * int(_statm()[5])
    resource.setrlimit(resource.RLIMIT_DATA, (used + bytes_max,) * 2)
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _statm() -> list[str]:
    return Path("/proc/self/statm").read_text(encoding="ascii").split()


class _Worker:
    def __init__(
        self, store: Store, reader: StreamReader, writer: StreamWriter, bytes_max: int
    ) -> None:
        self._store = store
        self._reader = reader
        self._writer = writer
        self._bytes_max = bytes_max
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "query")
        self._computing: Future[Any] | None = None
        self._is_canceled = False
        self._granted = 0
        self._grant: Future[Any] = Future()

    async def serve(self) -> None:
        """Computes what comes, until the service closes; then nothing is finished."""
        task: asyncio.Task[None] | None = None
        while frame := await frames.read(self._reader):
            match frame[0]:
                case Frame.JOB:
                    self._is_canceled, self._granted = False, 0
                    task = asyncio.create_task(self._answer(frames.content(frame[1])))
                    await asyncio.sleep(0)  # it begins: one that has not tells nothing of its end
                case Frame.CANCEL if task is not None:
                    self._is_canceled = True
                    task.cancel()
                case Frame.GRANT:
                    self._grant.set_result(frames.content(frame[1]))
        os._exit(0)

    async def _answer(self, job: Job) -> None:
        """The answer or the error is sent, then what it cost; whatever happens."""
        ends_s = time.monotonic() + job.left_s
        began_s, counted = time.process_time(), counters.counts()
        cost = Cost()

        def checkpoint() -> None:
            if self._is_canceled:
                raise QueryCanceled
            if time.monotonic() > ends_s:
                raise QueryTimeout

        limits = QueryLimits(
            samples_max=job.samples_max,
            kept_since_ms=job.kept_since_ms,
            answer_bytes_max=job.answer_bytes_max,
            checkpoint=checkpoint,
            reserve=self._reserve,
            run=self._run,
            cost=cost,
        )
        is_last = False
        try:
            await self._send(await frames.unpacked(job.work, self._store)(limits))
        except ServiceError as error:
            frames.write(self._writer, Frame.FAILURE, frames.failure(error))
        except asyncio.CancelledError:
            frames.write(self._writer, Frame.FAILURE, (QueryCanceled, {}))
        except MemoryError:
            is_last = True
            limit = {"limit_bytes": self._bytes_max}
            frames.write(self._writer, Frame.FAILURE, (TooMuchMemory, limit))
        except Exception:  # noqa: BLE001 - a defect: it is told where the query was asked
            trace = {"detail": traceback.format_exc()}
            frames.write(self._writer, Frame.FAILURE, (frames.WorkerDefect, trace))
        cost.cpu_s += time.process_time() - began_s
        resident_bytes = resource.getpagesize() * int(_statm()[1])
        done = cost, resident_bytes, counters.since(counted)
        frames.write(self._writer, Frame.DONE, done)
        if is_last:
            await self._writer.drain()
            os._exit(1)

    async def _send(self, answer: Any) -> None:
        if not isinstance(answer, list):
            frames.write(self._writer, Frame.VALUE, answer)
            return
        run: list[bytes] = []
        size = 0
        for piece in answer:
            run.append(piece)
            size += len(piece)
            if size >= frames.PIECE_BYTES:
                frames.write(self._writer, Frame.PIECE, b"".join(run))
                await self._writer.drain()
                run, size = [], 0
        frames.write(self._writer, Frame.PIECE, b"".join(run))

    async def _run(self, work: Callable[[], T], /) -> T:
        """What `work` returns; when it is cancelled, the thread has ended, too."""
        job = self._thread.submit(work)
        try:
            return await asyncio.shield(asyncio.wrap_future(job))
        finally:
            if not job.done():
                await asyncio.wait([asyncio.wrap_future(job)])

    def _reserve(self, samples: int) -> None:
        """The service lets this query hold so many samples; raises what it says instead."""
        if samples <= self._granted:
            return
        ahead = samples + max(ASKED_AHEAD, samples // 4)
        if self._ask(ahead) is None:
            self._granted = ahead
        elif (refusal := self._ask(samples)) is None:
            self._granted = samples
        else:
            kind, facts = refusal
            raise kind(**facts)

    def _ask(self, samples: int) -> Any:
        self._grant = Future()
        write = frames.write
        self._loop.call_soon_threadsafe(write, self._writer, Frame.RESERVE, samples)
        return self._grant.result()
