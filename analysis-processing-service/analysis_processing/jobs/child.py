"""The worker's child process: pays for pandas and numba, runs jobs, and ends when it is idle.

    worker ──socket: ("run", claim) ("cancel", token)──▶ child ──("done", token)──▶ worker

The child keeps nothing: killed at any moment, its job is run again. It ends by itself when the
worker does, however that ends (the socket closes). Signals are the worker's to answer.
"""

import asyncio
import gc
import os
import sys
import threading
import time
from multiprocessing.connection import Connection
from queue import SimpleQueue

import anyio
import httpx
import structlog
from sqlalchemy import Engine

from analysis_processing.chassis import memory
from analysis_processing.chassis.database import DatabaseUnavailable
from analysis_processing.clients.data_api import DataApi
from analysis_processing.clients.data_ingest import DataIngest
from analysis_processing.clients.doors import Doors
from analysis_processing.jobs import claims
from analysis_processing.jobs.database import transaction
from analysis_processing.jobs.executors import executor_for
from analysis_processing.jobs.process import begin
from analysis_processing.jobs.runner import Runner
from analysis_processing.model import Claim
from analysis_processing.settings import Settings

log = structlog.get_logger()
HTTP_TIMEOUT = httpx.Timeout(150.0, connect=5.0)  # das may queue a query 10 s and run it 120 s


class Inbox:
    """What the worker said: claims to run, in order, and a cancellation for the one that runs."""

    def __init__(self, worker: Connection) -> None:
        self.worker = worker
        self.claims: SimpleQueue[Claim] = SimpleQueue()
        self._lock = threading.Lock()
        self._running: tuple[object, anyio.CancelScope, asyncio.AbstractEventLoop] | None = None
        self._cancelled: set[object] = set()
        threading.Thread(target=self._listen, daemon=True, name="worker-inbox").start()

    def _listen(self) -> None:
        while True:
            try:
                word, content = self.worker.recv()
            except (EOFError, OSError):
                os._exit(0)  # the worker is gone; nothing of ours needs an ending
            if word == "run":
                self.claims.put(content)
            else:
                with self._lock:
                    self._cancelled.add(content)
                    if self._running is not None and self._running[0] == content:
                        _, scope, loop = self._running
                        loop.call_soon_threadsafe(scope.cancel)

    def enter(self, token: object, scope: anyio.CancelScope) -> None:
        """From here on a cancellation of `token` cancels `scope`."""
        with self._lock:
            self._running = (token, scope, asyncio.get_running_loop())
            if token in self._cancelled:
                scope.cancel()

    def leave(self) -> None:
        """No job runs."""
        with self._lock:
            self._running = None
            self._cancelled.clear()


async def run(claim: Claim, inbox: Inbox, settings: Settings, engine: Engine) -> None:
    """The claim is out of our hands, one way or another."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(tenant=str(claim.job.tenant))
    with anyio.CancelScope() as scope:
        inbox.enter(claim.token, scope)
        async with httpx.AsyncClient(timeout=HTTP_TIMEOUT) as http:
            doors = Doors.of(settings, http)
            runner = Runner(
                engine=engine,
                clock=claims.database_clock,
                settings=settings,
                monotonic=time.monotonic,
                executor=lambda: executor_for(settings.dask_scheduler),
                data_api=lambda claim: DataApi(doors.das(claim.job.tenant)),
                data_ingest=lambda claim: DataIngest(doors.dis(claim.job.tenant)),
            )
            await runner.run(claim)
    inbox.leave()
    if scope.cancelled_caught:
        with transaction(engine) as db:
            claims.cancelled(db, claim, claims.database_clock(db))
        log.info("job_cancelled", job=str(claim.job.id))


def main(socket_fd: int) -> None:
    """Serve the worker on the other end of the socket until it closes."""
    settings, engine = begin("aps-job")
    worker = Connection(socket_fd)
    inbox = Inbox(worker)
    while True:
        claim = inbox.claims.get()
        try:
            anyio.run(run, claim, inbox, settings, engine)
        except (claims.LeaseLost, DatabaseUnavailable) as error:
            log.warning("job_dropped", job=str(claim.job.id), reason=repr(error))
        gc.collect()  # an error's traceback would keep its job's block beside the next one's
        memory.give_back()
        worker.send(("done", claim.token))


if __name__ == "__main__":
    main(int(sys.argv[1]))
