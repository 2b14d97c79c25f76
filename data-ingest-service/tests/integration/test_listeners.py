"""Graphite and StatsD over real sockets, on a real store."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from asgi_lifespan import LifespanManager

from data_ingest.app import create_app
from data_ingest.chassis.identity.keys import checksum
from data_ingest.listeners.sockets import DROPPED
from data_ingest.protocols.statsd_totals import LINES
from data_ingest.settings import Settings
from tests.metric_store import stored_samples

TENANT = UUID(int=0x6A)
WAIT_S = 600.0
NAMES = ("graphite", "statsd")


def key_of(letter: str) -> str:
    start = "coh_live_" + letter * 32
    return start + checksum(start)


KEY = key_of("w")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop of the service: transports of others differ."""
    return "asyncio", {"use_uvloop": True}


class Billing:
    """The internal routes of user-billing-service; `revoke` ends the key."""

    def __init__(self) -> None:
        self.seq = 0
        self.scopes = ["metrics:write", "metrics:read"]
        self.limits: dict[str, int] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/internal/introspect":
            at = "2026-11-29T12:00:00Z"
            ref = {"seq": self.seq, "kind": "key", "ref": str(UUID(int=1)), "at": at}
            listed = [ref] if self.seq else []
            return httpx.Response(
                200, json={"status": "ok", "seq": self.seq, "revocations": listed}
            )
        if self.seq:
            return httpx.Response(200, json={"active": False, "reason": "revoked"})
        facts = {"key_id": str(UUID(int=1)), "tenant": str(TENANT), "scopes": self.scopes}
        answer = {"active": True, "expires_at": None, "ttl_s": 60, "limits": self.limits, **facts}
        return httpx.Response(200, json=answer)


class Hub:
    """The service with both listeners on free ports."""

    def __init__(self, http: httpx.AsyncClient, url: str, billing: Billing) -> None:
        self.http, self.url, self.billing = http, url, billing

    async def checks(self) -> dict[str, Any]:
        checks: dict[str, Any] = (await self.http.get("/ready")).json()["checks"]
        return checks

    async def port(self, name: str) -> int:
        detail = (await self.checks())[f"{name} listener"]["detail"]
        return int(detail.rpartition(":")[2])

    async def send(self, name: str, *parts: bytes) -> None:
        """By TCP, in these parts, each on its way before the next."""
        _, writer = await asyncio.open_connection("127.0.0.1", await self.port(name))
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def send_datagram(self, name: str, data: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(data, ("127.0.0.1", await self.port(name)))

    async def stored(self) -> list[tuple[dict[str, str], int, float]]:
        return await stored_samples(self.url)

    async def refused(self) -> dict[str, int]:
        answer = await self.http.get("/api/v1/refused", headers={"X-API-Key": KEY})
        return {one["reason"]: one["samples"] for one in answer.json()["data"]}

    async def until(self, holds: Callable[[Any], bool], read: Callable[[], Any]) -> Any:
        """What `read` gives once it is as wanted."""
        deadline = time.monotonic() + WAIT_S
        while not holds(value := await read()):
            assert time.monotonic() < deadline, value
            await asyncio.sleep(0.02)
        return value

    async def listens(self) -> None:
        await self.until(
            lambda checks: all(checks[f"{name} listener"]["ok"] for name in NAMES), self.checks
        )


def settings(url: str, **given: Any) -> Settings:
    fixed = {
        "database_url": url,
        "object_store_url": "file:///nowhere",
        "ubs_url": "http://ubs",
        "service_token": "t" * 43,
        "background": False,
        "graphite_listen": "127.0.0.1:0",
        "statsd_listen": "127.0.0.1:0",
        "graphite_key": KEY,
        "statsd_key": KEY,
        "statsd_flush_s": 1,
        "statsd_receiver": "here",
        "statsd_buckets": "0.1,1",
    }
    return Settings.model_validate(fixed | given)


@contextlib.asynccontextmanager
async def running(url: str, **given: Any) -> AsyncIterator[Hub]:
    billing = Billing()
    http = httpx.AsyncClient(transport=httpx.MockTransport(billing))
    app = create_app(settings(url, **given), http=http)
    async with (
        LifespanManager(app, startup_timeout=600, shutdown_timeout=600),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://dis") as client,
    ):
        yield Hub(client, url, billing)


@pytest.fixture
async def hub(store_url: str) -> AsyncIterator[Hub]:
    async with running(store_url) as made:
        await made.until(lambda checks: checks["postgres"]["ok"], made.checks)
        await made.listens()
        yield made


async def test_graphite_lines_are_samples(hub):
    """By TCP and UDP, with tags and times; what cannot be read is refused and counted, and the
    lines around it, in the connection and in the datagram, are stored.
    """
    now_s = int(time.time())
    long = b"x" * 9000 + b" 1 1\n"
    text = b"a.b-c;dc=eu 1.5 %d\nnonsense\n" % now_s + long + b"d 2 -1\ncut 1"
    await hub.send("graphite", text[:3], text[3:5000], text[5000:])
    await hub.send_datagram("graphite", b"e 3\n;=\nf 4 %d" % now_s)
    stored = await hub.until(lambda samples: len(samples) == 4, hub.stored)
    names = {labels.pop("__name__"): (labels, value) for labels, _, value in stored}
    assert names == {
        "a_b_c": ({"dc": "eu"}, 1.5),
        "d": ({}, 2.0),
        "e": ({}, 3.0),
        "f": ({}, 4.0),
    }
    times = {ms for _, ms, _ in stored}
    assert now_s * 1000 in times
    assert all(abs(ms / 1000 - time.time()) < WAIT_S for ms in times)
    refused = {"malformed_line": 2, "line_too_long": 1, "incomplete_line": 1}
    assert await hub.until(lambda counts: sum(counts.values()) == 4, hub.refused) == refused


async def test_statsd_lines_are_added_up(hub):
    """Each flush has a sample of each series; a counter begins with 0 at the flush before, so that
    its increase is what was sent.
    """
    await hub.send_datagram("statsd", b"hits:1|c\nhits:4|c|@0.5|#zone:a\nbad\n")
    await hub.send("statsd", b"hits:2|c\nload:7|g\nload:-2|g\nlatency:500|ms\nusers:a:b:a|s\n")

    def is_complete(samples: list[tuple[dict[str, str], int, float]]) -> bool:
        return "users" in {labels["__name__"] for labels, _, _ in samples}

    stored = await hub.until(is_complete, hub.stored)
    last: dict[tuple[str, str], float] = {}
    first: dict[tuple[str, str], float] = {}
    for labels, _, value in sorted(stored, key=lambda sample: sample[1]):
        assert labels["statsd_receiver"] == "here"
        series = labels["__name__"], labels.get("zone") or labels.get("le") or ""
        first.setdefault(series, value)
        last[series] = value
    assert first["hits_total", ""] == first["hits_total", "a"] == 0
    assert (last["hits_total", ""], last["hits_total", "a"]) == (3, 8)
    assert last["load", ""] == 5
    boundaries = [last["latency_seconds_bucket", le] for le in ("0.1", "1.0", "+Inf")]
    assert boundaries == [0, 1, 1]
    assert (last["latency_seconds_sum", ""], last["latency_seconds_count", ""]) == (0.5, 1)
    assert {value for labels, _, value in stored if labels["__name__"] == "users"} & {2.0}
    assert await hub.refused() == {"malformed_line": 1}


async def test_a_stop_loses_nothing(store_url):
    """What was read before the service ends is stored before it ends."""
    async with running(store_url, statsd_flush_s=1000) as hub:
        await hub.until(lambda checks: checks["postgres"]["ok"], hub.checks)
        await hub.listens()
        before = LINES._value.get()
        await hub.send("statsd", b"hits:5|c\n" * 1000)

        async def taken() -> float:
            return float(LINES._value.get() - before)

        await hub.until(lambda lines: lines == 1000, taken)
    assert [value for _, _, value in await hub.stored()][-1] == 5000


async def test_a_key_that_ends_closes_the_sockets(hub):
    """Without a key that may write there is no socket, and /ready says why."""
    port = await hub.port("graphite")
    hub.billing.seq = 1
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(WAIT_S):
            while not reader.at_eof():
                writer.write(b"a 1\n")
                await writer.drain()
                await asyncio.sleep(0.05)
    writer.close()
    checks = await hub.until(lambda all_: not all_["graphite listener"]["ok"], hub.checks)
    assert "revoked" in checks["graphite listener"]["detail"]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_without_a_store_connections_wait_and_datagrams_are_dropped(store_url):
    """Text beyond the bound is not read, so that the sender waits; datagrams are dropped, and
    counted.
    """
    nowhere = "postgresql://x@127.0.0.1:1/x"
    async with running(nowhere, listener_bytes_max=100_000) as hub:
        await hub.until(lambda checks: checks["graphite listener"]["ok"], hub.checks)
        port = await hub.port("graphite")
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a.b.c 1 -1\n" * 5_000_000)

        async def dropped() -> float:
            await hub.send_datagram("graphite", b"a 1\n")
            return float(DROPPED.labels("graphite", "datagrams")._value.get())

        await hub.until(bool, dropped)
        assert writer.transport.get_write_buffer_size() > 10_000_000
        writer.transport.abort()
        writer.close()


async def test_connections_are_bounded(store_url):
    """One over the bound is closed while the others are in use."""
    async with running(store_url, listener_connections_max=1) as hub:
        await hub.listens()
        port = await hub.port("graphite")
        _, first = await asyncio.open_connection("127.0.0.1", port)
        first.write(b"a 1\n")
        await hub.until(lambda samples: len(samples) == 1, hub.stored)
        reader, second = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        first.write(b"a 2\n")
        await hub.until(lambda samples: len(samples) == 2, hub.stored)
        first.close()
        second.close()


@pytest.mark.parametrize("bounds", ["", "x", "1,1", "2,1", "nan", "1,inf", "1," * 100 + "1"])
def test_buckets_grow(bounds):
    """Bounds that are no numbers, or do not grow, stop the start."""
    with pytest.raises(ValueError, match="statsd_buckets"):
        settings("postgresql://x@/x", statsd_buckets=bounds)


@pytest.mark.parametrize("name", NAMES)
def test_a_listener_needs_a_key(name):
    """An address without a key stops the start, and the line names both variables."""
    with pytest.raises(ValueError, match=f"DIS_{name.upper()}_LISTEN needs DIS_{name.upper()}_KEY"):
        settings("postgresql://x@/x", **{f"{name}_key": None})
