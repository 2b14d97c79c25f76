"""Influx's two write APIs from outside, as Telegraf calls them, on a real store."""

import asyncio
import base64
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from asgi_lifespan import LifespanManager

from data_ingest.app import create_app
from data_ingest.chassis.identity.keys import checksum
from data_ingest.settings import Settings
from tests.metric_store import stored_samples as stored

TENANT = UUID(int=0x1F)
WAIT_S = 600.0
V1, V2 = "/write", "/api/v2/write"
VERSION = {"x-influxdb-version": "1.8.10", "x-influxdb-build": "CloudOpsHub"}


def key_of(letter: str) -> str:
    start = "coh_live_" + letter * 32
    return start + checksum(start)


WRITER, READER, SLOW = key_of("w"), key_of("r"), key_of("s")


def token(key: str) -> dict[str, str]:
    return {"Authorization": f"Token {key}"}


def billing(request: httpx.Request) -> httpx.Response:
    """The internal routes of user-billing-service; SLOW may send a sample a second."""
    if request.url.path != "/internal/introspect":
        return httpx.Response(200, json={"status": "ok", "seq": 0, "revocations": []})
    key = json.loads(request.content)["key"]
    rate = 1 if key == SLOW else None
    answer = {
        "active": True,
        "expires_at": None,
        "ttl_s": 60,
        "key_id": str(UUID(int=1)),
        "tenant": str(TENANT),
        "scopes": ["metrics:read" if key == READER else "metrics:write"],
        "limits": {"retention_days": 30, "samples_per_s": rate, "burst_samples": rate},
    }
    return httpx.Response(200, json=answer)


@contextlib.asynccontextmanager
async def hub(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service, which may have no store yet."""
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "object_store_url": "file:///nowhere",
            "ubs_url": "http://ubs",
            "service_token": "t" * 43,
            "background": False,
            "body_bytes_max": 5_000,
            "decoded_bytes_max": 20_000,
        }
    )
    app = create_app(settings, http=httpx.AsyncClient(transport=httpx.MockTransport(billing)))
    async with (
        LifespanManager(app, startup_timeout=600, shutdown_timeout=600),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://dis") as client,
    ):
        yield client


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service with its store."""
    async with hub(store_url) as http:
        deadline = time.monotonic() + WAIT_S
        while (await http.get("/ready")).status_code != 200:
            assert time.monotonic() < deadline, "not ready within the bound"
            await asyncio.sleep(0.01)
        yield http


def now_ms() -> int:
    return int(time.time() * 1000)


def headers_of(answer: httpx.Response) -> dict[str, Any]:
    """Those that differ from answer to answer left out."""
    changing = {"x-request-id", "content-length"}
    return {name: value for name, value in answer.headers.items() if name not in changing}


async def test_what_telegraf_sends_is_stored(client, store_url):
    """`outputs.influxdb` (Basic, gzip, form for its database) and `outputs.influxdb_v2` (Token,
    bucket): each number is a sample of its series at its time; 204 without a body; and again.
    """
    at = now_ms()
    line = (
        'cpu,cpu=cpu-total,host=a usage_idle=97.48427672955975,n=3i,u=7u,ok=true,s="x\ny"'
        f" {at}123456\n"
    )
    basic = base64.b64encode(f"telegraf:{WRITER}".encode()).decode()
    sent = {"Content-Type": "text/plain; charset=utf-8", "Content-Encoding": "gzip"}
    ways = (
        (V1, {"db": "telegraf"}, {"Authorization": f"Basic {basic}"}),
        (V2, {"bucket": "telegraf", "org": "o"}, token(WRITER)),
    )
    for path, query, who in ways:
        body = gzip.compress(line.encode())
        answer = await client.post(path, params=query, content=body, headers=sent | who)
        assert (answer.status_code, answer.content) == (204, b"")
        assert headers_of(answer) == VERSION
    labels = {"cpu": "cpu-total", "host": "a", "db": "telegraf"}
    expected = [
        ({"__name__": f"cpu_{field}", **labels}, at, value)
        for field, value in (("usage_idle", 97.48427672955975), ("n", 3.0), ("u", 7.0), ("ok", 1.0))
    ]
    assert await stored(store_url) == expected * 2


async def test_every_path_and_every_credential(client, store_url):
    """With and without `/influx` and a slash at the end; Token, Bearer, Basic, `u` and `p`."""
    at = now_ms()
    paths = ("/write", "/influx/write", "/api/v2/write", "/influx/api/v2/write")
    for path in (*paths, *(f"{path}/" for path in paths)):
        answer = await client.post(
            path, params={"precision": "ms"}, content=f"m v=1 {at}", headers=token(WRITER)
        )
        assert answer.status_code == 204
    for path in (V1, V2):
        query = {"u": "any", "p": WRITER, "precision": "ms"}
        assert (await client.post(path, params=query, content=f"m v=1 {at}")).status_code == 204
    assert await stored(store_url) == [({"__name__": "m_v"}, at, 1.0)] * 10


async def test_part_of_a_request_is_refused(client, store_url):
    """400 in the words of each version: what could be stored is, and the text has counts, the
    first reason and, in "partial write", what makes old Telegrafs drop the rest.
    """
    at = now_ms()
    body = f"m v=1 {at}\nbroken\nm,a= v=1,w=2 {at}\nm v=2 1\n"
    text = (
        "partial write: 4 samples refused (invalid_labels=2 malformed_line=1 too_old=1), 1 stored;"
        " first: unable to parse 'broken': missing fields (line 2, byte 26) dropped=4"
    )
    expected = {V1: {"error": text}, V2: {"code": "invalid", "message": text}}
    for path, answer_body in expected.items():
        answer = await client.post(
            path, params={"precision": "ms"}, content=body, headers=token(WRITER)
        )
        assert (answer.status_code, answer.json()) == (400, answer_body)
        assert headers_of(answer) == VERSION | {"content-type": "application/json"}
    assert await stored(store_url) == [({"__name__": "m_v"}, at, 1.0)] * 2


BOMB = gzip.compress(b"m v=1\n" * 5_000)


UNREADABLE: dict[str, Any] = {"content": b"m v=1", "headers": {"Content-Encoding": "gzip"}}
REFUSED: tuple[tuple[dict[str, Any], int, str, str], ...] = (
    ({}, 401, "unauthorized", "send an API key or a token"),
    ({"headers": token("nonsense")}, 401, "unauthorized", "credential"),
    ({"headers": token(READER)}, 403, "forbidden", "lacks the scope"),
    ({"content": b"m" * 5_001}, 413, "request too large", "limit=5000"),
    ({**UNREADABLE, "content": BOMB}, 413, "request too large", "decompressed"),
    (UNREADABLE, 400, "invalid", "it is not gzip"),
    ({"headers": {"Content-Encoding": "br"}}, 415, "invalid", "gzip, zstd or deflate"),
    ({"params": {"precision": "d"}}, 400, "invalid", "precision 'd'"),
)


async def test_a_request_is_refused_whole(client, store_url):
    """Each version tells it in its own JSON, 401 with how to sign in; nothing is stored."""
    challenges = {V1: 'Basic realm="cloudopshub"', V2: 'Token realm="cloudopshub"'}
    for sent, status, code, text in REFUSED:
        credentials = {} if status in {401, 403} else token(WRITER)
        for path in (V1, V2):
            headers = {**credentials, **sent.get("headers", {})}
            answer = await client.post(path, **{"content": b"m v=1", **sent, "headers": headers})
            assert answer.status_code == status, answer.text
            body = answer.json()
            assert text in body.pop("error" if path == V1 else "message")
            assert body == ({} if path == V1 else {"code": code})
            extra = {"www-authenticate": challenges[path]} if status == 401 else {}
            assert headers_of(answer) == VERSION | {"content-type": "application/json"} | extra
    assert await stored(store_url) == []


async def test_over_the_rate(client):
    """What Telegraf must send again it is told so: version 1 hears 503, as it drops on every 4xx,
    version 2 hears 429; both with the seconds to wait.
    """
    first = await client.post(V1, content=b"m v=1", headers=token(SLOW))
    assert first.status_code == 204
    for path, status in ((V1, 503), (V2, 429)):
        answer = await client.post(path, content=b"m v=1,w=2", headers=token(SLOW))
        assert answer.status_code == status
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["content-type"] == "application/json"
        code = {} if path == V1 else {"code": "too many requests"}
        assert answer.json().items() >= code.items()


async def test_without_a_store_everybody_comes_again():
    """503 and Retry-After for both, so that nothing is dropped while Postgres is away."""
    async with hub("postgresql://nobody@127.0.0.1:1/nothing") as client:
        for path, code in ((V1, {}), (V2, {"code": "unavailable"})):
            answer = await client.post(path, content=b"m v=1", headers=token(WRITER))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json().items() >= code.items()


async def test_what_clients_ask_before_they_write(client):
    """Ping and health need no key; CREATE DATABASE and SHOW DATABASES do, and are JSON, whether
    the statement is in the query or in a form; other InfluxQL is refused.
    """
    for path in ("/ping", "/influx/ping", "/ping/"):
        for answer in (await client.get(path), await client.head(path)):
            assert (answer.status_code, answer.content) == (204, b"")
            assert headers_of(answer) == VERSION
    health = await client.get("/influx/health")
    assert (health.status_code, health.json()["status"]) == (200, "pass")
    assert (await client.get("/health")).json() == {"status": "ok"}
    done = {"results": [{"statement_id": 0}]}
    create = {"q": 'CREATE DATABASE "telegraf"'}
    for path in ("/query", "/influx/query"):
        answers = [
            await client.post(path, data=create, headers=token(WRITER)),
            await client.post(path, params={**create, "u": "x", "p": WRITER}),
            await client.get(path, params={"q": "show databases;"}, headers=token(WRITER)),
        ]
        for answer in answers:
            assert (answer.status_code, answer.json()) == (200, done)
            assert headers_of(answer) == VERSION | {"content-type": "application/json"}
    endless = f"CREATE DATABASE{' ' * 60_000};x"  # a pattern that tries every blank takes hours
    for statement in ("SELECT * FROM cpu", "", "CREATE DATABASE x; DROP DATABASE y", endless):
        answer = await client.post("/query", data={"q": statement}, headers=token(WRITER))
        assert answer.status_code == 400
        assert "read with PromQL" in answer.json()["error"]
    refused = [
        (await client.post("/query", data=create), 401),
        (await client.post("/query", data=create, headers=token(READER)), 403),
        (await client.post("/query", content=b"q" * 65_537, headers=token(WRITER)), 413),
    ]
    for answer, status in refused:
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}


async def test_routes_are_counted_under_their_paths(client):
    """The request metrics know the routes, so nothing from outside becomes a label."""
    for path in ("/ping", "/influx/ping"):
        await client.get(path)
    await client.post("/influx/write/", content=b"m v=1")
    metrics = (await client.get("/metrics")).text
    for route in ('route="/ping"', 'route="/influx/ping"', 'route="/influx/write"'):
        assert route in metrics
