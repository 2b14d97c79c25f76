"""`python -m data_api.rules`: evaluates the groups of all tenants, beside other such processes.

A process of its own, with an engine and caches of its own, so that rules and people's queries do
not wait for each other. It serves no port.
"""

import asyncio
import contextlib
import signal
import sys
import uuid
from collections.abc import Sequence
from uuid import UUID

import anyio
import httpx
import structlog

from data_api import __version__
from data_api.admission import SamplePool
from data_api.chassis import telemetry
from data_api.chassis.clock import Clock
from data_api.chassis.identity import IdentityClient
from data_api.chassis.kinds import ServiceError
from data_api.chassis.objects import Bucket, Directory, open_store
from data_api.chassis.settings import load
from data_api.engine import Engine, EngineLimits
from data_api.notify import dispatcher
from data_api.notify.receive import receive
from data_api.rules.acting import Acting
from data_api.rules.backfill import Backfills
from data_api.rules.evaluator import Evaluator, Options, Outlets
from data_api.rules.folder import RuleFolder
from data_api.rules.leases import ROUND_S, Leases
from data_api.rules.model import Alert
from data_api.rules.repository import Rules, bounds_of
from data_api.settings import RulesSettings
from data_api.store.block import BlockReader
from data_api.store.catalogue import Catalogue, Database
from data_api.store.reader import Store
from data_api.store.rollups import RollupReader
from data_api.turns import Turns

log = structlog.get_logger()


def make_engine(settings: RulesSettings, database: Database, clock: Clock) -> Engine:
    """An engine with half the memory of the service's."""
    objects = open_store(settings.object_store_url, Directory, Bucket)
    cache_bytes = settings.block_cache_bytes_max // 2
    store = Store(
        Catalogue(database, settings.head_bytes_max // 2),
        BlockReader(objects, cache_bytes),
        objects,
        RollupReader(objects, cache_bytes // 4),
    )
    limits = EngineLimits(
        samples_max=settings.query_samples_max,
        answer_bytes_max=settings.answer_bytes_max,
        concurrency_max=settings.query_concurrency,
        timeout_s=settings.rules_timeout_s,
        queue_timeout_s=settings.queue_timeout_s,
        lookback_ms=round(settings.lookback_s * 1000),
    )
    return Engine(
        store,
        limits,
        Turns(2),
        SamplePool(settings.samples_held_max // 2),
        settings.query_queue,
        now_ms=clock.now_ms,
    )


async def follow_folder(folder: RuleFolder, stop: asyncio.Event) -> None:
    """The folder is looked at each ROUND_S until `stop`."""
    while not stop.is_set():
        try:
            await folder.sync()
        except (ServiceError, OSError) as exc:
            log.warning("rule_folder_not_read", reason=str(exc))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), ROUND_S)


async def run(settings: RulesSettings, clock: Clock, stop: asyncio.Event) -> None:
    """Groups are evaluated until `stop`."""
    connections = settings.rules_concurrency + 2 + dispatcher.TENANTS_AT_ONCE
    database = Database(settings.database_url.get_secret_value(), connections)
    engine = make_engine(settings, database, clock)
    token = settings.service_token.get_secret_value()

    async def notify(tenant: UUID, alerts: Sequence[Alert]) -> None:
        await receive(database, tenant, alerts, clock.now_ms())

    async with httpx.AsyncClient() as http, database:
        identity = IdentityClient(settings.ubs_url, token, "das", http, clock)
        acting = Acting(engine, identity, http, settings.dis_url, {})
        evaluator = Evaluator(
            Leases(database, uuid.uuid4()),
            acting,
            Outlets(notify),
            Options(
                settings.rules_concurrency,
                round(settings.rules_interval_s * 1000),
                settings.rules_timeout_s,
                settings.rules_series_max,
                settings.ui_public_url,
                settings.rules_alive_file,
            ),
            clock,
        )
        async with asyncio.TaskGroup() as group:
            if settings.rules_folder is not None:
                rules = Rules(database, bounds_of(settings))
                folder = RuleFolder(settings.rules_folder, rules, identity.home_organisation)
                group.create_task(follow_folder(folder, stop))
            notifier = group.create_task(dispatcher.run(database, settings, clock))
            backfills = group.create_task(Backfills(database).run(acting, stop))
            await evaluator.run(stop)
            notifier.cancel()
            backfills.cancel()  # the chunk is written again
        await anyio.to_thread.run_sync(engine.close)


async def until_signal(settings: RulesSettings) -> None:
    """Runs until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log.info("rules_started")
    await run(settings, Clock(), stop)
    log.info("rules_stopped")


def main() -> None:
    """The command."""
    settings = load(RulesSettings)
    telemetry.configure("das-rules", settings.log_level, __version__)
    try:
        asyncio.run(until_signal(settings))
    except ServiceError as exc:
        sys.exit(f"{settings.service} cannot evaluate rules: {exc}")


if __name__ == "__main__":
    main()
