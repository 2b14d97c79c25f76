"""A real Postgres for the run, a tenant for each test, and a ubs that answers by mock."""

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from asgi_lifespan import LifespanManager
from embedded_postgres import execute, fresh_database, running_postgres
from factories import SCHEMA, Ingest
from hypothesis import settings as hypothesis_settings

from data_api import migrate
from data_api.app import create_app
from data_api.chassis.clock import Clock
from data_api.chassis.identity.keys import checksum
from data_api.settings import Settings

# No test is timed: the first call of a kernel loads it, and the machine may be busy.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def database_url(server_url: str) -> Iterator[str]:
    with fresh_database(server_url, "das") as url:
        execute(url, SCHEMA)
        migrate.upgrade(url)
        yield url


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
async def ingest(database_url: str, objects: Path) -> AsyncIterator[Ingest]:
    connection = await asyncpg.connect(database_url)
    yield Ingest(connection, objects)
    await connection.close()


@dataclass
class Hub:
    """user-billing-service as seen from here: keys, each of a tenant with scopes and limits."""

    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    down: bool = False
    targets: dict[str, Any] | None = None  # what data-ingest-service scrapes; None: it fails
    asked: list[Any] = field(default_factory=list)  # of it: whose token, what

    def key(
        self, tenant: uuid.UUID, *, scopes: tuple[str, ...] = ("metrics:read",), **limits: Any
    ) -> str:
        """A fresh API key of `tenant`."""
        body = f"coh_live_{uuid.uuid4().hex}"
        key = body + checksum(body)
        self.keys[key] = {
            "active": True,
            "key_id": str(uuid.uuid4()),
            "tenant": str(tenant),
            "scopes": list(scopes),
            "expires_at": None,
            "ttl_s": 60,
            "limits": {"plan": "showback", **limits},
        }
        return key

    def handle(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused")
        match request.url.path:
            case "/internal/introspect":
                found = self.keys.get(json.loads(request.content)["key"])
                return httpx.Response(200, json=found or {"active": False, "reason": "unknown"})
            case "/internal/revocations":
                return httpx.Response(200, json={"seq": 0, "revocations": []})
            case "/internal/token":
                wanted = json.loads(request.content)
                assert (wanted["audience"], wanted["service"]) == ("dis", "das")
                token = f"token of {wanted['tenant']}"
                return httpx.Response(200, json={"token": token, "expires_in_s": 300})
            case "/api/v1/targets":
                token = request.headers["authorization"].removeprefix("Bearer ")
                self.asked.append((token, dict(request.url.params)))
                status = 500 if self.targets is None else 200
                return httpx.Response(status, json={"status": "success", "data": self.targets})
            case "/health":
                return httpx.Response(200, json={"status": "ok"})
            case _:
                return httpx.Response(404)


@pytest.fixture
def hub() -> Hub:
    return Hub()


def make_settings(database_url: str, objects: Path, **more: Any) -> Settings:
    return Settings(
        database_url=database_url,
        object_store_url=objects.as_uri(),
        ubs_url="http://ubs",
        service_token="s" * 43,
        **{"queue_timeout_s": 600.0, **more},
    )


NOW_MS = 1_800_000_000_000


class FixedClock(Clock):
    """It is always NOW_MS."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(NOW_MS / 1000, UTC)


@pytest.fixture
async def serve(database_url: str, objects: Path, hub: Hub) -> AsyncIterator[Callable[..., Any]]:
    """Starts the service with these settings and gives a client of it; ends with the test."""
    opened: list[Any] = []

    async def start(**more: Any) -> httpx.AsyncClient:
        settings = make_settings(more.pop("database_url", database_url), objects, **more)
        billing = httpx.AsyncClient(transport=httpx.MockTransport(hub.handle))
        app = create_app(settings, http=billing, clock=FixedClock())
        manager = LifespanManager(app, startup_timeout=600, shutdown_timeout=600)
        await manager.__aenter__()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://das")
        opened.extend([billing, manager, client])
        return client

    yield start
    for one in reversed(opened):
        await (
            one.__aexit__(None, None, None) if isinstance(one, LifespanManager) else one.aclose()
        )


@pytest.fixture
def tenant() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
async def das(serve: Callable[..., Any], hub: Hub, tenant: uuid.UUID) -> httpx.AsyncClient:
    """The running service as a reader of `tenant` sees it."""
    client: httpx.AsyncClient = await serve()
    client.headers["X-API-Key"] = hub.key(tenant)
    return client
