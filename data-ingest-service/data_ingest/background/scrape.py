"""The hub scrapes itself: every target on its own aligned schedule, written like other samples.

    wait until due ─▶ GET ─▶ decode ─▶ series, stale markers, up ─▶ pipeline.ingest ─▶ finish_scrape
    stop ─▶ a stale marker for every series that is alive

Source: docs/contracts.md, section 2 (home organisation); Prometheus `scrape/scrape.go`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import anyio
import httpx
import structlog
from prometheus_client import Counter, Histogram

from data_ingest.background import nginx_status
from data_ingest.background.scraped import (
    ScrapedSamples,
    TargetSeries,
    from_exposition,
    from_families,
)
from data_ingest.background.supervisor import Stop
from data_ingest.background.targets import Target, next_round_ms
from data_ingest.chassis.identity import Limits
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.errors import BodyTooLarge, WriteError
from data_ingest.model import Outcome, SampleBatch
from data_ingest.protocols import prometheus_text

HOME_RETRY_S: Final = 1.0
STALE_MARKERS_TIMEOUT_S: Final = 2.0
TOLERANCE: Final = 0.01
"""A scrape that starts late by at most this part of its interval carries the scheduled time.

Even steps make small deltas.
"""

log = structlog.get_logger()
SCRAPES: Final = Counter(
    "cloudopshub_scrapes_total", "Scrapes of a target by outcome.", ["job", "outcome"]
)
DURATIONS: Final = Histogram(
    "cloudopshub_scrape_duration_seconds",
    "Time from a scrape's request to its decoded answer.",
    ["job"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

Clock = Callable[[], float]
FindHome = Callable[[], Awaitable[UUID | None]]


class ScrapeFailed(ServiceError):
    """The target answered with another status than 200."""

    kind = Kind.UNAVAILABLE


class Ingest(Protocol):
    """`Pipeline.ingest`."""

    async def __call__(
        self, tenant: UUID, decoded: SampleBatch, limits: Limits, protocol: str
    ) -> Outcome:
        """What became of the samples, once that is durable."""


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """How often, and how much a target may cost (see `settings`)."""

    interval_s: float
    timeout_s: float
    body_bytes_max: int

    @property
    def interval_ms(self) -> int:
        """At least one."""
        return max(1, int(self.interval_s * 1000))


@dataclass(frozen=True, slots=True)
class ScrapeResult:
    """One scrape of a target: its samples, None when it failed, and the series about it."""

    samples: ScrapedSamples | None
    report: Sequence[tuple[str, float]]


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


async def scrape_loop(
    stop: Stop,
    series: TargetSeries,
    scrape: Callable[[], Awaitable[ScrapeResult]],
    *,
    tenant: UUID,
    ingest: Ingest,
    settings: ScrapeSettings,
    offset_ms: int,
    clock: Clock = time.time,
) -> None:
    """Scrapes one target each interval until stopped, then ends its series with stale markers."""
    interval_ms = settings.interval_ms
    due_ms = next_round_ms(_ms(clock), interval_ms, offset_ms)
    while not await stop.wait((due_ms - _ms(clock)) / 1000):
        started_ms = _ms(clock)
        at_ms = due_ms if 0 <= started_ms - due_ms <= interval_ms * TOLERANCE else started_ms
        result = await scrape()
        await _write(series, tenant, ingest, result, at_ms)
        due_ms = next_round_ms(max(_ms(clock), due_ms), interval_ms, offset_ms)
    markers = series.stale_markers(_ms(clock))
    if markers.samples:
        async with asyncio.timeout(STALE_MARKERS_TIMEOUT_S):
            await ingest(tenant, markers, Limits(), "scrape")
    series.finish_scrape(durable=True)


async def scrape_target(
    http: httpx.AsyncClient, target: Target, settings: ScrapeSettings
) -> ScrapeResult:
    """One GET of the target's page, decoded; a target that fails is a result, not an exception."""
    started_s = time.perf_counter()
    outcome = "ok"
    scraped: ScrapedSamples | None = None
    try:
        async with asyncio.timeout(settings.timeout_s):
            body, content_type = await _fetch(http, target, settings)
            scraped = await anyio.to_thread.run_sync(_decode, target, body, content_type)
    except TimeoutError:
        outcome, reason = "timeout", f"no answer within {settings.timeout_s} s"
    except httpx.HTTPError as error:
        outcome, reason = "unreachable", f"{type(error).__name__}: {error}"
    except (ScrapeFailed, WriteError) as error:
        outcome, reason = (
            ("unreadable", str(error)) if isinstance(error, WriteError) else ("status", str(error))
        )
    duration_s = time.perf_counter() - started_s
    SCRAPES.labels(target.job, outcome).inc()
    DURATIONS.labels(target.job).observe(duration_s)
    if scraped is None:
        log.debug(
            "scrape_failed",
            job=target.job,
            instance=target.instance,
            outcome=outcome,
            reason=reason,
        )
    report = report_series(scraped, duration_s)
    if target.is_stub_status and scraped is None:
        scraped = from_families([nginx_status.up(False)])
    return ScrapeResult(scraped, report)


def report_series(scraped: ScrapedSamples | None, duration_s: float) -> list[tuple[str, float]]:
    """The series about a scrape itself, as Prometheus names them."""
    samples = 0.0 if scraped is None else float(len(scraped))
    return [
        ("up", float(scraped is not None)),
        ("scrape_duration_seconds", duration_s),
        ("scrape_samples_scraped", samples),
        ("scrape_samples_post_metric_relabeling", samples),
    ]


async def _fetch(
    http: httpx.AsyncClient, target: Target, settings: ScrapeSettings
) -> tuple[bytes, str]:
    headers = {
        "Accept": prometheus_text.ACCEPT,
        "Accept-Encoding": "gzip",
        "User-Agent": "cloudopshub-scrape",
        "X-Prometheus-Scrape-Timeout-Seconds": f"{settings.timeout_s:g}",
    }
    async with http.stream(
        "GET", target.url, headers=headers, timeout=settings.timeout_s
    ) as answer:
        if answer.status_code == httpx.codes.NOT_FOUND and target.is_stub_status:
            return nginx_status.WITHOUT_MODULE, ""
        if answer.status_code != httpx.codes.OK:
            raise ScrapeFailed(detail=f"it answered {answer.status_code}", url=target.url)
        pieces: list[bytes] = []
        body_bytes = 0
        async for piece in answer.aiter_bytes():
            body_bytes += len(piece)
            if body_bytes > settings.body_bytes_max:
                raise BodyTooLarge(limit=settings.body_bytes_max, url=target.url)
            pieces.append(piece)
        return b"".join(pieces), answer.headers.get("Content-Type", "")


def _decode(target: Target, body: bytes, content_type: str) -> ScrapedSamples:
    if target.is_stub_status:
        return from_families(nginx_status.families(body))
    openmetrics = prometheus_text.is_openmetrics(content_type)
    return from_exposition(prometheus_text.decode(body, openmetrics=openmetrics))


async def _write(
    series: TargetSeries, tenant: UUID, ingest: Ingest, result: ScrapeResult, at_ms: int
) -> None:
    """The scrape is durable; when it could not be written, its series still end later."""
    scraped, report = result.samples, result.report
    try:
        batch = series.batch(scraped, at_ms, report)
    except WriteError as error:  # labels are read, and can be invalid, when a series is new
        log.warning("scrape_refused", job=series.job, instance=series.instance, reason=str(error))
        scraped, report = None, [(name, 0.0 if name == "up" else value) for name, value in report]
        batch = series.batch(None, at_ms, report)
    durable = False
    try:
        outcome = await ingest(tenant, batch, Limits(), "scrape")
        durable = True
    except ServiceError as error:
        log.warning(
            "scrape_not_stored", job=series.job, instance=series.instance, reason=str(error)
        )
        return
    finally:
        series.finish_scrape(durable=durable, scraped=scraped)
    if outcome.refused_total:
        log.warning(
            "scrape_samples_refused",
            job=series.job,
            samples=outcome.refused_total,
            reason=outcome.first_error,
        )


def _ms(clock: Clock) -> int:
    return int(clock() * 1000)
