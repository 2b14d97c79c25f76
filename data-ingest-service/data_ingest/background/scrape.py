"""The hub watches itself: every target is read on its own aligned schedule and written like any
sender's samples.

    wait for its instant ─▶ GET ─▶ decode ─▶ series, stale markers, up ─▶ pipeline.ingest ─▶ settle
    stop ─▶ a stale marker for every series that was alive

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
from data_ingest.background.scraped import Found, TargetSeries, from_exposition, from_families
from data_ingest.background.supervisor import Stop
from data_ingest.background.targets import Target, next_round_ms
from data_ingest.chassis.identity import Limits
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.errors import BodyTooLarge, WriteError
from data_ingest.model import Outcome, SampleBatch
from data_ingest.protocols import prometheus_text

HOME_RETRY_S: Final = 1.0
FAREWELL_TIMEOUT_S: Final = 2.0
TOLERANCE: Final = 0.01
"""A look that begins at most this part of its interval late carries the scheduled time: even
steps, small deltas.
"""

log = structlog.get_logger()
SCRAPES: Final = Counter(
    "cloudopshub_scrapes_total", "Looks at a target by outcome.", ["job", "outcome"]
)
DURATIONS: Final = Histogram(
    "cloudopshub_scrape_duration_seconds",
    "Time from a look's request to its decoded answer.",
    ["job"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

Clock = Callable[[], float]
FindHome = Callable[[], Awaitable[UUID | None]]


class ScrapeFailed(ServiceError):
    """The target gave no exposition."""

    kind = Kind.UNAVAILABLE


class Ingest(Protocol):
    """`Pipeline.ingest`."""

    async def __call__(
        self, tenant: UUID, decoded: SampleBatch, limits: Limits, protocol: str
    ) -> Outcome:
        """What became of the samples, once that is durable."""


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """How often, and how much a target may cost."""

    interval_s: float = 5.0
    timeout_s: float = 4.0
    body_bytes_max: int = 32 * 1024 * 1024

    @property
    def interval_ms(self) -> int:
        """At least one."""
        return max(1, int(self.interval_s * 1000))


@dataclass(frozen=True, slots=True)
class Look:
    """One reading of a target: found is None when it failed."""

    found: Found | None
    report: Sequence[tuple[str, float]]


async def home_tenant(stop: Stop, find: FindHome) -> UUID | None:
    """The organisation the hub's own metrics belong to, as soon as there is one; None when stopped
    before that.
    """
    said = False
    while not stop.is_set:
        try:
            tenant = await find()
        except ServiceError as error:
            tenant = None
            if not said:
                log.info("home_organisation_unknown", reason=str(error))
                said = True
        if tenant is not None:
            return tenant
        await stop.wait(HOME_RETRY_S)
    return None


async def watch(
    stop: Stop,
    series: TargetSeries,
    look: Callable[[], Awaitable[Look]],
    *,
    tenant: UUID,
    ingest: Ingest,
    settings: ScrapeSettings,
    offset_ms: int,
    clock: Clock = time.time,
) -> None:
    """Looks at one target each interval until stopped, then says farewell to its series."""
    interval_ms = settings.interval_ms
    due_ms = next_round_ms(_ms(clock), interval_ms, offset_ms)
    while not await stop.wait((due_ms - _ms(clock)) / 1000):
        begun_ms = _ms(clock)
        at_ms = due_ms if 0 <= begun_ms - due_ms <= interval_ms * TOLERANCE else begun_ms
        seen = await look()
        await _write(series, tenant, ingest, seen, at_ms)
        due_ms = next_round_ms(max(_ms(clock), due_ms), interval_ms, offset_ms)
    farewell = series.farewell(_ms(clock))
    if farewell.samples:
        async with asyncio.timeout(FAREWELL_TIMEOUT_S):
            await ingest(tenant, farewell, Limits(), "scrape")
    series.settle(durable=True)


async def look_at(http: httpx.AsyncClient, target: Target, settings: ScrapeSettings) -> Look:
    """What the target's page says now; never raises for what a target can do wrong."""
    started_s = time.perf_counter()
    outcome = "ok"
    found: Found | None = None
    try:
        async with asyncio.timeout(settings.timeout_s):
            body, content_type = await _fetch(http, target, settings)
            found = await anyio.to_thread.run_sync(_decode, target, body, content_type)
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
    if found is None:
        log.debug(
            "scrape_failed",
            job=target.job,
            instance=target.instance,
            outcome=outcome,
            reason=reason,
        )
    samples = 0 if found is None else len(found)
    report = [
        ("up", float(found is not None)),
        ("scrape_duration_seconds", duration_s),
        ("scrape_samples_scraped", float(samples)),
        ("scrape_samples_post_metric_relabeling", float(samples)),
    ]
    if target.is_stub_status and found is None:
        found = from_families([nginx_status.up(False)])
    return Look(found, report)


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
        held = 0
        async for piece in answer.aiter_bytes():
            held += len(piece)
            if held > settings.body_bytes_max:
                raise BodyTooLarge(limit=settings.body_bytes_max, url=target.url)
            pieces.append(piece)
        return b"".join(pieces), answer.headers.get("Content-Type", "")


def _decode(target: Target, body: bytes, content_type: str) -> Found:
    if target.is_stub_status:
        return from_families(nginx_status.families(body))
    openmetrics = prometheus_text.is_openmetrics(content_type)
    return from_exposition(prometheus_text.decode(body, openmetrics=openmetrics))


async def _write(
    series: TargetSeries, tenant: UUID, ingest: Ingest, seen: Look, at_ms: int
) -> None:
    """The look is durable, or its series are remembered so that their end will be."""
    found, report = seen.found, seen.report
    try:
        batch = series.look(found, at_ms, report)
    except WriteError as error:  # labels that cannot be read show only when a series is new
        log.warning("scrape_refused", job=series.job, instance=series.instance, reason=str(error))
        found, report = None, [(name, 0.0 if name == "up" else value) for name, value in report]
        batch = series.look(None, at_ms, report)
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
        series.settle(durable=durable, found=found)
    if outcome.refused_total:
        log.warning(
            "scrape_samples_refused",
            job=series.job,
            samples=outcome.refused_total,
            reason=outcome.first_error,
        )


def _ms(clock: Clock) -> int:
    return int(clock() * 1000)
