"""Composition root of the web process: adapters are chosen here and nowhere else."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio.to_thread
import httpx
from fastapi import FastAPI
from prometheus_client import REGISTRY
from sqlalchemy import text

from analysis_processing import __version__
from analysis_processing.api import analyses, jobs, probes, problems
from analysis_processing.api.deps import Services
from analysis_processing.identity import IdentityClient
from analysis_processing.jobs.claims import Clock, database_clock
from analysis_processing.jobs.database import engine_for, transaction
from analysis_processing.jobs.metrics import QueueMetrics
from analysis_processing.telemetry import RequestLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from analysis_processing.settings import Settings


def create_app(
    settings: Settings,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock = database_clock,
) -> FastAPI:
    """The service; nothing is connected before its lifespan starts.

    transport: how user-billing-service is reached, for tests.
    """
    engine = engine_for(settings.database_url.get_secret_value())
    http = httpx.AsyncClient(transport=transport, timeout=5.0)
    secret = settings.service_token.get_secret_value()
    identity = IdentityClient(settings.ubs_url, secret, "aps", http)
    drain = probes.Drain()
    queue = QueueMetrics(engine)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await identity.start()
        REGISTRY.register(queue)
        try:
            yield
        finally:
            REGISTRY.unregister(queue)
            await identity.close()
            await http.aclose()
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
    app.state.services = Services(settings, engine, identity, clock)
    app.state.drain = drain
    app.add_middleware(RequestLog, service="aps")
    problems.install(app)
    checks = {"database": database, "user-billing-service": identity.check}
    app.include_router(probes.router(checks, drain=drain))
    app.include_router(analyses.router)
    app.include_router(jobs.router)
    return app
