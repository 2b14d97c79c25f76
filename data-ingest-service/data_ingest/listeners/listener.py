"""A listener's life: its key is checked, its sockets open, text is taken in until it ends.

key does not hold, port taken ─▶ no socket; the reason in the log and in /ready; tried again
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

from data_ingest.background.supervisor import Stop, Supervisor
from data_ingest.chassis.clock import Clock
from data_ingest.chassis.identity import IdentityClient
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.listeners.intake import GraphiteIntake, Intake, StatsdIntake, Store, drop
from data_ingest.listeners.sockets import Inbox, listening
from data_ingest.pipeline import Pipeline
from data_ingest.protocols.statsd_totals import Totals
from data_ingest.settings import Settings, host_and_port

POLL_S: Final = 0.5
STOP_TIMEOUT_S: Final = 5.0


class NotListening(ServiceError):
    """The listener has no open socket"""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(slots=True)
class Listener:
    """One protocol on one port; address: host:port."""

    store: Store
    intake: Intake
    address: str
    inbox: Callable[[], Inbox]
    listens_on: str = ""
    reason: str = "it has not begun"

    async def run(self, stop: Stop) -> None:
        """Text is taken in until stopped; raises why it cannot be, with its sockets closed."""
        host, port = host_and_port(self.address)
        inbox = self.inbox()
        try:
            await self.store.principal()
            async with listening(host, port, inbox) as bound_port:
                self.listens_on = f"{host}:{bound_port}"
                while not stop.is_set:
                    await self.intake.take(await inbox.take(POLL_S), stop)
            while received := await inbox.take():
                await self.intake.take(received, stop)
            await self.intake.finish()
        except Exception as error:
            self.reason = str(error)
            raise
        finally:
            self.listens_on = ""
            while received := await inbox.take():
                drop(self.store.protocol, received, self.reason)

    async def check(self) -> str:
        """A readiness check: where it listens; raises why it does not."""
        if not self.listens_on:
            raise NotListening(detail=self.reason)
        return f"listens on {self.listens_on}"


def configured(
    settings: Settings, identity: IdentityClient, pipeline: Pipeline, clock: Clock
) -> Sequence[Listener]:
    """The listeners that have an address."""

    def inbox(protocol: str) -> Inbox:
        connections_max = settings.listener_connections_max
        return Inbox(protocol, settings.listener_bytes_max, connections_max, clock.now_ms)

    listeners = []
    if settings.graphite_listen:
        assert settings.graphite_key is not None
        store = Store(identity, pipeline, settings.graphite_key, "graphite")
        listeners.append(
            Listener(
                store, GraphiteIntake(store), settings.graphite_listen, lambda: inbox("graphite")
            )
        )
    if settings.statsd_listen:
        assert settings.statsd_key is not None
        store = Store(identity, pipeline, settings.statsd_key, "statsd")
        totals = Totals(
            settings.statsd_receiver,
            settings.statsd_buckets,
            series_max=settings.statsd_series_max,
            idle_ms=int(settings.statsd_idle_s * 1000),
            started_ms=clock.now_ms(),
        )
        intake = StatsdIntake(store, totals, settings.statsd_flush_s, clock.now_ms)
        listeners.append(Listener(store, intake, settings.statsd_listen, lambda: inbox("statsd")))
    return listeners


@asynccontextmanager
async def running(listeners: Sequence[Listener]) -> AsyncIterator[None]:
    """The listeners run inside the block, begun again when they fail."""
    supervisor = Supervisor()
    for listener in listeners:
        supervisor.start(f"{listener.store.protocol} listener", listener.run)
    try:
        yield
    finally:
        await supervisor.stop(STOP_TIMEOUT_S)
