"""Composition root of the web process: adapters are chosen here and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import httpx
from fastapi import FastAPI
from prometheus_client import REGISTRY
from sqlalchemy import text

from analysis_processing import __version__
from analysis_processing.api import analyses, events, jobs, reports, results, watch
from analysis_processing.api.deps import Services
from analysis_processing.chassis import probes, problems
from analysis_processing.chassis.clock import Clock
from analysis_processing.chassis.identity import IdentityClient
from analysis_processing.chassis.identity.billing import Billing
from analysis_processing.chassis.telemetry import RequestLog
from analysis_processing.clients.doors import Doors
from analysis_processing.jobs.claims import TimeOf, database_clock
from analysis_processing.jobs.database import engine_for, transaction
from analysis_processing.jobs.metrics import QueueMetrics
from analysis_processing.jobs.rounds import for_ever
from analysis_processing.jobs.usage import deliver
from analysis_processing.reports.issues import Issuer
from analysis_processing.settings import Settings
from analysis_processing.watch.defaults import Seeder


def create_app(
    settings: Settings, *, http: httpx.AsyncClient | None = None, clock: Clock | None = None
) -> FastAPI:
    """The service; it connects to nothing before its lifespan begins.

    http: the way to user-billing-service, which stays its owner's. clock: the time of day, the
    database's unless a test moves its own.
    """
    engine = engine_for(settings.database_url.get_secret_value())
    client = http or httpx.AsyncClient(timeout=5.0)
    secret = settings.service_token.get_secret_value()
    billing = Billing(settings.ubs_url, secret, client)
    identity = IdentityClient(
        settings.ubs_url, secret, "aps", client, clock, proxies=settings.proxies
    )
    drain = probes.Drain()
    queue = QueueMetrics(engine)

    data_api = Doors(settings, client, identity).das
    seeder = Seeder(engine, time_of(clock), billing, data_api, settings)
    issuer = Issuer(engine, time_of(clock), data_api, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await identity.start()
        REGISTRY.register(queue)
        works = [
            for_ever("usage_waits", lambda: deliver(engine, billing)),
            for_ever("reports_wait", lambda: anyio.to_thread.run_sync(issuer.round)),
        ]
        if settings.watch_defaults:
            works.append(for_ever("default_watches_wait", seeder.round))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            REGISTRY.unregister(queue)
            await identity.close()
            if http is None:
                await client.aclose()
            engine.dispose()

    async def database() -> str:
        def ask() -> None:
            with transaction(engine) as db:
                db.execute(text("SELECT 1 FROM analysis.job LIMIT 0"))

        await anyio.to_thread.run_sync(ask)
        return "schema analysis is there"

    app = FastAPI(
        title="CloudOpsHub analysis-processing-service",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # behind the door's prefix, a redirect would lead out of it
        description="Analysis jobs over a tenant's metrics.",
    )
    streams = asyncio.Semaphore(jobs.STREAMS_MAX)
    app.state.services = Services(
        settings, engine, identity, time_of(clock), drain, data_api, streams
    )
    app.add_middleware(RequestLog, service="aps")
    problems.install(app)
    checks = {"database": database, "user-billing-service": identity.check}
    app.include_router(probes.router(checks, drain=drain))
    app.include_router(analyses.router)
    app.include_router(jobs.router)
    app.include_router(results.router)
    app.include_router(watch.router)
    app.include_router(events.router)
    app.include_router(reports.router)
    return app


def time_of(clock: Clock | None) -> TimeOf:
    """The database's clock, which all workers share, or `clock` in its place."""
    if clock is None:
        return database_clock
    return lambda _: clock.now()
