"""The settings of scraping, made into a scraper; what is wrong with them stops the start."""

from pathlib import Path

import httpx

from data_ingest.chassis.clock import Clock
from data_ingest.chassis.guard import parse_networks
from data_ingest.scrape import host, processes, targets
from data_ingest.scrape.loop import Ingest
from data_ingest.scrape.scraper import FindHome, Scraper
from data_ingest.scrape.sources import Jobs
from data_ingest.scrape.targets import Reading, Target
from data_ingest.settings import Settings


def configured(
    settings: Settings,
    ingest: Ingest,
    find_home: FindHome,
    http: httpx.AsyncClient | None,
    clock: Clock,
) -> Scraper:
    """The scraper of these settings. Raises BadTargets, BadJobs and BadProcesses: the entry."""
    listed = targets_of(settings)
    collector = None
    if settings.scrape_host:
        services = processes.Processes(processes.parse(settings.host_processes))
        collector = host.Host({"processes": services.families})
        labels = (("instance", host.instance()), ("job", "node"))
        listed.append(Target("node", "", labels, (), reading_of(settings)))
    jobs = None
    if settings.scrape_config:
        jobs = Jobs(Path(settings.scrape_config), settings.scrape_body_bytes_max)
        jobs.load()
    return Scraper(
        listed,
        jobs,
        collector,
        parse_networks(settings.scrape_allow),
        ingest,
        find_home,
        http,
        clock,
        settings.database_url.get_secret_value(),
    )


def reading_of(settings: Settings) -> Reading:
    """How the targets of the short form are read."""
    return Reading(
        settings.scrape_interval_s, settings.scrape_timeout_s, settings.scrape_body_bytes_max
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
