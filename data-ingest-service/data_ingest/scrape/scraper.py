"""All scraping of this process: the loops of the targets that there are, and their state.

    settings, jobs ─▶ apply: what is gone stops, what is new starts ─▶ publish ─▶ scrape_target

Each loop is supervised by itself: one that fails stops no other.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import anyio
import httpx
import structlog

from data_ingest.background.supervisor import Stop, Supervisor
from data_ingest.chassis.clock import Clock
from data_ingest.chassis.guard import parse_networks
from data_ingest.chassis.kinds import ServiceError
from data_ingest.scrape import host, targets
from data_ingest.scrape.access import Clients
from data_ingest.scrape.host import Host, Processes, parse_services
from data_ingest.scrape.jobs import Dropped
from data_ingest.scrape.loop import STALE_MARKERS_TIMEOUT_S, Ingest, TargetLoop
from data_ingest.scrape.page import ScrapeResult, failure_of, scrape_target
from data_ingest.scrape.reading import Reading
from data_ingest.scrape.samples import from_families
from data_ingest.scrape.series import TargetSeries
from data_ingest.scrape.sources import Jobs
from data_ingest.scrape.state import TargetState
from data_ingest.scrape.targets import Target
from data_ingest.settings import Settings
from data_ingest.store import catalogue, scrape_targets
from data_ingest.store.scrape_targets import Key, Row

HOME_RETRY_S: Final = 1.0
PUBLISH_S: Final = 1.0
POLL_S: Final = 5.0
"""How often the files of jobs and targets are looked at."""
STOP_TIMEOUT_S: Final = STALE_MARKERS_TIMEOUT_S + 0.5

FindHome = Callable[[], Awaitable[UUID | None]]

log = structlog.get_logger()


async def home_tenant(stop: Stop, find: FindHome) -> UUID | None:
    """The organisation the hub's own metrics belong to, once there is one; None after a stop."""
    is_logged = False
    while not stop.is_set:
        try:
            tenant = await find()
        except ServiceError as error:
            tenant = None
            if not is_logged:
                log.info("home_organisation_unknown", reason=str(error))
                is_logged = True
        if tenant is not None:
            return tenant
        await stop.wait(HOME_RETRY_S)
    return None


@dataclass(slots=True)
class Loops:
    """The loops that run, by target; targets that are equal are one."""

    ingest: Ingest
    clients: Clients
    clock: Clock
    home: UUID
    collector: Host
    _running: dict[Target, tuple[TargetLoop, Supervisor]] = field(default_factory=dict)
    _dropped: dict[Key, Row] = field(default_factory=dict)

    async def apply(self, targets: Iterable[Target], dropped: Iterable[Dropped] = ()) -> None:
        """These targets are scraped and no others; those that were scraped already go on.

        Where a new target has the labels of one that goes, the series go on without a stale marker.
        Of each target that goes the scrape on its way is waited for.
        """
        wanted = dict.fromkeys(targets)
        new = {target.owner: target for target in wanted if target not in self._running}
        before: dict[Target, TargetSeries] = {}
        replaced, ending = [], []
        for target in [one for one in self._running if one not in wanted]:
            loop, supervisor = self._running.pop(target)
            end = supervisor.stop(target.reading.scrape_timeout + STOP_TIMEOUT_S)
            if (successor := new.pop(target.owner, None)) is None:
                ending.append(end)
            else:
                loop.ends_series, before[successor] = False, loop.series
                replaced.append(end)
        await asyncio.gather(*replaced)
        taken = {target.owner for target in self._running}
        for target in wanted:
            if target not in self._running:
                if target.owner in taken:
                    # As in Prometheus; `up`, and all that both pages have, is one series.
                    log.warning(
                        "targets_share_labels", url=target.shown_url, labels=dict(target.labels)
                    )
                taken.add(target.owner)
                self._start(target, before.get(target))
        self._dropped = {
            (one.tenant or self.home, one.key): Row(True, json.dumps(one.facts()))
            for one in dropped
        }
        await asyncio.gather(*ending)

    async def close(self) -> None:
        """No target is scraped any more."""
        stopping = [supervisor.stop(STOP_TIMEOUT_S) for _, supervisor in self._running.values()]
        self._running.clear()
        await asyncio.gather(*stopping)

    def rows(self) -> dict[Key, Row]:
        """The state of each target, as it is published."""
        return self._dropped | {
            (target.tenant or self.home, target.key): Row(False, json.dumps(loop.state.facts()))
            for target, (loop, _) in self._running.items()
        }

    def _start(self, target: Target, before: TargetSeries | None) -> None:
        """The target is scraped from here on; before: the series of the one that it replaces."""
        scrape = partial(scrape_target, self.clients, target)
        offset_ms = target.offset_ms
        if not target.url:
            scrape, offset_ms = partial(_scrape_host, self.collector), 0
        reading = target.reading
        series = before.continued(reading) if before else TargetSeries(target.labels, reading)
        tenant = target.tenant or self.home
        loop = TargetLoop(
            TargetState(target), series, tenant, scrape, self.ingest, offset_ms, self.clock.now_s
        )
        supervisor = Supervisor()
        supervisor.start(f"scrape {target.pool}", loop.run)
        self._running[target] = (loop, supervisor)


class Scraper:
    """Scrapes what these settings say while `run` runs. http: asks everything instead of clients of
    our own. Raises BadTargets, BadJobs and BadProcesses, which name the entry.
    """

    def __init__(
        self,
        settings: Settings,
        ingest: Ingest,
        find_home: FindHome,
        http: httpx.AsyncClient | None,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._ingest = ingest
        self._find_home = find_home
        self._http = http
        self._clock = clock
        self._targets = targets_of(settings)
        if settings.scrape_host:
            labels = (("instance", host.instance()), ("job", "node"))
            self._targets.append(Target("node", "", labels, (), reading_of(settings)))
        self._host = Host(
            {"processes": Processes(parse_services(settings.host_processes)).families}
        )
        self._jobs = None
        if settings.scrape_config:
            self._jobs = Jobs(Path(settings.scrape_config), settings.scrape_body_bytes_max)
            self._jobs.load()

    async def run(self, stop: Stop) -> None:
        """Every target is scraped until stopped; after that all their series have ended."""
        home = await home_tenant(stop, self._find_home)
        if home is None:
            return
        clients = Clients(self._http, parse_networks(self._settings.scrape_allow))
        loops = Loops(self._ingest, clients, self._clock, home, self._host)
        publisher = Supervisor()
        database_url = self._settings.database_url.get_secret_value()
        try:
            publisher.start("scrape targets", partial(publish, loops.rows, database_url))
            await self._follow(stop, loops)
        finally:
            await asyncio.gather(loops.close(), publisher.stop(STOP_TIMEOUT_S))
            await clients.close()

    async def _follow(self, stop: Stop, loops: Loops) -> None:
        """What is scraped follows the files and servers that say it, until stopped.

        A server that does not answer delays no file.
        """
        while not stop.is_set:
            if self._jobs is None:
                await loops.apply(self._targets)
            else:
                await anyio.to_thread.run_sync(self._jobs.read_files)
                await loops.apply(*self._wanted(self._jobs))
                await self._jobs.ask_servers(loops.clients, self._clock.now_s())
                await loops.apply(*self._wanted(self._jobs))
            await stop.wait(POLL_S)

    def _wanted(self, jobs: Jobs) -> tuple[list[Target], Sequence[Dropped]]:
        discovered = jobs.discovered()
        return [*self._targets, *discovered.targets], discovered.dropped


async def publish(rows: Callable[[], dict[Key, Row]], database_url: str, stop: Stop) -> None:
    """The table says what `rows` says, about once a second, until stopped."""
    async with catalogue.connected(database_url, "scrape targets") as conn:
        await scrape_targets.clear(conn)
        written: dict[Key, Row] = {}
        while not await stop.wait(PUBLISH_S):
            now = rows()
            await scrape_targets.write(conn, written, now)
            written = now


async def _scrape_host(collector: Host) -> ScrapeResult:
    started_s = time.perf_counter()
    try:
        samples = from_families(await anyio.to_thread.run_sync(collector.families))
    except Exception as error:  # noqa: BLE001 - whatever it is, the next scrape is tried
        return ScrapeResult(None, time.perf_counter() - started_s, failure_of(error))
    return ScrapeResult(samples, time.perf_counter() - started_s)


def reading_of(settings: Settings) -> Reading:
    """How the targets of the short form are read."""
    return Reading.model_construct(
        scrape_interval=settings.scrape_interval_s,
        scrape_timeout=settings.scrape_timeout_s,
        body_size_limit=settings.scrape_body_bytes_max,
    )


def targets_of(settings: Settings) -> list[Target]:
    """Those of DIS_SCRAPE_TARGETS, and no others; without it a page of each service whose URL is
    set: `/metrics`, and of the dashboard, which is nginx, `/stub_status`.
    """
    reading = reading_of(settings)
    if settings.scrape_targets.strip():
        return targets.parse("DIS_SCRAPE_TARGETS", settings.scrape_targets, reading)
    pages = {
        "data-api-service": (settings.das_url, "/metrics"),
        "data-ingest-service": (settings.dis_url, "/metrics"),
        "analysis-processing-service": (settings.aps_url, "/metrics"),
        "user-billing-service": (settings.ubs_url, "/metrics"),
        "frontend-dashboard": (settings.ui_url, "/stub_status"),
    }
    entries = [f"{job}={url.rstrip('/')}{page}" for job, (url, page) in pages.items() if url]
    return targets.parse("the URLs of the services", ",".join(entries), reading)
