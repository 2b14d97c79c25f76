"""Whose turn it is to compute: a few threads, shared fairly by tenants.

    run ─▶ waits in its tenant's queue ─▶ turn: works in a thread ─▶ rest, or the query's end
                  ▲                            │
                  └── at a checkpoint, after QUANTUM_S, when a tenant with fewer turns waits

The tenant with the fewest turns is next; of equals, the one that was served longest ago. Where
there are two threads or more, no tenant has the last one, so a tenant that comes alone is served at
once; and while several are active, each has its share of the threads. A turn belongs to its query
until the thread has really ended: work that nobody waits for any more still counts, and stops at
its next checkpoint.
"""

import asyncio
import contextvars
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar
from uuid import UUID

from data_api.errors import QueryCanceled, QueryTimeout, QueueTimeout

T = TypeVar("T")
QUANTUM_S: Final = 0.05  # work between two checkpoints is of this order
ACTIVE_S: Final = 1.0  # a tenant counts as active for so long after its last turn began
PAUSED_MAX: Final = 28  # threads that stand at a checkpoint, beside those that compute


class Turns:
    """The turns of all tenants; safe from several threads."""

    def __init__(self, threads: int, quantum_s: float = QUANTUM_S) -> None:
        """threads: how many compute at once; quantum_s: how long one may while others wait."""
        self.quantum_s = quantum_s
        self._lock = threading.Lock()
        self._threads = self._free = threads
        self._active: dict[UUID, float] = {}  # when each tenant's last turn began
        self._paused = 0
        self._running: Counter[UUID] = Counter()
        self._waiting: dict[UUID, deque[Future[None]]] = {}  # the longest unserved first
        self._executor = ThreadPoolExecutor(threads + PAUSED_MAX, "query")

    def take(self, tenant: UUID) -> Future[None]:
        """Done when the tenant has one turn more; one that is cancelled before never has."""
        turn: Future[None] = Future()
        with self._lock:
            self._waiting.setdefault(tenant, deque()).append(turn)
            self._grant()
        return turn

    def count(self, tenant: UUID) -> None:
        """The tenant is active, by what was computed for it without a turn."""
        with self._lock:
            self._active[tenant] = time.monotonic()

    def give(self, tenant: UUID) -> None:
        """One turn of the tenant is free."""
        with self._lock:
            self._free += 1
            self._running[tenant] -= 1
            self._grant()

    def is_wanted(self, tenant: UUID) -> bool:
        """Whether `tenant` has more than its share, or a tenant with fewer turns waits for one."""
        with self._lock:
            self._grant()  # shares grow when a tenant is no longer active
            mine = self._running[tenant]
            return self._paused < PAUSED_MAX and (
                mine > self._share()
                or any(self._running[other] < mine for other in self._waiting if other != tenant)
            )

    def is_shared(self, tenant: UUID) -> bool:
        """Whether another tenant was served in the last ACTIVE_S, or waits."""
        with self._lock:
            return bool(self._tenants() - {tenant})

    def pause(self, tenant: UUID) -> Future[None]:
        """A turn is given to whoever is next; done when it is back."""
        again: Future[None] = Future()
        with self._lock:
            self._paused += 1
            self._free += 1
            self._running[tenant] -= 1
            self._waiting.setdefault(tenant, deque()).appendleft(again)
            self._grant()
        return again

    def resume(self) -> None:
        """A pause is over."""
        with self._lock:
            self._paused -= 1

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """`work` begins in a thread, in the caller's context; the caller has a turn."""
        return self._executor.submit(contextvars.copy_context().run, work)

    def close(self) -> None:
        """Waits for the threads, whose queries must have ended: at most until their checkpoint."""
        self._executor.shutdown(cancel_futures=True)

    def _grant(self) -> None:
        while self._free and (tenant := self._next()) is not None:
            queue = self._waiting.pop(tenant)
            turn = queue.popleft()
            if queue:
                self._waiting[tenant] = queue  # behind all others
            if turn.set_running_or_notify_cancel():
                self._free -= 1
                self._running[tenant] += 1
                self._active[tenant] = time.monotonic()
                turn.set_result(None)
        self._running += Counter()  # only tenants with turns stay

    def _next(self) -> UUID | None:
        share = self._share()
        able = [t for t in self._waiting if self._running[t] < share]
        return min(able, key=self._running.__getitem__, default=None)

    def _share(self) -> int:
        """Turns that a tenant may have: all but one when it is the only active one."""
        active = len(self._tenants())
        return max(1, min(self._threads - 1, self._threads // max(1, active)))

    def _tenants(self) -> set[UUID]:
        """Those that are active."""
        since_s = time.monotonic() - ACTIVE_S
        for tenant in [t for t, began_s in self._active.items() if began_s < since_s]:
            del self._active[tenant]
        return self._active.keys() | self._waiting.keys() | self._running.keys()


class Turn:
    """The turn of one query, and the deadline that all its work obeys."""

    def __init__(self, turns: Turns, tenant: UUID, ends_s: float, queue_ends_s: float) -> None:
        """ends_s: the deadline; queue_ends_s: until when it may wait to begin (monotonic)."""
        self._turns = turns
        self._tenant = tenant
        self._ends_s = ends_s
        self._queue_ends_s = queue_ends_s
        self._is_begun = False
        self._is_held = False
        self._is_canceled = False
        self._turn_began_s = 0.0
        self._again: Future[None] | None = None
        self._job: Future[Any] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no thread works for the query."""
        return self._job is None or self._job.done()

    @property
    def is_shared(self) -> bool:
        """Whether other tenants are active, too."""
        return self._turns.is_shared(self._tenant)

    def count(self) -> None:
        """Its tenant is active, though it needs no turn."""
        self._turns.count(self._tenant)

    async def run(self, work: Callable[[], T], /) -> T:
        """What `work` returns, computed in a thread; the turn is kept until `rest` or `end`.

        Raises QueueTimeout when its first turn does not come in time.
        """
        await self.take()
        self._turn_began_s = time.monotonic()
        self._job = job = self._turns.submit(work)
        return await asyncio.wrap_future(job)

    async def take(self) -> None:
        """The query has a turn, until `rest` or `end`; raises QueueTimeout as `run`."""
        if not self._is_held:
            await self._take()
            self._is_begun = self._is_held = True

    def checkpoint(self) -> None:
        """Called in the thread, where the work can stop; others may have their turn in it.

        Raises QueryCanceled and QueryTimeout.
        """
        self._check()
        is_over = time.monotonic() - self._turn_began_s > self._turns.quantum_s
        if is_over and self._is_held and self._turns.is_wanted(self._tenant):
            self._pause()
            self._check()

    def rest(self) -> None:
        """Nothing is left to compute for now: the turn is given back. No work is running."""
        if self._is_held:
            self._is_held = False
            self._turns.give(self._tenant)

    def end(self, then: Callable[[], object]) -> None:
        """The query is over. When its thread has ended, too, the turn is free and `then` called,
        in that thread.
        """
        self._is_canceled = True
        if self._again is not None:
            self._again.cancel()

        def finish(_: object) -> None:
            self.rest()
            then()

        if self._job is None:
            finish(None)
        else:
            self._job.add_done_callback(finish)  # at once when it is done

    def _check(self) -> None:
        if self._is_canceled:
            raise QueryCanceled
        if time.monotonic() > self._ends_s:
            raise QueryTimeout

    async def _take(self) -> None:
        turn = self._turns.take(self._tenant)
        if turn.done():
            return
        wait_s = None if self._is_begun else max(0.0, self._queue_ends_s - time.monotonic())
        try:
            async with asyncio.timeout(wait_s):
                await asyncio.wrap_future(turn)
        except BaseException as exc:
            turn.cancel()
            if not turn.cancelled():
                self._turns.give(self._tenant)  # the turn came just as the wait ended
            if isinstance(exc, TimeoutError):
                raise QueueTimeout(retry_after_s=1) from exc
            raise

    def _pause(self) -> None:
        self._again = again = self._turns.pause(self._tenant)
        if self._is_canceled:
            again.cancel()
        try:
            again.result(max(0.0, self._ends_s - time.monotonic()))
        except (CancelledError, TimeoutError):
            again.cancel()
            self._is_held = not again.cancelled()
        finally:
            self._turns.resume()
        self._turn_began_s = time.monotonic()
