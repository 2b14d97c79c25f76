"""Keeps the background tasks running.

start ─▶ task ──fails──▶ pause 0.5 s, 1 s, … 30 s ──▶ task …
            └─stop─▶ asked to end ── time limit passed ──▶ cancelled
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import asyncpg
import structlog
from prometheus_client import Counter

from data_ingest.chassis.kinds import ServiceError

FIRST_PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 30.0
CATCH_UP_S: Final = 0.1
EXPECTED: Final = (ServiceError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""Failures logged without a stack: errors of ours, and of a dependency that does not answer."""
HEALTHY_S: Final = 60.0
"""A task that ran this long before it failed starts over with the first pause."""

log = structlog.get_logger()
FAILURES: Final = Counter(
    "cloudopshub_background_failures_total", "Failures of background tasks.", ["task"]
)


class Stop:
    """An event that a task waits on instead of sleeping."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether the task is to end."""
        return self._event.is_set()

    def set(self) -> None:
        """Everyone who waits goes on at once."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """True as soon as the stop is set, False after `seconds`."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._event.wait()
        except TimeoutError:
            return self.is_set
        return True


Task: TypeAlias = Callable[[Stop], Awaitable[None]]


class Supervisor:
    """Runs named tasks until it is stopped."""

    def __init__(self, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._first_pause_s = first_pause_s
        self._stop = Stop()
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, task: Task) -> None:
        """The task runs from here on; started again when it fails or returns, until `stop`."""
        assert name not in self._running, name
        self._running[name] = asyncio.create_task(self._keep_running(name, task), name=name)

    async def stop(self, timeout_s: float) -> None:
        """Every task has ended: by itself within `timeout_s`, cancelled after that."""
        self._stop.set()
        tasks = list(self._running.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            for task in late:
                log.warning("background_task_cancelled", task=task.get_name(), timeout_s=timeout_s)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()

    async def _keep_running(self, name: str, task: Task) -> None:
        pause_s = self._first_pause_s
        while not self._stop.is_set:
            started_s = time.monotonic()
            try:
                await task(self._stop)
            except Exception as error:  # noqa: BLE001 - whatever it is, the task is started again
                FAILURES.labels(name).inc()
                write = log.warning if isinstance(error, EXPECTED) else log.exception
                reason = str(error) or type(error).__name__
                write("background_task_failed", task=name, reason=reason, pause_s=round(pause_s, 1))
            else:
                continue  # stopped, or no longer the leader: the loop decides
            if time.monotonic() - started_s > HEALTHY_S:
                pause_s = self._first_pause_s
            if await self._stop.wait(pause_s * random.uniform(0.5, 1.0)):  # noqa: S311 - spreads replicas, no secret
                return
            pause_s = min(pause_s * 2, PAUSE_S_MAX)


async def every(stop: Stop, interval_s: float, work: Callable[[], Awaitable[object]]) -> None:
    """`work` runs at once and then `interval_s` after its last end, until stopped; while it returns
    True, being behind, CATCH_UP_S after.
    """
    while not stop.is_set:
        is_behind = await work() is True
        if await stop.wait(CATCH_UP_S if is_behind else interval_s):
            return
