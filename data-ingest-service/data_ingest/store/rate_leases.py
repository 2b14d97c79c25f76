"""A plan's samples a second with their burst, kept by all processes together.

    metrics.rate: the bucket, level + rate × time (at most `burst`) - samples taken or leased
        │  lease: what one request needs, and as much as the process used in LEASE_S
    each process takes from its lease ── used up, or LEASE_S old ── asks again

A lease that its process does not renew goes back into the bucket after 2 × LEASE_S. So what passes
in T seconds is at most burst + rate × T, and one lease (at most a quarter of the burst) for each
process that died or lost its connection. Time is the database's.
A request over the burst passes when the bucket is full, and those after it wait until it is paid.
Source: docs/adr/0024-limits-and-deletion.md.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid4

from data_ingest.chassis.postgres_async import translating
from data_ingest.store.shared import TIMEOUT_S, SharedDecisions
from data_ingest.store.tables import SCHEMA

LEASE_S: Final = 2.0
REFUSED_S: Final = 0.1
"""So long after a refusal no request of that size asks again; the bucket fills meanwhile."""
USE_S_MIN: Final = 0.1
LEASES_MAX: Final = 100_000

_LEASE = "SELECT * FROM metrics.lease_rate($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"


@dataclass(slots=True)
class _Lease:
    """left: leased samples that may still be taken. taken: since `asked_s`. refunded: taken and not
    stored. A request of `refused_samples` or more is refused until `refused_s`; it may pass at
    `passes_s`. Times are the process' own.
    """

    left: float = 0.0
    taken: float = 0.0
    refunded: float = 0.0
    asked_s: float = float("-inf")
    refused_samples: int = 0
    refused_s: float = float("-inf")
    passes_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class RateLeases:
    """The leases of one process; those not used for longest are dropped, and so go back."""

    def __init__(
        self, shared: SharedDecisions, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared = shared
        self._clock = clock
        self._process = uuid4()
        self._leases: OrderedDict[UUID, _Lease] = OrderedDict()

    async def take(
        self, tenant: UUID, rate: tuple[float, float], samples: int, spare: float = 0.0
    ) -> float:
        """0.0 when the samples may pass; else the seconds to wait. rate: samples/s, burst. spare:
        what must be left in the bucket for others; it is asked each time, and leases nothing.

        Raises `DatabaseUnavailable` when the lease is used up and Postgres does not answer.
        """
        lease = self._leases.setdefault(tenant, _Lease())
        self._leases.move_to_end(tenant)
        while len(self._leases) > LEASES_MAX:
            self._leases.popitem(last=False)
        if (wait_s := self._decided(lease, samples, spare)) is None:
            with translating(SCHEMA):
                async with asyncio.timeout(TIMEOUT_S), lease.lock:
                    wait_s = self._decided(lease, samples, spare)
                    if wait_s is None:
                        wait_s = await self._ask(tenant, lease, rate, samples, spare)
        return wait_s

    def give_back(self, tenant: UUID, samples: int) -> None:
        """Samples that were taken and not stored may be taken again, by any process."""
        if samples and (lease := self._leases.get(tenant)):
            lease.refunded += samples

    def _decided(self, lease: _Lease, samples: int, spare: float) -> float | None:
        """What `take` gives, without asking; None where it must ask."""
        if spare:
            return None
        now_s = self._clock()
        if samples <= lease.left and now_s < lease.asked_s + LEASE_S:
            lease.left -= samples
            lease.taken += samples
            return 0.0
        is_refused = samples >= lease.refused_samples and now_s < lease.refused_s
        return lease.passes_s - now_s if is_refused else None

    async def _ask(
        self, tenant: UUID, lease: _Lease, rate: tuple[float, float], samples: int, spare: float
    ) -> float:
        now_s = self._clock()
        used_s = max(now_s - lease.asked_s, USE_S_MIN)
        more = 0.0 if spare else min((lease.taken + samples) / used_s * LEASE_S, rate[1] / 4)
        unused, refunded = lease.left, lease.refunded
        # Before the answer: where it is lost, none is taken twice.
        lease.left = lease.taken = lease.refunded = 0.0
        row = await self._shared.fetchrow(
            _LEASE, tenant, self._process, *rate, samples, more, unused, refunded, LEASE_S, spare
        )
        lease.asked_s, lease.left = now_s, row["leased"]
        wait_s = float(row["wait_s"])
        if wait_s and not spare:
            lease.refused_samples, lease.passes_s = samples, now_s + wait_s
            lease.refused_s = now_s + min(wait_s, REFUSED_S)
        elif not wait_s:
            lease.taken = samples
        return wait_s
