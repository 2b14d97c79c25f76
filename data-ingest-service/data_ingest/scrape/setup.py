"""The settings of scraping, made into a scraper; what is wrong with them stops the start."""

from pathlib import Path

import httpx

from data_ingest.chassis.clock import Clock
from data_ingest.scrape import host, processes, targets
from data_ingest.scrape.access import parse_networks
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
    """The scraper of these settings.

    Raises BadTargets, BadJobs, BadAllowList and BadProcesses, which name the entry.
    """
    reading = Reading(
        settings.scrape_interval_s, settings.scrape_timeout_s, settings.scrape_body_bytes_max
    )
    listed = _listed(settings, reading)
    rules = processes.parse(settings.host_processes or processes.DEFAULT)
    collector = None
    if settings.scrape_host:
        collector = host.Host({"processes": processes.Processes(rules).families})
        labels = (("instance", host.instance()), ("job", "node"))
        listed.append(Target("node", "", labels, (), reading))
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


def _listed(settings: Settings, reading: Reading) -> list[Target]:
    if settings.scrape_targets.strip():
        return targets.parse(settings.scrape_targets, reading)
    urls = {
        "data-api-service": settings.das_url,
        "data-ingest-service": settings.dis_url,
        "analysis-processing-service": settings.aps_url,
        "user-billing-service": settings.ubs_url,
        "frontend-dashboard": settings.ui_url,
    }
    return targets.of_services(urls, reading)
