"""TCP and UDP on one port: whole lines of text that wait to be taken in, within bounds.

TCP connection ─ whole lines ─┐                 full: connections are not read on,
datagram ─────────────────────┴─▶ Inbox ─▶ take()     datagrams are dropped and counted
"""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, cast

from prometheus_client import Counter

from data_ingest.protocols.text_lines import LINE_BYTES_MAX, Received

TAKEN_BYTES_MAX: Final = 1 << 20
"""What is decoded at once: some 20,000 lines."""
CHUNK_BYTES: Final = 200
"""What a chunk of text takes in memory besides its bytes, at most."""
DROPPED: Final = Counter(
    "cloudopshub_listener_dropped_total",
    "Datagrams without room, connections over the bound, lines that could not be stored.",
    ["protocol", "what"],
)


class Inbox:
    """Text that waits, at most `bytes_max` of it and of what each connection had sent by then."""

    def __init__(
        self, protocol: str, bytes_max: int, connections_max: int, now_ms: Callable[[], int]
    ) -> None:
        self.protocol = protocol
        self.connections: set[Lines] = set()
        self.connections_max = connections_max
        self._bytes_max = bytes_max
        self._now_ms = now_ms
        self._waiting: deque[Received] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether no more should be put in."""
        return self._bytes >= self._bytes_max

    def put(self, text: bytes) -> None:
        """Text waits from now on."""
        self._waiting.append(Received(text, self._now_ms()))
        self._bytes += len(text) + CHUNK_BYTES
        self._arrived.set()

    async def take(self, wait_s: float = 0.0) -> list[Received]:
        """The text that came first, as much as is decoded at once; empty after `wait_s`."""
        if not self._waiting and wait_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._arrived.wait()
        self._arrived.clear()
        taken, size = [], 0
        while self._waiting and size < TAKEN_BYTES_MAX:
            taken.append(self._waiting.popleft())
            size += len(taken[-1].text) + CHUNK_BYTES
        self._bytes -= size
        if not self.is_full:
            for connection in self.connections:
                connection.read_on()
        return taken


class Lines(asyncio.Protocol):
    """One connection: hands on whole lines, and at its end what is left of one."""

    transport: asyncio.Transport

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is read, unless there are too many."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        inbox = self._inbox
        if len(inbox.connections) >= inbox.connections_max:
            DROPPED.labels(inbox.protocol, "connections").inc()
            self.transport.abort()
            return
        # A peer that is gone without a word must not keep a place for ever.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        inbox.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Lines are handed on; of one that is too long only so much that it is seen to be."""
        lines, newline, rest = data.rpartition(b"\n")
        if newline:
            self._inbox.put(self._rest + lines + newline)
            self._rest = b""
        self._rest = (self._rest + rest)[: LINE_BYTES_MAX + 1]
        if self._inbox.is_full:
            self.transport.pause_reading()

    def read_on(self) -> None:
        """It is read, if it was not."""
        if not (self.transport.is_closing() or self.transport.is_reading()):
            self.transport.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        """A line without its end is handed on as such."""
        self._inbox.connections.discard(self)
        if self._rest:
            self._inbox.put(self._rest)


class Datagrams(asyncio.DatagramProtocol):
    """Each datagram, of as many bytes as UDP allows (65,507), is lines of its own."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def datagram_received(self, data: bytes, _addr: object) -> None:
        """It waits, or is dropped."""
        if self._inbox.is_full:
            DROPPED.labels(self._inbox.protocol, "datagrams").inc()
        elif data:
            self._inbox.put(data if data.endswith(b"\n") else data + b"\n")


@asynccontextmanager
async def listening(host: str, port: int, inbox: Inbox) -> AsyncIterator[int]:
    """The port that both listen on inside the block; port 0: any that is free. Raises OSError."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Lines(inbox), host, port)
    try:
        bound_port = server.sockets[0].getsockname()[1]
        datagrams, _ = await loop.create_datagram_endpoint(
            lambda: Datagrams(inbox), local_addr=(host, bound_port)
        )
        try:
            yield bound_port
        finally:
            datagrams.close()
    finally:
        server.close()
        for connection in list(inbox.connections):
            connection.transport.close()
        await asyncio.sleep(0)  # what they had read is handed on
