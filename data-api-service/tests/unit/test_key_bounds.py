"""Laws of the identity twin about keys: from where, how often, and how long they may be used."""

import asyncio
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from data_api.chassis.callers import CALLERS_MAX, Buckets, Proxies
from data_api.chassis.clock import Clock
from data_api.chassis.identity import Forbidden, IdentityClient, TooManyRequests, Unauthenticated
from data_api.chassis.identity.keys import checksum
from data_api.chassis.kinds import ServiceError
from data_api.chassis.telemetry import RequestLog

KEY = "coh_live_" + "a" * 32
KEY += checksum(KEY)
NOW_S = 1_900_000_000.0


class Hand(Clock):
    """A clock that moves by hand."""

    def __init__(self) -> None:
        self.seconds = NOW_S

    def now_s(self) -> float:
        return self.seconds


class Service:
    """A service with one route, whose key ubs answers with `facts`; ubs ends it at `ends_s`."""

    def __init__(self, **facts: Any) -> None:
        self.facts, self.asked, self.clock = facts, 0, Hand()
        self.ends_s: float | None = None
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.ubs))
        proxies = Proxies([ip_network("10.0.0.0/8")], 1)
        self.identity = IdentityClient(
            "http://ubs", "token", "das", http, self.clock, proxies=proxies
        )
        self.app = RequestLog(self.route, "das")
        self.outcome: Any = None

    def ubs(self, _request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.ends_s is not None and self.clock.seconds >= self.ends_s:
            return httpx.Response(200, json={"active": False, "reason": "expired"})
        ends = None if self.ends_s is None else datetime.fromtimestamp(self.ends_s, UTC).isoformat()
        answer = {
            "active": True, "key_id": "k", "tenant": str(uuid4()), "scopes": [], "ttl_s": 60,
            "limits": {}, "expires_at": ends, **self.facts,
        }  # fmt: skip
        return httpx.Response(200, json=answer)

    async def route(self, scope: Scope, _receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        try:
            self.outcome = await self.identity.authenticate(headers)
        except ServiceError as error:
            self.outcome = error
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def call(self, peer: str | None = "192.0.2.1", forwarded: str | None = None) -> Any:
        headers = [(b"x-api-key", KEY.encode())]
        if forwarded is not None:
            headers.append((b"x-forwarded-for", forwarded.encode()))
        client = None if peer is None else (peer, 1)
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": client}

        async def send(_message: Message) -> None:
            return None

        async def receive() -> Message:
            return {"type": "http.request"}

        await self.app(scope, receive, send)
        return self.outcome


@pytest.mark.parametrize(
    ("peer", "forwarded", "allowed"),
    [
        ("192.0.2.7", None, True),
        ("::ffff:192.0.2.7", None, True),
        ("10.0.0.1", "192.0.2.7", True),
        ("2001:db8::1", None, True),
        ("203.0.113.1", None, False),
        ("203.0.113.1", "192.0.2.7", False),
        ("10.0.0.1", "192.0.2.7, 203.0.113.1", False),
        ("10.0.0.1", None, False),
        (None, None, False),
    ],
)
def test_a_key_is_used_from_its_networks_only(
    peer: str | None, forwarded: str | None, *, allowed: bool
) -> None:
    """The client's own address decides; X-Forwarded-For counts from a trusted proxy alone. The
    answer is judged anew for each request, though ubs is asked once.
    """

    async def scenario() -> None:
        service = Service(networks=["192.0.2.0/24", "2001:db8::/32"])
        for _ in range(2):
            outcome = await service.call(peer, forwarded)
            assert isinstance(outcome, Forbidden) is not allowed
        assert service.asked == 1

    asyncio.run(scenario())


def test_a_key_asks_as_often_as_it_may() -> None:
    """A second's worth at once, then it waits; time gives it back."""

    async def scenario() -> None:
        service = Service(requests_per_s=5)
        outcomes = [await service.call() for _ in range(8)]
        refused = [one for one in outcomes if isinstance(one, TooManyRequests)]
        assert len(refused) == 3
        assert 0 < refused[0].facts["retry_after_s"] <= 0.2
        service.clock.seconds += 0.2
        assert not isinstance(await service.call(), TooManyRequests)
        assert isinstance(await service.call(), TooManyRequests)

    asyncio.run(scenario())


def test_a_key_is_dead_when_it_ends() -> None:
    """What is remembered of a key ends with it, not a minute later; before, ubs is asked once."""

    async def scenario() -> None:
        service = Service()
        service.ends_s = NOW_S + 10
        await service.call()
        service.clock.seconds += 9.9
        assert not isinstance(await service.call(), ServiceError)
        assert service.asked == 1
        service.clock.seconds += 0.1
        assert isinstance(await service.call(), Unauthenticated)

    asyncio.run(scenario())


@given(st.integers(1, 50), st.lists(st.floats(0, 3), max_size=200))
def test_a_bucket_never_gives_more_than_its_rate(per_s: int, pauses: list[float]) -> None:
    """In any span of time: a second's worth, and the rate times the span, with no rounding beyond
    one request; what it says to wait is enough.
    """
    buckets, now_s, given_at = Buckets(), 0.0, []
    for pause in pauses:
        now_s += pause / per_s
        wait_s = buckets.wait_s("caller", per_s, now_s)
        if wait_s == 0:
            given_at.append(now_s)
        else:
            assert buckets.wait_s("caller", per_s, now_s + wait_s + 1e-9) == 0
            now_s += wait_s + 1e-9
            given_at.append(now_s)
    for first, start in enumerate(given_at):
        for last in range(first, len(given_at)):
            count = last - first + 1
            assert count <= per_s + (given_at[last] - start) * per_s + 1e-3


def test_buckets_are_bounded() -> None:
    """However many callers there are, the process remembers a bounded number."""
    buckets = Buckets()
    for number in range(CALLERS_MAX + 10):
        buckets.wait_s(str(number), 1, 0.0)
    assert len(buckets._levels) == CALLERS_MAX
