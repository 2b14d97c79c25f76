"""One scrape of a target: GET, redirects, decode. What goes wrong is a result, not an exception."""

import asyncio
import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import anyio
import httpx
from prometheus_client import Counter, Histogram

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.errors import BodyTooLarge, WriteError
from data_ingest.protocols import prometheus_text
from data_ingest.scrape import nginx_status
from data_ingest.scrape.samples import ScrapedSamples, from_exposition, from_families
from data_ingest.scrape.targets import Target, checked_url

REDIRECTS_MAX: Final = 10
"""As in Go's http client, which Prometheus uses."""

SCRAPES: Final = Counter(
    "cloudopshub_scrapes_total", "Scrapes of a target by outcome.", ["job", "outcome"]
)
DURATIONS: Final = Histogram(
    "cloudopshub_scrape_duration_seconds",
    "Time from a scrape's request to its decoded answer.",
    ["job"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class ScrapeFailed(ServiceError):
    """The scrape failed"""

    kind = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a scrape brought nothing.

    outcome: a bounded word for metrics. cause: the same for as long as the same thing is wrong.
    reason: the whole text; its numbers may differ each time.
    """

    outcome: str
    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScrapeResult:
    """One scrape of a target: its samples or why there are none, and how long it took.

    samples may stand beside a failure: what is known of a target that does not answer.
    """

    samples: ScrapedSamples | None
    duration_s: float
    failure: Failure | None = None


async def scrape_target(http: httpx.AsyncClient, target: Target) -> ScrapeResult:
    """One GET of the target's page, decoded."""
    started_s = time.perf_counter()
    samples: ScrapedSamples | None = None
    failure: Failure | None = None
    try:
        async with asyncio.timeout(target.reading.timeout_s):
            body, content_type = await _fetch(http, target)
            samples = await anyio.to_thread.run_sync(_decode, target, body, content_type)
    except TimeoutError:
        reason = f"no answer within {target.reading.timeout_s:g} s"
        failure = Failure("timeout", "timeout", reason)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        kind = type(error).__name__
        failure = Failure("unreachable", kind, f"{kind}: {error}" if str(error) else kind)
    except ScrapeFailed as error:
        failure = Failure("status", str(error), str(error))
    except WriteError as error:
        failure = unreadable(error)
    duration_s = time.perf_counter() - started_s
    SCRAPES.labels(target.pool, failure.outcome if failure else "ok").inc()
    DURATIONS.labels(target.pool).observe(duration_s)
    if target.is_stub_status and failure:
        samples = from_families([nginx_status.up(False)])
    return ScrapeResult(samples, duration_s, failure)


def unreadable(error: WriteError) -> Failure:
    """The page, or the labels of one of its series, cannot be taken."""
    cause = error.facts.get("detail", type(error).__name__)
    return Failure("unreadable", str(cause), str(error))


async def _fetch(http: httpx.AsyncClient, target: Target) -> tuple[bytes, str]:
    """Body and content type of the page, redirects followed.

    httpx makes the request after a redirect: without the credential when it goes to another origin.
    """
    timeout_s = target.reading.timeout_s
    headers = {
        "Accept": prometheus_text.ACCEPT,
        "Accept-Encoding": "gzip",
        "User-Agent": "cloudopshub-scrape",
        "X-Prometheus-Scrape-Timeout-Seconds": f"{timeout_s:g}",
    }
    if target.login is not None:
        pair = f"{target.login.user}:{target.login.password}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    request = http.build_request("GET", target.url, headers=headers, timeout=timeout_s)
    for _ in range(REDIRECTS_MAX + 1):
        answer = await http.send(request, stream=True, follow_redirects=False)
        try:
            if answer.next_request is None:
                return await _read(answer, target)
            request = _checked(answer.next_request)
        finally:
            await answer.aclose()
    raise ScrapeFailed(detail=f"more than {REDIRECTS_MAX} redirects")


def _checked(request: httpx.Request) -> httpx.Request:
    """The request, whose URL can be asked: the client fails in other ways for some that cannot."""
    try:
        checked_url(str(request.url))
    except ValueError as exc:
        raise ScrapeFailed(detail=f"its redirect leads nowhere: {exc}") from None
    return request


async def _read(answer: httpx.Response, target: Target) -> tuple[bytes, str]:
    if answer.status_code == httpx.codes.NOT_FOUND and target.is_stub_status:
        return nginx_status.WITHOUT_MODULE, ""
    if answer.status_code != httpx.codes.OK:
        raise ScrapeFailed(detail=f"it answered {answer.status_code}")
    pieces: list[bytes] = []
    body_bytes = 0
    async for piece in answer.aiter_bytes():
        body_bytes += len(piece)
        if body_bytes > target.reading.body_bytes_max:
            raise BodyTooLarge(limit=target.reading.body_bytes_max)
        pieces.append(piece)
    return b"".join(pieces), answer.headers.get("Content-Type", "")


def _decode(target: Target, body: bytes, content_type: str) -> ScrapedSamples:
    if target.is_stub_status:
        return from_families(nginx_status.families(body))
    openmetrics = prometheus_text.is_openmetrics(content_type)
    return from_exposition(prometheus_text.decode(body, openmetrics=openmetrics))


def report_series(
    duration_s: float, *, is_up: bool, samples: int = 0, kept: int = 0, added: int = 0
) -> Sequence[tuple[str, float]]:
    """The series about a scrape itself, as Prometheus names them."""
    return (
        ("up", float(is_up)),
        ("scrape_duration_seconds", duration_s),
        ("scrape_samples_scraped", float(samples)),
        ("scrape_samples_post_metric_relabeling", float(kept)),
        ("scrape_series_added", float(added)),
    )
