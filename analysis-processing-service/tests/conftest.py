"""A real Postgres for the whole run, migrated once, emptied after each test that used it."""

import os
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from asgi_lifespan import LifespanManager
from hypothesis import settings as hypothesis_settings
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).resolve().parent))

from embedded_postgres import fresh_database, running_postgres
from neighbours import Neighbours, api_key
from stored import NOW

from analysis_processing import migrate
from analysis_processing.app import create_app
from analysis_processing.chassis.clock import Clock
from analysis_processing.jobs.database import engine_for
from analysis_processing.settings import Settings

hypothesis_settings.register_profile("steady", derandomize=True, deadline=None, max_examples=40)
hypothesis_settings.load_profile("steady")

SERVICE_TOKEN = "a-service-token-of-43-characters-for-tests-"


@pytest.fixture(scope="session")
def server_url():
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def database_url(server_url):
    with fresh_database(server_url, "aps") as url:
        migrate.upgrade(url)
        yield url


@pytest.fixture
def engine(database_url):
    engine = engine_for(database_url)
    yield engine
    with engine.begin() as db:
        tables = "job, watch, watch_tenant, watch_default, event, silence, report"
        db.execute(
            text(f"TRUNCATE {', '.join(f'analysis.{t}' for t in tables.split(', '))} CASCADE")
        )
    engine.dispose()


@pytest.fixture
def settings(database_url):
    """Settings of a service whose neighbours are only reachable through a test's transport."""
    return Settings(
        database_url=database_url,
        service_token=SERVICE_TOKEN,
        ubs_url="http://ubs.test",
        das_url="http://das.test",
        dis_url="http://dis.test",
    )


@pytest.fixture(scope="session")
def environment(database_url):
    """The environment in which a process of ours starts."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {
        "DATABASE_URL": database_url,
        "SERVICE_TOKEN": SERVICE_TOKEN,
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "error",
    }


class FixedClock(Clock):
    """It is always NOW."""

    def now(self):
        return NOW


@pytest.fixture
def neighbours():
    return Neighbours()


@pytest.fixture
def app(settings, engine, neighbours):
    return create_app(settings, http=neighbours.client(), clock=FixedClock())


@pytest.fixture
def call(app):
    """`call(method, path, key, …)`: one request to the running app."""

    @asynccontextmanager
    async def running():
        transport = httpx.ASGITransport(app=app)
        async with (
            LifespanManager(app),
            httpx.AsyncClient(transport=transport, base_url="http://aps") as client,
        ):
            yield client

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running()) as client,
    ):

        def one(method, path, key=None, *, extra=None, **more):
            headers = {"Content-Type": "application/json"} if "content" in more else {}
            headers |= {"X-API-Key": api_key(key)} if key else {}
            headers |= extra or {}
            return portal.call(partial(client.request, method, path, headers=headers, **more))

        yield one
