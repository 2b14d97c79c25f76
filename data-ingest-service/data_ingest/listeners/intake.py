"""What becomes of received text: writes like all others, as the tenant of the listener's key."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import anyio.to_thread
import structlog
from pydantic import SecretStr

from data_ingest.background.supervisor import Stop
from data_ingest.chassis.identity import IdentityClient, Principal
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.errors import RateLimited
from data_ingest.listeners.sockets import DROPPED
from data_ingest.model import SampleBatch, Sender
from data_ingest.pipeline import Pipeline
from data_ingest.protocols import graphite
from data_ingest.protocols.statsd_totals import Totals
from data_ingest.protocols.text_lines import Received

SCOPE: Final = "metrics:write"
RETRY_S_MAX: Final = 300.0
"""How long text waits for a store that does not answer."""
PAUSE_S, PAUSE_S_MAX = 0.2, 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Store:
    """The write path for one listener."""

    identity: IdentityClient
    pipeline: Pipeline
    key: SecretStr
    protocol: str

    async def principal(self) -> Principal:
        """Whom the key stands for now; raises Unauthenticated, Forbidden, IdentityUnavailable."""
        principal = await self.identity.authenticate({"x-api-key": self.key.get_secret_value()})
        principal.require(SCOPE)
        return principal

    async def write(self, decode: Callable[[], SampleBatch]) -> None:
        """Every sample is stored, or counted as refused; else raises why nothing is."""
        principal = await self.principal()
        sender = Sender(principal.tenant, principal.credential_id or principal.subject)
        try:
            await self.pipeline.ingest_body(sender, decode, principal.limits, self.protocol)
        except RateLimited:
            log.warning("listener_rate_limited", protocol=self.protocol)


class Intake(Protocol):
    """What a listener does with its text."""

    async def take(self, received: Sequence[Received], stop: Stop) -> None:
        """Take in what came, nothing too; raises where the key does not hold any more."""

    async def finish(self) -> None:
        """No text comes any more."""


@dataclass(slots=True)
class GraphiteIntake:
    """Each line is a sample; text waits while the store does not answer, for RETRY_S_MAX."""

    store: Store

    async def take(self, received: Sequence[Received], stop: Stop) -> None:
        """As `Intake`."""
        ends_s, pause_s = time.monotonic() + RETRY_S_MAX, PAUSE_S
        while received:
            try:
                await self.store.write(lambda: graphite.decode(received))
            except ServiceError as error:
                is_late = stop.is_set or time.monotonic() > ends_s
                if is_late or error.kind is not Kind.UNAVAILABLE:
                    drop(self.store.protocol, received, str(error))
                    if error.kind in {Kind.UNAUTHENTICATED, Kind.FORBIDDEN}:
                        raise
                    return
                await stop.wait(pause_s)
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
            else:
                return

    async def finish(self) -> None:
        """As `Intake`."""


@dataclass(slots=True)
class StatsdIntake:
    """Lines change totals, which are written each `flush_s`; what could not be, is in the next."""

    store: Store
    totals: Totals
    flush_s: float
    now_ms: Callable[[], int]
    flushed_s: float = 0.0

    async def take(self, received: Sequence[Received], stop: Stop) -> None:
        """As `Intake`."""
        if received:
            await anyio.to_thread.run_sync(self.totals.add, received)
        if time.monotonic() - self.flushed_s >= self.flush_s and not stop.is_set:
            await self.finish()

    async def finish(self) -> None:
        """As `Intake`: the totals are written."""
        self.flushed_s, now_ms = time.monotonic(), self.now_ms()
        batch = await anyio.to_thread.run_sync(self.totals.batch, now_ms)
        try:
            await self.store.write(lambda: batch)
        except ServiceError as error:
            log.warning("statsd_flush_failed", reason=str(error))
            if error.kind in {Kind.UNAUTHENTICATED, Kind.FORBIDDEN}:
                raise
        else:
            self.totals.settle(now_ms)


def drop(protocol: str, received: Sequence[Received], reason: str) -> None:
    """Count lines that will not be stored."""
    lines = sum(text.count(b"\n") + (not text.endswith(b"\n")) for text, _ in received)
    if lines:
        DROPPED.labels(protocol, "lines").inc(lines)
        log.warning("listener_lines_dropped", protocol=protocol, lines=lines, reason=reason)
