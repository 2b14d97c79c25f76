"""A hub that imports: the service on a database of its own, keys of any tenant, and its routes."""

import asyncio
import contextlib
import json
import secrets
import string
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from data_ingest import migrate
from data_ingest.app import create_app
from data_ingest.chassis.identity.keys import checksum
from data_ingest.settings import Settings
from tests.embedded_postgres import fresh_database

WAIT_S = 600.0
NOW_MS = int(time.time() * 1000)
URL = "/api/v1/imports"
NDJSON = {"Content-Type": "application/x-ndjson"}
KEY_ID = str(UUID(int=7))
ALPHABET = string.ascii_letters + string.digits

_tenants: dict[str, tuple[UUID, list[str], int | None]] = {}
"""By key: its tenant, scopes, and samples a second."""


def new_key(tenant: UUID, *scopes: str, rate: int | None = None) -> str:
    start = "coh_live_" + "".join(secrets.choice(ALPHABET) for _ in range(32))
    key = start + checksum(start)
    _tenants[key] = tenant, list(scopes or ("metrics:read", "metrics:write")), rate
    return key


def billing(request: httpx.Request) -> httpx.Response:
    """The internal routes of user-billing-service."""
    if request.url.path != "/internal/introspect":
        return httpx.Response(200, json={"status": "ok", "seq": 0, "revocations": []})
    tenant, scopes, rate = _tenants[json.loads(request.content)["key"]]
    limits = {"retention_days": 30, "samples_per_s": rate, "active_series": 1000}
    facts = {"key_id": KEY_ID, "tenant": str(tenant), "scopes": scopes, "limits": limits}
    return httpx.Response(200, json={"active": True, "expires_at": None, "ttl_s": 60, **facts})


@dataclass
class Hub:
    app: FastAPI
    url: str
    folder: Path


@contextlib.asynccontextmanager
async def running(postgres: str, folder: Path, *, background: bool) -> AsyncIterator[Hub]:
    """The service, ready, on a database of its own."""
    with fresh_database(postgres, "imports") as url:
        migrate.upgrade(url)
        settings = Settings.model_validate(
            {
                "database_url": url,
                "object_store_url": f"file://{folder}",
                "ubs_url": "http://ubs",
                "service_token": "t" * 43,
                "scrape_host": False,
                "background": background,
                "import_bytes_max": 3_000_000,
                "compaction_interval_s": 3600,
            }
        )
        app = create_app(settings, http=httpx.AsyncClient(transport=httpx.MockTransport(billing)))
        async with LifespanManager(app, startup_timeout=600, shutdown_timeout=600):
            deadline = time.monotonic() + WAIT_S
            while (await client_of(app).get("/ready")).status_code != 200:
                assert time.monotonic() < deadline, "not ready within the bound"
                await asyncio.sleep(0.01)
            yield Hub(app, url, folder)


def client_of(app: FastAPI, key: str = "") -> httpx.AsyncClient:
    headers = {"X-API-Key": key} if key else {}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://dis", headers=headers
    )


async def submit(client: httpx.AsyncClient, body: bytes, query: str = "", **headers: str) -> Any:
    answer = await client.post(f"{URL}?{query}", content=body, headers={**NDJSON, **headers})
    assert answer.status_code == 202, answer.text
    return answer.json()["data"]


async def seen(client: httpx.AsyncClient, import_id: str) -> Any:
    return (await client.get(f"{URL}/{import_id}")).json()["data"]


async def ended(client: httpx.AsyncClient, import_id: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while (job := await seen(client, import_id))["finished_at"] is None:
        assert time.monotonic() < deadline, job
        await asyncio.sleep(0.05)
    return job
