"""Writing scores back as series, through data-ingest-service's remote_write.

`cloudopshub_anomaly_score{job_kind="anomaly", query_hash="…", <labels of the series>}`: the query's
hash keeps two questions about the same labels apart, and makes the same question over the next
range continue the same series. The original metric's name, if any, is the label `source_metric`.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import numpy as np

from analysis_processing.clients import remote_write
from analysis_processing.clients.http import Door
from analysis_processing.frames import F64, I64
from analysis_processing.model import Labels

SCORE_METRIC = "cloudopshub_anomaly_score"
REQUEST_SAMPLES = 5_000


def score_labels(labels: Labels, kind: str, query: str) -> Labels:
    """The labels of the score series of `labels`; the hub's own names win over equal ones."""
    made = {name: value for name, value in labels.items() if name != "__name__" and value}
    if "__name__" in labels:
        made["source_metric"] = labels["__name__"]
    query_hash = hashlib.sha256(query.encode()).hexdigest()[:8]
    return made | {"__name__": SCORE_METRIC, "job_kind": kind, "query_hash": query_hash}


def requests(
    series: list[tuple[Labels, I64, F64]],
) -> Iterator[tuple[bytes, int]]:
    """Bodies of at most REQUEST_SAMPLES samples, and how many each holds; NaN is left out."""
    batch: list[tuple[Labels, list[tuple[int, float]]]] = []
    count = 0
    for labels, timestamps_ms, values in series:
        finite = np.flatnonzero(np.isfinite(values))
        samples = list(zip(timestamps_ms[finite].tolist(), values[finite].tolist(), strict=True))
        while samples:
            room = REQUEST_SAMPLES - count
            batch.append((labels, samples[:room]))
            count += len(samples[:room])
            samples = samples[room:]
            if count == REQUEST_SAMPLES:
                yield remote_write.encode(batch), count
                batch, count = [], 0
    if batch:
        yield remote_write.encode(batch), count


@dataclass(frozen=True, slots=True)
class DataIngest:
    """A tenant's write side; a request that was answered 2xx is durable."""

    door: Door

    async def write(self, series: list[tuple[Labels, I64, F64]]) -> AsyncIterator[int]:
        """Samples written so far, after each request; raises Refused or Unreachable."""
        written = 0
        for body, count in requests(series):
            await self.door.post("/api/v1/write", content=body, headers=remote_write.HEADERS)
            written += count
            yield written
