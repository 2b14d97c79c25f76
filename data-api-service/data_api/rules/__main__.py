"""`python -m data_api.rules`: evaluates the groups of all tenants, beside other such processes.

A process of its own, with an engine and caches of its own, so that rules and people's queries do
not wait for each other. It serves no port.
"""

import asyncio
import contextlib
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from uuid import UUID

import anyio.to_thread
import httpx
import structlog

from data_api import __version__, usage
from data_api.admission import SamplePool
from data_api.chassis import memory, telemetry
from data_api.chassis.clock import Clock
from data_api.chassis.identity import IdentityClient
from data_api.chassis.identity.billing import Billing
from data_api.chassis.kinds import ServiceError
from data_api.chassis.objects import Bucket, Directory, open_store
from data_api.chassis.settings import load
from data_api.engine import Engine, EngineLimits
from data_api.notify import dispatcher
from data_api.notify.receive import receive
from data_api.rules.acting import Acting
from data_api.rules.backfill import Backfills
from data_api.rules.evaluator import Evaluator
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


def make_engine(
    settings: RulesSettings, database: Database, clock: Clock, used: Callable[[UUID, int], None]
) -> Engine:
    """An engine with half the memory of the service's. used: as the engine takes it."""
    objects = open_store(settings.object_store_url, Directory, Bucket)
    cache_bytes = settings.block_cache_bytes_max // 4
    store = Store(
        Catalogue(database, settings.head_bytes_max // 2),
        BlockReader(objects, cache_bytes),
        objects,
        RollupReader(objects, cache_bytes // 2),
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
        used=used,
    )


async def lasting(work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """`work` is begun again each ROUND_S until `stop`: an error that nobody expected is logged, and
    ends nothing else of this process.
    """
    while not stop.is_set():
        try:
            await work()
        except (ServiceError, OSError) as exc:
            log.warning("rules_task_waits", reason=str(exc))
        except Exception:
            log.exception("rules_task_failed")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), ROUND_S)


async def run(settings: RulesSettings, clock: Clock, stop: asyncio.Event) -> None:
    """Groups are evaluated until `stop`."""
    connections = settings.rules_concurrency + 4 + dispatcher.TENANTS_AT_ONCE
    database = Database(settings.database_url.get_secret_value(), connections, pings=True)
    query_usage = usage.QueryUsage(database, clock)
    engine = make_engine(settings, database, clock, query_usage.add)
    token = settings.service_token.get_secret_value()

    async def notify(tenant: UUID, alerts: Sequence[Alert]) -> None:
        await receive(database, tenant, alerts, clock.now_ms())

    async with httpx.AsyncClient() as http, database:
        billing = Billing(settings.ubs_url, token, http)
        identity = IdentityClient(settings.ubs_url, token, "das", http, clock)
        acting = Acting(engine, identity, http, settings.dis_url, {}, settings.rules_series_max)
        evaluator = Evaluator(Leases(database, uuid.uuid4()), acting, notify, settings, clock)
        beside: list[Callable[[], Awaitable[None]]] = [
            partial(dispatcher.run, database, settings, clock),
            partial(Backfills(database).drain, acting),
            query_usage.run,
            partial(usage.repeat, partial(usage.deliver, database, billing), usage.DELIVERY_S),
            partial(
                usage.repeat, partial(anyio.to_thread.run_sync, memory.give_back), usage.FLUSH_S
            ),
        ]
        if settings.rules_folder is not None:
            rules = Rules(database, bounds_of(settings))
            folder = RuleFolder(settings.rules_folder, rules, identity.home_organisation)
            beside.append(folder.sync)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(lasting(work, stop)) for work in beside]
            await evaluator.run(stop)
            for task in tasks:
                task.cancel()
        await anyio.to_thread.run_sync(engine.close)
        with contextlib.suppress(ServiceError):
            await query_usage.flush()


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
