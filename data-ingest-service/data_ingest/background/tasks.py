"""The background of the service: which tasks there are, and what each is given.

    scrape       one replica: every target and the host, for the home organisation
    compaction   every replica, one at a time for each tenant
    upkeep       partitions, replaced and orphaned objects

Each has its own Postgres connection; the writer's is nobody else's.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import anyio
import httpx

from data_ingest.background import compaction, host, processes, scrape, targets, upkeep
from data_ingest.background.compaction import CompactionSettings
from data_ingest.background.leadership import lead
from data_ingest.background.scrape import Ingest, Look, ScrapeSettings
from data_ingest.background.scraped import TargetSeries, from_families
from data_ingest.background.supervisor import Stop, Supervisor, every
from data_ingest.chassis.clock import Clock
from data_ingest.settings import Settings
from data_ingest.store import catalogue
from data_ingest.store.objects import ObjectStore
from data_ingest.store.partitions import server_now

STOP_TIMEOUT_S: Final = 5.0
CATCH_UP_S: Final = 0.1
"""The pause between two rounds while there is a backlog."""


@dataclass(frozen=True, slots=True)
class Background:
    """What the tasks work with; built by the composition root."""

    settings: Settings
    ingest: Ingest
    find_home: Callable[[], Awaitable[UUID | None]]
    http: httpx.AsyncClient
    objects: ObjectStore
    clock: Clock

    @property
    def database_url(self) -> str:
        """As the adapters take it."""
        return self.settings.database_url.get_secret_value()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Supervisor]:
        """The tasks run inside the block and have ended after it. Nothing starts when
        DIS_BACKGROUND is off.
        """
        scraped, rules = self._targets(), self._process_rules()
        supervisor = Supervisor()
        if self.settings.background:
            supervisor.start("upkeep", self._upkeep)
            supervisor.start("compaction", self._compaction)
            if scraped or self.settings.scrape_host:
                supervisor.start("scrape", lambda stop: self._scrape(stop, scraped, rules))
        try:
            yield supervisor
        finally:
            await supervisor.stop(STOP_TIMEOUT_S)

    def _targets(self) -> list[targets.Target]:
        settings = self.settings
        if settings.scrape_targets.strip():
            return targets.parse(settings.scrape_targets)
        urls = {
            "data-api-service": settings.das_url,
            "data-ingest-service": settings.dis_url,
            "analysis-processing-service": settings.aps_url,
            "user-billing-service": settings.ubs_url,
            "frontend-dashboard": settings.ui_url,
        }
        return targets.of_services(urls)

    def _process_rules(self) -> list[processes.Rule]:
        return processes.parse(self.settings.host_processes or processes.DEFAULT)

    async def _scrape(
        self, stop: Stop, scraped: list[targets.Target], rules: list[processes.Rule]
    ) -> None:
        await lead(
            stop, self.database_url, "scrape", lambda mine: self._scrape_all(mine, scraped, rules)
        )

    async def _scrape_all(
        self, stop: Stop, scraped: list[targets.Target], rules: list[processes.Rule]
    ) -> None:
        tenant = await scrape.home_tenant(stop, self.find_home)
        if tenant is None:
            return
        settings = self.settings
        how = ScrapeSettings(
            settings.scrape_interval_s, settings.scrape_timeout_s, settings.scrape_body_bytes_max
        )
        supervisor = Supervisor()

        def watch(
            series: TargetSeries, look: Callable[[], Awaitable[Look]], offset_ms: int
        ) -> None:
            supervisor.start(
                f"scrape {series.job} {series.instance}",
                lambda mine: scrape.watch(
                    mine,
                    series,
                    look,
                    tenant=tenant,
                    ingest=self.ingest,
                    settings=how,
                    offset_ms=offset_ms,
                    clock=self.clock.now_s,
                ),
            )

        for target in scraped:
            look = _looking_at(self.http, target, how)
            watch(
                TargetSeries(target.job, target.instance), look, target.offset_ms(how.interval_ms)
            )
        if settings.scrape_host:
            collector = host.Host({"processes": processes.Processes(rules).families})
            watch(TargetSeries("node", host.instance()), _looking_at_host(collector), 0)
        try:
            while not await stop.wait(3600):
                pass
        finally:
            await supervisor.stop(scrape.FAREWELL_TIMEOUT_S + 0.5)

    async def _compaction(self, stop: Stop) -> None:
        settings = self.settings
        how = CompactionSettings(
            settings.compaction_delay_s, settings.compaction_samples_max, settings.block_bytes_max
        )
        async with catalogue.connected(self.database_url, "compaction") as conn:
            while not stop.is_set:
                is_behind = await compaction.compact_due(conn, self.objects, how, self.clock.now_ms)
                if await stop.wait(CATCH_UP_S if is_behind else settings.compaction_interval_s):
                    return

    async def _upkeep(self, stop: Stop) -> None:
        swept_s = 0.0

        async def once() -> None:
            nonlocal swept_s
            async with catalogue.connected(self.database_url, "upkeep") as conn:
                await upkeep.keep_partitions(conn, await server_now(conn))
                await upkeep.delete_replaced(conn, self.objects)
                if time.monotonic() - swept_s >= self.settings.objects_sweep_interval_s:
                    await upkeep.sweep_orphans(conn, self.objects, self.clock.now_ms())
                    swept_s = time.monotonic()

        await every(stop, self.settings.partition_interval_s, once)


def _looking_at(
    http: httpx.AsyncClient, target: targets.Target, how: ScrapeSettings
) -> Callable[[], Awaitable[Look]]:
    return lambda: scrape.look_at(http, target, how)


def _looking_at_host(collector: host.Host) -> Callable[[], Awaitable[Look]]:
    async def look() -> Look:
        started_s = time.perf_counter()
        found = from_families(await anyio.to_thread.run_sync(collector.families))
        report = [
            ("up", 1.0),
            ("scrape_duration_seconds", time.perf_counter() - started_s),
            ("scrape_samples_scraped", float(len(found))),
            ("scrape_samples_post_metric_relabeling", float(len(found))),
        ]
        return Look(found, report)

    return look
