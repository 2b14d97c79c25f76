"""Writing series back through data-ingest-service's remote_write."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from analysis_processing.analyses.block import Written
from analysis_processing.clients import remote_write
from analysis_processing.clients.http import Door
from analysis_processing.model import Labels

REQUEST_SAMPLES = 5_000
Batch = list[tuple[Labels, list[tuple[int, float]]]]


def requests(series: Iterable[Written]) -> Iterator[bytes]:
    """Bodies of at most REQUEST_SAMPLES samples; NaN is left out, a series stays in its order."""
    batch: Batch = []
    count = 0
    for one in series:
        finite = np.flatnonzero(np.isfinite(one.values))
        samples = list(zip(one.times_ms[finite].tolist(), one.values[finite].tolist(), strict=True))
        while samples:
            room = REQUEST_SAMPLES - count
            batch.append((one.labels, samples[:room]))
            count += len(samples[:room])
            samples = samples[room:]
            if count == REQUEST_SAMPLES:
                yield remote_write.encode(batch)
                batch, count = [], 0
    if batch:
        yield remote_write.encode(batch)


@dataclass(frozen=True, slots=True)
class DataIngest:
    """A tenant's write side; a request that was answered 2xx is durable."""

    door: Door

    async def write(self, series: Iterable[Written]) -> None:
        """All samples are written; raises Refused or Unreachable."""
        for body in requests(series):
            await self.door.post("/api/v1/write", content=body, headers=remote_write.HEADERS)
