"""The composition root: adapters are chosen and wired here, and nowhere else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final
from uuid import UUID

import anyio.to_thread
import httpx
from fastapi import FastAPI

from data_api import __version__, promql
from data_api.admission import SamplePool
from data_api.api import (
    alertmanager,
    arrow,
    backfills,
    backtests,
    chart,
    deps,
    exemplars,
    export,
    federate,
    presence,
    prometheus,
    ranges,
    remote_read,
    rules,
    status,
    syntax,
    targets,
)
from data_api.api.read_first import ReadFirst
from data_api.chassis import probes, problems
from data_api.chassis.clock import Clock
from data_api.chassis.guard import parse_networks
from data_api.chassis.identity import IdentityClient
from data_api.chassis.kinds import ServiceError
from data_api.chassis.telemetry import RequestLog
from data_api.engine import Engine, EngineLimits
from data_api.notify.seal import Sealer
from data_api.notify.sending import Sender
from data_api.notify.service import Notifications
from data_api.rules.backfill import Backfills
from data_api.rules.repository import Rules, bounds_of
from data_api.settings import Settings
from data_api.store import fragments
from data_api.store.catalogue import Database
from data_api.store.source import Source
from data_api.tuning import tune
from data_api.turns import Turns
from data_api.usage import QueryUsage
from data_api.workers.pool import Workers
from data_api.workers.process import Conditions

RULES_CONNECTIONS = 2
WORKER_CONNECTIONS: Final = 2
WORKER_HEAD_SHARE: Final = 2  # of what the service keeps decoded, one part in each worker
WORKER_BLOCK_SHARE: Final = 4
PREFIXES = ("/api/v1", "/prometheus/api/v1")
API = (
    ranges,
    export,
    arrow,
    chart,
    exemplars,
    remote_read,
    rules,
    backtests,
    backfills,
    status,
    syntax,
    targets,
    prometheus,
)
"""The modules of the API's routes; the last one answers whatever no other does."""


def _warm_up() -> None:
    fragments.kernels()
    promql.warm_up()


def _install_errors(app: FastAPI) -> None:
    app.state.api_routes = [route for one in API for route in one.routes.routes]
    problems.install(app)
    app.exception_handlers[ServiceError] = remote_read.as_text(app.exception_handlers[ServiceError])


def _engine(
    settings: Settings, clock: Clock, used: Callable[[UUID, int], None]
) -> tuple[Database, Engine, Workers | None]:
    """The engine, the connections that its store reads by, and the workers that it may have."""
    source = Source(
        settings.database_url.get_secret_value(),
        settings.object_store_url,
        settings.pool_connections,
        settings.head_bytes_max,
        settings.block_cache_bytes_max,
    )
    database, store = source.opened()
    conditions = Conditions(
        replace(
            source,
            connections=WORKER_CONNECTIONS,
            head_bytes_max=source.head_bytes_max // WORKER_HEAD_SHARE,
            block_cache_bytes_max=source.block_cache_bytes_max // WORKER_BLOCK_SHARE,
        ),
        settings.worker_bytes_max,
        settings.log_level,
    )
    workers = Workers(conditions, settings.query_workers) if settings.query_workers else None
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
        workers=workers,
        used=used,
    )
    return database, engine, workers


def _include_routes(app: ReadFirst) -> None:
    for number, prefix in enumerate(PREFIXES):
        app.include_router(prometheus.preflights, prefix=prefix)
        for one in API:
            app.include_router(one.routes, prefix=prefix, include_in_schema=number == 0)
        app.add_reads(prometheus.routes, prefix)
    for prefix in federate.PREFIXES:
        app.include_router(federate.routes, prefix=prefix, include_in_schema=not prefix)
    app.include_router(alertmanager.routes)
    app.include_router(rules.config_routes)
    app.include_router(rules.config_routes, prefix="/prometheus", include_in_schema=False)


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
    # Of its own: a query tries a lost session once more, and finds no other one's lost session.
    rules_database = Database(
        settings.database_url.get_secret_value(), RULES_CONNECTIONS, pings=True
    )
    query_usage = QueryUsage(rules_database, clock)
    database, engine, workers = _engine(settings, clock, query_usage.add)
    store = engine.store
    token = settings.service_token.get_secret_value()
    identity = IdentityClient(
        settings.ubs_url, token, "das", client, clock, proxies=settings.proxies
    )
    drain = probes.Drain()
    groups = Rules(rules_database, bounds_of(settings))
    notifications = Notifications(
        rules_database,
        Sealer(settings.sealing_secret()),
        Sender(parse_networks(settings.notify_allow)),
        settings.ui_public_url,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tune()
        async with database, rules_database:
            await identity.start()
            # Beside the serving: the first query should not wait for kernels, nor the start.
            warming = asyncio.create_task(anyio.to_thread.run_sync(_warm_up))
            measuring = asyncio.create_task(groups.measure())
            counting = asyncio.create_task(query_usage.run())
            try:
                yield
            finally:
                measuring.cancel()
                counting.cancel()
                await asyncio.wait([warming, measuring, counting])
                await anyio.to_thread.run_sync(engine.close)
                with contextlib.suppress(ServiceError):
                    await query_usage.flush()
                if workers is not None:
                    await workers.close()
                await identity.close()
                await notifications.close()
                if http is None:
                    await client.aclose()

    app = ReadFirst(
        "das",
        title="data-api-service",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # behind the door's prefix, a redirect would lead out of it
    )
    app.state.services = deps.Services(
        engine, identity, clock, drain, groups, Backfills(rules_database), notifications
    )
    app.state.targets = targets.Targets(settings.dis_url, client, identity)
    _install_errors(app)
    checks = {
        "postgres": store.catalogue.check_postgres,
        "metrics schema": store.catalogue.check_schema,
    }
    # Without blocks the newest samples are still answered, without ubs known callers are.
    partial = {
        "object store": store.check_objects,
        "identity": identity.check,
        "rules schema": groups.check,
    }
    probe_routes = probes.router(checks, partial=partial, drain=drain)
    app.include_router(probe_routes)
    app.include_router(presence.router(probe_routes))
    _include_routes(app)
    app.add_middleware(RequestLog, service="das")
    return app
