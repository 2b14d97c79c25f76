"""One scrape of a target: GET, redirects, decode. What goes wrong is a result, not an exception."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import anyio
import httpx
from prometheus_client import Counter

from data_ingest.chassis.kinds import Kind
from data_ingest.errors import WriteError
from data_ingest.protocols import prometheus_text
from data_ingest.scrape import nginx_status, protobuf_page
from data_ingest.scrape.access import Clients
from data_ingest.scrape.fetch import Failure, fetch
from data_ingest.scrape.samples import ScrapedSamples, from_exposition, from_families
from data_ingest.scrape.targets import Target

SCRAPES: Final = Counter(
    "cloudopshub_scrapes_total", "Scrapes of a target by outcome.", ["job", "outcome"]
)


@dataclass(frozen=True, slots=True)
class ScrapeResult:
    """One scrape of a target: its samples or why there are none, and how long it took.

    samples may stand beside a failure: what is known of a target that does not answer.
    """

    samples: ScrapedSamples | None
    duration_s: float
    failure: Failure | None = None


async def scrape_target(clients: Clients, target: Target) -> ScrapeResult:
    """One GET of the target's page, decoded."""
    started_s = time.perf_counter()
    samples: ScrapedSamples | None = None
    failure: Failure | None = None
    try:
        async with asyncio.timeout(target.reading.scrape_timeout):
            headers = {
                "Accept": target.reading.accept,
                "X-Prometheus-Scrape-Timeout-Seconds": f"{target.reading.scrape_timeout:g}",
            }
            body, content_type = await fetch(
                clients,
                target.url,
                target.access,
                headers,
                is_guarded=target.is_guarded,
                timeout_s=target.reading.scrape_timeout,
                bytes_max=target.reading.body_size_limit,
            )
            samples = await anyio.to_thread.run_sync(_decode, target, body, content_type)
    except TimeoutError:
        reason = f"no answer within {target.reading.scrape_timeout:g} s"
        failure = Failure("timeout", "timeout", reason)
    except Failure as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - whatever it is, the next scrape is tried
        failure = failure_of(error)
    if target.is_stub_status and failure:
        # Without the module for it nginx answers that there is no such page, and is up.
        is_up = failure.status == httpx.codes.NOT_FOUND
        samples, failure = from_families([nginx_status.up(is_up)]), None if is_up else failure
    SCRAPES.labels(target.pool, failure.outcome if failure else "ok").inc()
    return ScrapeResult(samples, time.perf_counter() - started_s, failure)


def failure_of(error: Exception) -> Failure:
    """The page, or the labels of one of its series, cannot be taken; or a mistake of ours."""
    if not isinstance(error, WriteError):
        kind = type(error).__name__
        return Failure("defect", kind, f"{kind}: {error}")
    cause = error.facts.get("detail", type(error).__name__)
    outcome = "too_large" if error.kind is Kind.TOO_LARGE else "unreadable"
    return Failure(outcome, str(cause), str(error))


def _decode(target: Target, body: bytes, content_type: str) -> ScrapedSamples:
    reading = target.reading
    if target.is_stub_status:
        return from_families(nginx_status.families(body))
    if content_type.partition(";")[0].strip().lower() == protobuf_page.MEDIA_TYPE:
        samples = protobuf_page.decode(
            body, native=reading.scrape_native_histograms, classic=reading.reads_classic
        )
    else:
        openmetrics = prometheus_text.is_openmetrics(content_type)
        samples = from_exposition(prometheus_text.decode(body, openmetrics=openmetrics))
    return samples if reading.honor_timestamps else samples.without_timestamps()
