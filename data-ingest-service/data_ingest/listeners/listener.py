"""A listener's life: its key is checked, its sockets open, its text becomes writes until it ends.

key does not hold, port is taken ─▶ no socket; the reason in the log and in /ready; tried again
"""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar, Final

import anyio.to_thread
import structlog
from pydantic import SecretStr

from data_ingest.background.supervisor import Stop, Supervisor
from data_ingest.chassis.clock import Clock
from data_ingest.chassis.identity import IdentityClient, Principal
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.errors import RateLimited
from data_ingest.listeners.sockets import DROPPED, Inbox, listening
from data_ingest.model import SampleBatch, Sender
from data_ingest.pipeline import Pipeline
from data_ingest.protocols import graphite
from data_ingest.protocols.statsd_totals import Totals
from data_ingest.protocols.text_lines import Received
from data_ingest.settings import Settings, bucket_bounds, host_and_port

SCOPE: Final = "metrics:write"
POLL_S: Final = 0.5
TRIES_MAX: Final = 60
"""How often text is written while the store does not answer, TRY_PAUSE_S apart."""
TRY_PAUSE_S: Final = 1.0
STOP_TIMEOUT_S: Final = 5.0

log = structlog.get_logger()


class NotListening(ServiceError):
    """The listener has no open socket"""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass
class Listener(ABC):
    """One protocol on one port; address: host:port."""

    address: str
    key: SecretStr
    settings: Settings
    identity: IdentityClient
    pipeline: Pipeline
    clock: Clock
    listens_on: str = ""
    reason: str = "it has not begun"
    protocol: ClassVar[str]

    async def run(self, stop: Stop) -> None:
        """Text is taken in until stopped; raises why it cannot be, with its sockets closed."""
        host, port = host_and_port(self.address)
        bounds = self.settings.listener_bytes_max, self.settings.listener_connections_max
        inbox = Inbox(self.protocol, *bounds, self.clock.now_ms)
        try:
            await self.principal()
            async with listening(host, port, inbox) as bound_port:
                self.listens_on = f"{host}:{bound_port}"
                while not stop.is_set:
                    await self.take(await inbox.take(POLL_S), stop)
            while received := await inbox.take():
                await self.take(received, stop)
            await self.finish()
        except Exception as error:
            self.reason = str(error)
            raise
        finally:
            self.listens_on = ""
            while received := await inbox.take():
                self.drop(received, self.reason)

    @abstractmethod
    async def take(self, received: Sequence[Received], stop: Stop) -> None:
        """Take in what came, nothing too; raises where the key does not hold any more."""

    @abstractmethod
    async def finish(self) -> None:
        """What was taken in is written; no text comes any more."""

    async def principal(self) -> Principal:
        """Whom the key stands for now; raises Unauthenticated, Forbidden, IdentityUnavailable."""
        principal = await self.identity.authenticate({"x-api-key": self.key.get_secret_value()})
        principal.require(SCOPE)
        return principal

    async def write(self, decode: Callable[[], SampleBatch]) -> None:
        """Every sample is stored, or counted as refused; else raises why nothing is."""
        principal = await self.principal()
        sender = Sender(principal.tenant, principal.credential_id or principal.subject)
        with suppress(RateLimited):  # which is counted as refused
            await self.pipeline.ingest_body(sender, decode, principal.limits, self.protocol)

    async def check(self) -> str:
        """A readiness check: where it listens; raises why it does not."""
        if not self.listens_on:
            raise NotListening(detail=self.reason)
        return f"listens on {self.listens_on}"

    def drop(self, received: Sequence[Received], reason: str) -> None:
        """Count lines that will not be stored."""
        lines = sum(text.count(b"\n") + (not text.endswith(b"\n")) for text, _ in received)
        DROPPED.labels(self.protocol, "lines").inc(lines)
        log.warning("listener_lines_dropped", protocol=self.protocol, lines=lines, reason=reason)


class GraphiteListener(Listener):
    """Each line is a sample; text waits while the store does not answer."""

    protocol = "graphite"

    async def take(self, received: Sequence[Received], stop: Stop) -> None:
        """As `Listener.take`."""
        for tries_left in reversed(range(TRIES_MAX if received else 0)):
            try:
                await self.write(lambda: graphite.decode(received))
            except ServiceError as error:
                if stop.is_set or not tries_left or error.kind is not Kind.UNAVAILABLE:
                    self.drop(received, str(error))
                    if error.kind in {Kind.UNAUTHENTICATED, Kind.FORBIDDEN}:
                        raise
                    return
            else:
                return
            await stop.wait(TRY_PAUSE_S)

    async def finish(self) -> None:
        """As `Listener.finish`: all of it is."""


@dataclass
class StatsdListener(Listener):
    """Lines change totals, which are written each `statsd_flush_s`; what is not, is in the next."""

    protocol = "statsd"

    def __post_init__(self) -> None:
        self._flushed_s, settings = time.monotonic(), self.settings
        self._totals = Totals(
            settings.statsd_receiver,
            bucket_bounds(settings.statsd_buckets),
            series_max=settings.statsd_series_max,
            idle_ms=int(settings.statsd_idle_s * 1000),
            started_ms=self.clock.now_ms(),
        )

    async def take(self, received: Sequence[Received], stop: Stop) -> None:
        """As `Listener.take`."""
        if received:
            await anyio.to_thread.run_sync(self._totals.add, received)
        is_due = time.monotonic() - self._flushed_s >= self.settings.statsd_flush_s
        if is_due and not stop.is_set:
            await self.finish()

    async def finish(self) -> None:
        """The totals are written."""
        self._flushed_s, now_ms = time.monotonic(), self.clock.now_ms()
        batch = await anyio.to_thread.run_sync(self._totals.batch, now_ms)
        try:
            await self.write(lambda: batch)
        except ServiceError as error:
            if error.kind in {Kind.UNAUTHENTICATED, Kind.FORBIDDEN}:
                raise
            log.warning("statsd_flush_failed", reason=str(error))
        else:
            self._totals.settle(now_ms)


def configured(
    settings: Settings, identity: IdentityClient, pipeline: Pipeline, clock: Clock
) -> Sequence[Listener]:
    """The listeners that have an address."""
    return [
        kind(address, key, settings, identity, pipeline, clock)
        for kind, address, key in (
            (GraphiteListener, settings.graphite_listen, settings.graphite_key),
            (StatsdListener, settings.statsd_listen, settings.statsd_key),
        )
        if address and key
    ]


@asynccontextmanager
async def running(listeners: Sequence[Listener]) -> AsyncIterator[None]:
    """The listeners run inside the block, begun again when they fail."""
    supervisor = Supervisor()
    for listener in listeners:
        supervisor.start(f"{listener.protocol} listener", listener.run)
    try:
        yield
    finally:
        await supervisor.stop(STOP_TIMEOUT_S)
