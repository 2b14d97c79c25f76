"""The process that runs watches, for as long as the worker lives and has some for it.

It keeps nothing that is not stored: killed at any moment, its watches are run again.
"""

import asyncio
import os
import sys
import threading
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import anyio
import httpx
import structlog
from sqlalchemy import Engine

from analysis_processing.chassis import memory
from analysis_processing.chassis.database import DatabaseUnavailable
from analysis_processing.clients.doors import Doors
from analysis_processing.jobs.claims import LeaseLost, database_clock
from analysis_processing.jobs.process import begin
from analysis_processing.settings import Settings
from analysis_processing.watch.runner import Runner

if TYPE_CHECKING:
    from analysis_processing.watch.claims import WatchClaim

log = structlog.get_logger()
HTTP_TIMEOUT = httpx.Timeout(60.0, connect=5.0)


async def serve(worker: Connection, settings: Settings, engine: Engine) -> None:
    """Batches are run as they come, each watch on its own."""
    loop = asyncio.get_running_loop()
    batches: asyncio.Queue[list[WatchClaim]] = asyncio.Queue()

    def listen() -> None:
        while True:
            try:
                _, batch = worker.recv()
            except (EOFError, OSError):
                os._exit(0)  # the worker is gone; nothing of ours needs an ending
            loop.call_soon_threadsafe(batches.put_nowait, batch)

    threading.Thread(target=listen, daemon=True, name="worker-inbox").start()
    async with httpx.AsyncClient(timeout=HTTP_TIMEOUT) as http:
        doors = Doors.of(settings, http)
        runner = Runner(engine, database_clock, settings, das=doors.das, dis=doors.dis)
        while True:
            batch = await batches.get()
            for claim in batch:
                with structlog.contextvars.bound_contextvars(tenant=str(claim.watch.tenant_id)):
                    try:
                        await runner.run(claim)
                    except (LeaseLost, DatabaseUnavailable) as error:
                        log.warning("watch_dropped", watch=claim.watch.name, reason=repr(error))
            memory.give_back()
            worker.send(("done", batch[0].token))


def main(socket_fd: int) -> None:
    """Serve the worker on the other end of the socket until it closes."""
    settings, engine = begin("aps-watch")
    anyio.run(serve, Connection(socket_fd), settings, engine)


if __name__ == "__main__":
    main(int(sys.argv[1]))
