"""The body of a write: in memory only as far as its tenant's share goes, and not for ever.

    budget for all requests ─┬─ a tenant's first request: as far as the budget goes
                             └─ its further ones: no more in all than is free for the others

A sender that stalls would otherwise keep everybody's memory: eight uploads of one tenant at a byte
in 18 s stopped the large writes of all.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from starlette.types import Message, Receive

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.errors import BodyTooLarge, Overloaded, SlowBody


class Disconnected(ServiceError):
    """The sender went away before its body had arrived."""

    kind = Kind.CANCELED


@dataclass(slots=True)
class MemoryBudget:
    """Bytes that all requests in progress may hold together; beyond it `Overloaded`.

    Requests of one tenant, where it has several, hold at most as much as is still free: half of the
    budget when it is alone, a third each when there are two, so that there is always some left.
    """

    bytes_max: int
    reserved: int = 0
    of_tenants: dict[UUID, int] = field(default_factory=dict)

    @contextmanager
    def lease(self, tenant: UUID) -> Iterator[Callable[[int], None]]:
        """A function that reserves bytes for the tenant, which are free again after the block.

        It raises `Overloaded` over the budget, unless nothing is reserved, and over the share.
        """
        leased = 0

        def reserve(size: int) -> None:
            nonlocal leased
            of_tenant, free = self.of_tenants.get(tenant, 0), self.bytes_max - self.reserved
            if size > free and self.reserved:
                raise Overloaded(
                    detail="memory", reserved=self.reserved, limit=self.bytes_max, retry_after_s=1
                )
            if of_tenant > leased and of_tenant + size > free - size:
                raise Overloaded(
                    detail="memory that this tenant's other requests hold",
                    reserved=of_tenant,
                    free=free,
                    retry_after_s=1,
                )
            leased += size
            self._add(tenant, size)

        try:
            yield reserve
        finally:
            self._add(tenant, -leased)

    def _add(self, tenant: UUID, size: int) -> None:
        self.reserved += size
        self.of_tenants[tenant] = self.of_tenants.get(tenant, 0) + size
        if not self.of_tenants[tenant]:
            del self.of_tenants[tenant]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a body must arrive: whole within `timeout_s`, and in each stretch of `stretch_s` at
    least `bytes_per_s_min` × `stretch_s` bytes.
    """

    timeout_s: float
    stretch_s: float
    bytes_per_s_min: int


async def read_body(
    headers: Mapping[str, str],
    receive: Receive,
    bytes_max: int,
    reserve: Callable[[int], None],
    pace: Pace,
) -> bytearray:
    """The whole body, at most `bytes_max`; `reserve` is called before bytes are kept.

    Raises BodyTooLarge, SlowBody, Disconnected, and what `reserve` raises.
    """
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > bytes_max:
        raise BodyTooLarge(bytes=int(declared), limit=bytes_max)
    arriving = Arriving(receive, pace, asyncio.get_running_loop().time())
    whole = bytearray()
    while True:
        message = await arriving.next()
        if message["type"] == "http.disconnect":
            raise Disconnected(bytes=len(whole))
        chunk = message.get("body", b"")
        check_size(len(whole) + len(chunk), bytes_max)
        reserve(len(chunk))
        whole += chunk
        if not message.get("more_body", False):
            return whole


class Arriving:
    """The messages of one body, as long as they keep the pace."""

    def __init__(self, receive: Receive, pace: Pace, now_s: float) -> None:
        self._receive = receive
        self._pace = pace
        self._ends_s = now_s + pace.timeout_s
        self._stretch_ends_s = now_s + pace.stretch_s
        self._stretch_bytes = 0
        self._bytes = 0

    async def next(self) -> Message:
        """The next message; raises SlowBody when it is not there in time."""
        pace = self._pace
        try:
            async with asyncio.timeout_at(min(self._ends_s, self._stretch_ends_s)):
                message = await self._receive()
        except TimeoutError as exc:
            raise SlowBody(
                bytes=self._bytes,
                timeout_s=pace.timeout_s,
                bytes_per_s_min=pace.bytes_per_s_min,
                retry_after_s=1,
            ) from exc
        arrived = len(message.get("body", b""))
        self._bytes += arrived
        self._stretch_bytes += arrived
        if self._stretch_bytes >= pace.bytes_per_s_min * pace.stretch_s:
            self._stretch_bytes = 0
            self._stretch_ends_s = asyncio.get_running_loop().time() + pace.stretch_s
        return message


def check_size(size: int, bytes_max: int) -> None:
    """Raises BodyTooLarge over the bound."""
    if size > bytes_max:
        raise BodyTooLarge(bytes=size, limit=bytes_max)
