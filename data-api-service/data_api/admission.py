"""How much of this process one tenant may hold: queries in flight, and samples in memory.

query ─▶ Slots: so many of a tenant at once, a bounded queue behind them
      └▶ SamplePool: what all queries hold together; no tenant gets the last of it
"""

import asyncio
import contextlib
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from prometheus_client import Gauge

from data_api.errors import SamplesHeld, TooManyQueries

RUNNING: Final = Gauge("cloudopshub_queries_running", "Queries in flight, over all tenants.")
HELD: Final = Gauge("cloudopshub_query_samples_held", "Samples that queries hold in memory.")
TIMES_FREE: Final = 3  # a tenant holds at most that many times what it leaves free


@dataclass(slots=True)
class _Queue:
    running: int = 0
    waiting: "deque[asyncio.Future[None]]" = field(default_factory=deque)


class Slots:
    """Who may be in flight: so many queries of one tenant, others in the order they came."""

    def __init__(self, waiting_max: int) -> None:
        self._waiting_max = waiting_max
        self._queues: dict[UUID, _Queue] = {}

    async def take(self, tenant: UUID, limit: int, wait_s_max: float) -> None:
        """The tenant has one slot more, until `give`; raises TooManyQueries instead of waiting
        longer than `wait_s_max`, or in a queue that is full.
        """
        queue = self._queues.setdefault(tenant, _Queue())
        if queue.running >= limit or queue.waiting:
            await self._wait(tenant, limit, wait_s_max)
        else:
            queue.running += 1
        RUNNING.inc()

    def give(self, tenant: UUID) -> None:
        """One slot of the tenant goes to whoever waits longest for it, or is free."""
        RUNNING.dec()
        self._pass_on(tenant)

    def _pass_on(self, tenant: UUID) -> None:
        queue = self._queues[tenant]
        while queue.waiting:
            turn = queue.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        queue.running -= 1
        if not queue.running:
            del self._queues[tenant]

    async def _wait(self, tenant: UUID, limit: int, wait_s_max: float) -> None:
        queue = self._queues[tenant]
        if len(queue.waiting) >= self._waiting_max:
            raise TooManyQueries(
                reason="too many outstanding requests",
                running=queue.running,
                waiting=len(queue.waiting),
                limit=self._waiting_max,
                retry_after_s=1,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.waiting.append(turn)
        try:
            async with asyncio.timeout(wait_s_max):
                await turn
        except BaseException as exc:
            if turn.done() and not turn.cancelled():
                self._pass_on(tenant)  # the slot came just as the wait ended
            else:
                with contextlib.suppress(ValueError):
                    queue.waiting.remove(turn)
            if isinstance(exc, TimeoutError):
                raise TooManyQueries(
                    reason="query timed out in query queue",
                    running=queue.running,
                    limit=limit,
                    retry_after_s=1,
                ) from exc
            raise


class SamplePool:
    """The samples that all queries of this process hold in memory; safe from several threads.

    A tenant may hold at most TIMES_FREE times what is left free: three quarters when it is alone,
    less beside others, and never the last of it. So whoever comes next finds room.
    """

    def __init__(self, samples_max: int) -> None:
        self.samples_max = samples_max
        self._lock = threading.Lock()
        self._held: Counter[UUID] = Counter()

    @property
    def tenant_max(self) -> int:
        """What a tenant may hold when no other holds anything."""
        return self.samples_max * TIMES_FREE // (TIMES_FREE + 1)

    def move(self, tenant: UUID, samples: int) -> None:
        """The tenant holds so many more, or fewer when negative; raises SamplesHeld."""
        with self._lock:
            mine, total = self._held[tenant] + samples, self._held.total() + samples
            if samples > 0 and mine > TIMES_FREE * (self.samples_max - total):
                raise SamplesHeld(
                    needed=samples,
                    tenant_holds=mine - samples,
                    all_hold=total - samples,
                    limit=self.samples_max,
                    retry_after_s=1,
                )
            self._held[tenant] = mine
            if not mine:
                del self._held[tenant]
            HELD.set(total)


class Holding:
    """What one query holds of the pool."""

    def __init__(self, pool: SamplePool, tenant: UUID) -> None:
        self._pool = pool
        self._tenant = tenant
        self._samples = 0
        self.most = 0  # that it has held at once

    def reserve(self, samples: int) -> None:
        """It holds at least so many from here on; raises SamplesHeld."""
        if samples > self._samples:
            self._pool.move(self._tenant, samples - self._samples)
            self._samples = samples
            self.most = max(self.most, samples)

    def keep(self, samples: int) -> None:
        """It holds at most so many from here on."""
        if samples < self._samples:
            self._pool.move(self._tenant, samples - self._samples)
            self._samples = samples
