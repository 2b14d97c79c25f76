"""The composition root: adapters are chosen and wired here, and nowhere else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import httpx
from fastapi import FastAPI

from . import __version__, promql
from .api import deps, export, presence, probes, problems, prometheus
from .engine import Engine, EngineLimits
from .identity import IdentityClient
from .settings import Settings
from .store.block import BlockReader
from .store.catalogue import Catalogue, Database
from .store.objects import open_store
from .store.reader import Store
from .telemetry import RequestLog

PREFIXES = ("/api/v1", "/prometheus/api/v1")


def create_app(
    settings: Settings,
    *,
    http: httpx.AsyncClient | None = None,
    now_ms: Callable[[], int] = deps.wall_clock_ms,
) -> FastAPI:
    """The service. `http` stands in for the way to user-billing-service, `now_ms` for the clock."""
    client = http or httpx.AsyncClient()
    database = Database(settings.database_url.get_secret_value(), settings.das_pool_connections)
    threads = anyio.CapacityLimiter(settings.das_query_threads)
    objects = open_store(settings.object_store_url)
    catalogue = Catalogue(database, settings.das_head_bytes_max)
    blocks = BlockReader(objects, settings.das_block_cache_bytes_max)
    store = Store(catalogue, blocks, objects, threads)
    engine = Engine(
        store,
        EngineLimits(
            samples_max=settings.das_query_samples_max,
            concurrency_max=settings.das_query_concurrency,
            timeout_s=settings.das_query_timeout_s,
            queue_timeout_s=settings.das_queue_timeout_s,
            lookback_ms=round(settings.das_lookback_s * 1000),
        ),
        threads,
    )
    identity = IdentityClient(
        settings.ubs_url, settings.service_token.get_secret_value(), "das", client
    )
    drain = probes.Drain()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with database:
            await identity.start()
            # Beside the serving: the first query should not wait for kernels, nor the start.
            warming = asyncio.create_task(anyio.to_thread.run_sync(promql.warm_up))
            try:
                yield
            finally:
                await warming
                await identity.close()
                if http is None:
                    await client.aclose()

    app = FastAPI(
        title="data-api-service",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # behind the door's prefix, a redirect would lead out of it
    )
    app.state.services = deps.Services(engine, identity, now_ms)
    app.state.drain = drain
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
        for routes in (export.routes, prometheus.routes):
            app.include_router(routes, prefix=prefix, include_in_schema=number == 0)
    app.add_middleware(RequestLog, service="das")
    return app
