"""Uploads that stall or crawl, over real sockets: they end, and cost no other tenant anything."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import pytest
import uvicorn

from data_ingest.api.body import MemoryBudget, Pace, read_body
from data_ingest.api.write import WriteEndpoint, WritePath
from data_ingest.chassis.identity.principal import Limits, Principal
from data_ingest.errors import Overloaded, SlowBody
from data_ingest.model import Outcome
from data_ingest.protocols import remote_write
from data_ingest.protocols.protocol import Bounds

KIB = 1024
BUDGET = 64 * KIB
UNHURRIED = Pace(timeout_s=600.0, stretch_s=600.0, bytes_per_s_min=1)
BODY = b"\1" * (12 * KIB)
"""The first byte is the length that a snappy block claims; nobody unpacks it here."""


class AnyTenant:
    """Every caller is who the header `tenant` says."""

    async def authenticate(self, headers, _query):
        tenant = UUID(int=int(headers["tenant"]))
        return Principal(
            tenant, "key", None, frozenset({"metrics:write"}), Limits(), "api_key", None
        )


class Accepting:
    """Everything is stored."""

    async def ingest_body(self, *_, **_options):
        return Outcome(1, {}, {}, "")


@contextlib.asynccontextmanager
async def serving(memory: MemoryBudget, pace: Pace) -> AsyncIterator[int]:
    """The port of the write route."""
    identity, pipeline = cast("Any", AnyTenant()), cast("Any", Accepting())
    path = WritePath(identity, pipeline, memory, Bounds(KIB, 10), 20 * KIB, pace)
    endpoint = WriteEndpoint(remote_write.PROTOCOL, "/api/v1/write", path)
    server = uvicorn.Server(uvicorn.Config(endpoint, log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup(sockets=[listening])
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await server.shutdown(sockets=[listening])


@contextlib.asynccontextmanager
async def upload(port: int, tenant: int, sent: bytes, size: int):
    """A POST of a body of `size` bytes of which `sent` is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /api/v1/write HTTP/1.1\r\nhost: x\r\ntenant: {tenant}\r\n"
    writer.write(f"{head}content-length: {size}\r\n\r\n".encode() + sent)
    try:
        yield reader
    finally:
        writer.close()


async def answered(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The status of the answer, and its text as far as it has come to the end of the connection or
    of a JSON object.
    """
    async with asyncio.timeout(600):
        status = int((await reader.readline()).split()[1])
        text = b""
        if status != 204:
            text = await reader.readuntil(b"}")
    return status, text.decode()


async def until(held: MemoryBudget, size: int) -> None:
    """The requests hold that much."""
    async with asyncio.timeout(600):
        while held.reserved < size:  # noqa: ASYNC110 - the server's own state: no event tells it
            await asyncio.sleep(0)


async def test_stalled_uploads_of_one_tenant_leave_the_others_alone() -> None:
    """Eight uploads of a tenant that stall where they fill the memory: the first ones hold half of
    it, the others are told so at once, and another tenant's large write is stored.
    """
    memory = MemoryBudget(BUDGET)
    async with serving(memory, UNHURRIED) as port, contextlib.AsyncExitStack() as stack:
        for n in range(1, 9):
            reader = await stack.enter_async_context(upload(port, 1, BODY[:-1], len(BODY)))
            if n <= 2:
                await until(memory, n * (len(BODY) - 1))
            else:
                status, text = await answered(reader)
                assert status == 503
                assert "this tenant's other requests" in text
        for tenant, status in ((2, 204), (1, 503), (3, 204)):
            other = await stack.enter_async_context(upload(port, tenant, BODY, len(BODY)))
            assert (await answered(other))[0] == status
        assert memory.reserved <= BUDGET / 2


async def test_a_stalled_upload_is_ended() -> None:
    """A body that does not go on is answered 503 with the rule in words, so that senders send it
    again; the connection closes and the memory is free.
    """
    memory = MemoryBudget(BUDGET)
    stall = Pace(timeout_s=600.0, stretch_s=0.05, bytes_per_s_min=1024)
    async with serving(memory, stall) as port:
        for sent in (b"", BODY[:-1]):
            async with upload(port, 1, sent, len(BODY)) as reader:
                status, text = await answered(reader)
                assert status == 503
                assert f"bytes={len(sent)}" in text
                assert "bytes_per_s_min=1024" in text
                assert await asyncio.wait_for(reader.read(), 600) == b""
        assert memory.reserved == 0


async def test_a_body_that_crawls_ends_in_time() -> None:
    """Fast enough in each stretch, a body still has to end within its time."""

    async def receive():
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"1" * 100, "more_body": True}

    pace = Pace(timeout_s=0.05, stretch_s=0.01, bytes_per_s_min=1)
    with pytest.raises(SlowBody, match=r"timeout_s=0\.05"):
        await read_body({}, receive, 1 << 40, lambda _: None, pace)


def test_what_a_tenant_may_hold() -> None:
    """One request may take what is free; several of one tenant together at most as much as they
    leave free; and what a request held is free after it.
    """
    memory = MemoryBudget(100)
    first, second, third = UUID(int=1), UUID(int=2), UUID(int=3)
    with memory.lease(first) as one, memory.lease(first) as two:
        one(80)
        with pytest.raises(Overloaded, match="this tenant"):
            two(1)
        with memory.lease(second) as other:
            other(20)
            with pytest.raises(Overloaded, match="memory"):
                other(1)
    assert memory.reserved == 0
    with memory.lease(first) as one, memory.lease(first) as two, memory.lease(second) as other:
        one(20)
        two(20)
        other(20)
        with memory.lease(second) as more, memory.lease(third) as alone:
            more(10)
            with pytest.raises(Overloaded):
                more(1)
            alone(30)
    assert not memory.of_tenants
