"""The composition root: adapters are chosen and wired here, and nowhere else."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import httpx
from fastapi import FastAPI

from data_api import __version__, promql
from data_api.admission import SamplePool
from data_api.api import deps, exemplars, export, presence, prometheus, ranges
from data_api.api.read_first import ReadFirst
from data_api.chassis import probes, problems
from data_api.chassis.clock import Clock
from data_api.chassis.identity import IdentityClient
from data_api.chassis.objects import Bucket, Directory, open_store
from data_api.chassis.telemetry import RequestLog
from data_api.engine import Engine, EngineLimits
from data_api.settings import Settings
from data_api.store import fragments
from data_api.store.block import BlockReader
from data_api.store.catalogue import Catalogue, Database
from data_api.store.reader import Store
from data_api.store.rollups import RollupReader
from data_api.turns import Turns

SWITCH_INTERVAL_S = 0.0005
"""After so long in Python code a thread lets others go on, should they wait: the event loop, which
needs it a dozen times for each request, beside threads that build label sets."""
FULL_COLLECTIONS = 1000
"""Garbage collections of the middle generation before one of all objects, which stands still for
all: 100 ms where a query holds 100,000 label sets. What a query makes has no cycles."""
PREFIXES = ("/api/v1", "/prometheus/api/v1")


def _warm_up() -> None:
    promql.warm_up()
    fragments.kernels()


def create_app(
    settings: Settings,
    *,
    http: httpx.AsyncClient | None = None,
    clock: Clock | None = None,
) -> FastAPI:
    """The service; it connects to nothing before its lifespan begins.

    http: the way to user-billing-service, which stays its owner's. clock: the time of day, the
    machine's unless a test moves its own.
    """
    clock = clock or Clock()
    client = http or httpx.AsyncClient()
    database = Database(settings.database_url.get_secret_value(), settings.pool_connections)
    objects = open_store(settings.object_store_url, Directory, Bucket)
    catalogue = Catalogue(database, settings.head_bytes_max)
    blocks = BlockReader(objects, settings.block_cache_bytes_max)
    rollups = RollupReader(objects, settings.block_cache_bytes_max // 4)
    store = Store(catalogue, blocks, objects, rollups)
    engine = Engine(
        store,
        EngineLimits(
            samples_max=settings.query_samples_max,
            answer_bytes_max=settings.answer_bytes_max,
            concurrency_max=settings.query_concurrency,
            timeout_s=settings.query_timeout_s,
            queue_timeout_s=settings.queue_timeout_s,
            lookback_ms=round(settings.lookback_s * 1000),
        ),
        Turns(settings.query_threads),
        SamplePool(settings.samples_held_max),
        settings.query_queue,
        now_ms=clock.now_ms,
    )
    identity = IdentityClient(
        settings.ubs_url, settings.service_token.get_secret_value(), "das", client, clock
    )
    drain = probes.Drain()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.set_threshold(700, 10, FULL_COLLECTIONS)
        async with database:
            await identity.start()
            # Beside the serving: the first query should not wait for kernels, nor the start.
            warming = asyncio.create_task(anyio.to_thread.run_sync(_warm_up))
            try:
                yield
            finally:
                await warming
                await anyio.to_thread.run_sync(engine.close)
                await identity.close()
                if http is None:
                    await client.aclose()

    app = ReadFirst(
        "das",
        title="data-api-service",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # behind the door's prefix, a redirect would lead out of it
    )
    app.state.services = deps.Services(engine, identity, clock, drain)
    problems.install(app)
    checks = {
        "postgres": catalogue.check_postgres,
        "metrics schema": catalogue.check_schema,
    }
    # Without blocks the newest samples are still answered, without ubs known callers are.
    partial = {"object store": store.check_objects, "identity": identity.check}
    probe_routes = probes.router(checks, partial=partial, drain=drain)
    app.include_router(probe_routes)
    app.include_router(presence.router(probe_routes))
    for number, prefix in enumerate(PREFIXES):
        for routes in (ranges.routes, export.routes, exemplars.routes, prometheus.routes):
            app.include_router(routes, prefix=prefix, include_in_schema=number == 0)
        app.add_reads(prometheus.routes, prefix)
    app.add_middleware(RequestLog, service="das")
    return app
