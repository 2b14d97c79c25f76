"""What tests of scraping share: pages, targets, and batches as a person reads them."""

from typing import Any

import numpy as np

from data_ingest.model import STALE_MARKER_BITS, SampleBatch
from data_ingest.protocols.prometheus_text import decode
from data_ingest.scrape.reading import Reading
from data_ingest.scrape.samples import ScrapedSamples, from_exposition
from data_ingest.scrape.targets import Target, of_url
from data_ingest.settings import Settings

READING = Reading.model_construct(
    scrape_interval=5.0, scrape_timeout=4.0, body_size_limit=1_000_000
)


def target(url: str = "http://h:1/metrics", reading: Reading = READING) -> Target:
    return of_url("j", url, reading)


def scraped(text: str) -> ScrapedSamples:
    return from_exposition(decode(text.encode()))


def rows(batch: SampleBatch) -> dict[str, tuple[int, Any]]:
    """Series → (timestamp, value), a stale marker as 'stale'; no series is there twice."""
    bits = batch.values.view(np.uint64).tolist()
    shown = {}
    for i, row in enumerate(batch.series_of.tolist()):
        labels = {name.decode(): value.decode() for name, value in batch.labels_at(row)}
        name = labels.pop("__name__")
        text = name + "{" + ",".join(f"{n}={v}" for n, v in sorted(labels.items())) + "}"
        value = "stale" if bits[i] == STALE_MARKER_BITS else float(batch.values[i])
        shown[text] = (int(batch.timestamps_ms[i]), value)
    assert len(shown) == batch.samples
    return shown


def values(batch: SampleBatch) -> dict[str, Any]:
    """Metric name → value, of batches in which no two series have one name."""
    named = {series.split("{")[0]: value for series, (_, value) in rows(batch).items()}
    assert len(named) == batch.samples
    return named


def settings_of(**given: Any) -> Settings:
    """Settings with which the service starts, these among them."""
    needed = {
        "database_url": "postgresql://h/d",
        "object_store_url": "file:///tmp/objects",
        "service_token": "x" * 40,
        "ubs_url": "http://ubs:1",
    }
    return Settings.model_validate({**needed, **given})
