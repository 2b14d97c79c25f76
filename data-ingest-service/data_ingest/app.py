"""Wiring: which parts there are, in which order they start and stop.

    start: writer (connects by itself) ─ identity ─ background ─ listeners; stop: backwards

Nothing here waits for Postgres: a service that starts before it stays up, says so in /ready and
recovers by itself.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio.to_thread
import asyncpg
import httpx
from fastapi import FastAPI

from data_ingest import __version__
from data_ingest.api import body, delete_series, imports, influx, reading, write
from data_ingest.background.compaction_health import LATE_S, CompactionHealth
from data_ingest.background.tasks import Background
from data_ingest.chassis import problems
from data_ingest.chassis.clock import Clock
from data_ingest.chassis.identity import IdentityClient
from data_ingest.chassis.identity.billing import Billing
from data_ingest.chassis.objects import open_store
from data_ingest.chassis.probes import Drain, router
from data_ingest.chassis.telemetry import RequestLog
from data_ingest.imports.worker import Worker
from data_ingest.labels import LabelRules
from data_ingest.listeners import listener
from data_ingest.pipeline import Pipeline
from data_ingest.protocols import all_protocols, otlp
from data_ingest.protocols.influx import Naming
from data_ingest.protocols.protocol import Bounds
from data_ingest.replicas import ReplicaLabels
from data_ingest.scrape.scraper import Scraper
from data_ingest.settings import Settings
from data_ingest.store.elections import Elections
from data_ingest.store.objects import ArrowObjects, DirectoryObjects
from data_ingest.store.rate_leases import RateLeases
from data_ingest.store.series import SeriesCache
from data_ingest.store.shared import SharedDecisions
from data_ingest.store.tables import SCHEMA
from data_ingest.store.write_queue import WriterBounds
from data_ingest.store.writer import Writer


@dataclass(frozen=True, slots=True)
class Services:
    """What the app is made of, kept in `app.state.services`."""

    settings: Settings
    writer: Writer
    pipeline: Pipeline
    identity: IdentityClient
    drain: Drain


def create_app(
    settings: Settings,
    *,
    http: httpx.AsyncClient | None = None,
    clock: Clock | None = None,
) -> FastAPI:
    """The service; it connects to nothing before its lifespan begins.

    http: the way to the other services and to what is scraped, which stays its owner's. clock: the
    time of day, the machine's unless a test moves its own.
    """
    clock = clock or Clock()
    database_url = settings.database_url.get_secret_value()
    client = http or httpx.AsyncClient(timeout=10.0)
    token = settings.service_token.get_secret_value()
    identity = IdentityClient(
        settings.ubs_url, token, "dis", client, clock, proxies=settings.proxies
    )
    writer = Writer(database_url, writer_bounds(settings))
    shared = SharedDecisions(database_url)
    pipeline = Pipeline(
        SeriesCache(settings.series_cache_bytes_max),
        writer,
        LabelRules(
            settings.labels_max, settings.label_name_bytes_max, settings.label_value_bytes_max
        ),
        future_ms_max=settings.future_ms_max,
        active_window_s=settings.series_active_window_s,
        rates=RateLeases(shared),
        elections=elections(settings, shared),
        clock=clock.now_s,
    )
    objects = open_store(settings.object_store_url, DirectoryObjects, ArrowObjects)
    compaction = CompactionHealth(settings.compaction_delay_s + LATE_S)
    scraper = Scraper(settings, pipeline.ingest, identity.home_organisation, http, clock)
    billing = Billing(settings.ubs_url, settings.service_token.get_secret_value(), client)
    worker = Worker(database_url, objects, settings.object_store_url, pipeline)
    background = Background(settings, scraper, objects, clock, billing, compaction, worker)
    drain = Drain()
    listeners = listener.configured(settings, identity, pipeline, clock)

    async def object_store() -> str:
        return await anyio.to_thread.run_sync(objects.check)

    checks: Mapping[str, Callable[[], Awaitable[str]]] = {
        "postgres": lambda: _ping(database_url, writer)
    }
    # Writes need neither blocks nor compaction; without ubs the keys known here still write.
    partial: Mapping[str, Callable[[], Awaitable[str]]] = {
        "object_store": object_store,
        "user-billing-service": identity.check,
        **({"compaction": compaction.check} if settings.background else {}),
        **{f"{one.protocol} listener": one.check for one in listeners},
    }

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await writer.start()
        await identity.start()
        try:
            async with background.running(), listener.running(listeners):
                yield
        finally:
            await identity.close()
            await writer.close()
            await shared.close()
            if http is None:
                await client.aclose()

    app = write.WriteFirst(
        "dis",
        title="CloudOpsHub data-ingest-service",
        summary="The write side of metrics.",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # behind the door's prefix, a redirect would lead out of it
    )
    app.state.services = Services(settings, writer, pipeline, identity, drain)
    app.add_middleware(RequestLog, service="dis")
    problems.install(app)
    app.include_router(router(checks, partial=partial, drain=drain))
    pace = body.Pace(
        settings.body_timeout_s, settings.body_stretch_s, settings.body_bytes_per_s_min
    )
    write_path = write.WritePath(
        identity,
        pipeline,
        body.MemoryBudget(settings.inflight_bytes_max),
        Bounds(settings.decoded_bytes_max, settings.request_samples_max),
        settings.body_bytes_max,
        pace,
        clock.now_s,
    )
    uploads = imports.Uploads(objects, settings.import_bytes_max, pace)
    app.include_router(imports.Imports(identity, database_url, uploads).router)
    app.include_router(reading.router(identity, database_url))
    app.include_router(delete_series.router(identity, database_url))
    naming = Naming(
        settings.influx_db_label, settings.influx_bare_value, settings.influx_utf8_names
    )
    app.add_writes(write.routes(all_protocols(naming, otlp_options(settings)), write_path))
    app.include_router(influx.router(write_path))
    return app


def writer_bounds(settings: Settings) -> WriterBounds:
    """The settings that concern the writer."""
    return WriterBounds(
        queue_samples_max=settings.queue_samples_max,
        flush_samples_max=settings.flush_samples_max,
        flush_new_series_max=settings.flush_new_series_max,
        commit_timeout_s=settings.commit_timeout_s,
        reconnect_delay_s_max=settings.reconnect_delay_s_max,
        active_window_s=settings.series_active_window_s,
    )


def elections(settings: Settings, shared: SharedDecisions) -> Elections:
    """The settings that concern pairs of replicas."""
    names = settings.ha_cluster_label.encode(), settings.ha_replica_label.encode()
    return Elections(
        shared,
        ReplicaLabels(*names),
        failover_s=settings.ha_failover_s,
        clusters_max=settings.ha_clusters_max,
    )


def otlp_options(settings: Settings) -> otlp.Options:
    """The settings that concern OTLP."""
    promoted = filter(None, map(str.strip, settings.otlp_promote.split(",")))
    return otlp.Options(
        otlp.LabelOptions(
            otlp.STYLES[settings.otlp_names], frozenset(promoted), settings.otlp_scope_labels
        ),
        settings.otlp_delta_series_max if settings.otlp_delta == "cumulative" else 0,
    )


async def _ping(database_url: str, writer: Writer) -> str:
    """Postgres answers a new connection, and the writer has its own."""
    conn = await asyncpg.connect(database_url, timeout=2, command_timeout=2)
    try:
        if await conn.fetchval("SELECT to_regclass('metrics.batch')") is None:
            raise SCHEMA.not_migrated()
    finally:
        await conn.close(timeout=1)
    return await writer.check()
