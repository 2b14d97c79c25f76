"""What one request has to commit, and the rows that several of them become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio.to_thread
import numpy as np

from data_ingest import batch
from data_ingest.labels import NewSeries
from data_ingest.model import F64, I64, MetricMetadata

INLINE_SAMPLES_MAX = 10_000
"""Packing this many takes 0.3 ms: as long as waking a thread on a busy machine."""


@dataclass(slots=True, eq=False)
class Write:
    """The part of one request that is to be committed, as a whole or not at all.

    series_ids: (n,) int64; -1 - i stands for the series `new[i]`, which has no id yet.
    refused: counted in the same transaction, so that accepted + refused = received after any crash.
    """

    tenant: UUID
    series_ids: I64
    timestamps_ms: I64
    values: F64
    new: Sequence[NewSeries] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    metadata: Sequence[MetricMetadata] = ()

    @property
    def samples(self) -> int:
        """How many samples it has; may be 0."""
        return int(self.series_ids.size)


async def packed(writes: Sequence[Write], new_ids: Sequence[I64] | None) -> list[tuple[Any, ...]]:
    """As `pack_rows`, in a thread where it takes long."""
    if sum(write.samples for write in writes) <= INLINE_SAMPLES_MAX:
        return pack_rows(writes, new_ids)
    return await anyio.to_thread.run_sync(pack_rows, writes, new_ids)


def pack_rows(writes: Sequence[Write], new_ids: Sequence[I64] | None) -> list[tuple[Any, ...]]:
    """(tenant, min_ts, max_ts, samples, payload) of each tenant that has samples, by tenant.

    One row of `metrics.batch` each, arrival order kept. new_ids: of the series in `write.new`.
    """
    parts: dict[UUID, list[tuple[I64, I64, F64]]] = {}
    for i, write in enumerate(writes):
        if write.samples:
            series_ids = write.series_ids
            if write.new and new_ids is not None:
                series_ids = np.where(
                    series_ids < 0, new_ids[i][-1 - np.minimum(series_ids, -1)], series_ids
                )
            parts.setdefault(write.tenant, []).append(
                (series_ids, write.timestamps_ms, write.values)
            )
    rows: list[tuple[Any, ...]] = []
    for tenant in sorted(parts):
        pieces = parts[tenant]
        whole = (
            pieces[0]
            if len(pieces) == 1
            else tuple(np.concatenate(column) for column in zip(*pieces, strict=True))
        )
        columns = batch.Columns(*whole)
        times = columns.timestamps_ms
        rows.append((tenant, int(times.min()), int(times.max()), len(columns), batch.pack(columns)))
    return rows


def refused_rows(writes: Sequence[Write]) -> list[tuple[UUID, str, int]]:
    """(tenant, reason, samples), in one order: two writers cannot wait for each other's rows."""
    totals: dict[tuple[UUID, str], int] = {}
    for write in writes:
        for reason, samples in write.refused.items():
            totals[write.tenant, reason] = totals.get((write.tenant, reason), 0) + samples
    return [(tenant, reason, samples) for (tenant, reason), samples in sorted(totals.items())]


def metadata_rows(changed: Sequence[tuple[UUID, MetricMetadata]]) -> list[tuple[Any, ...]]:
    """(tenant, metric name, type, help, unit) of the last of each name, in one order as well."""
    latest = {(tenant, metadata.metric_name): metadata for tenant, metadata in changed}
    return [
        (tenant, name, metadata.type, metadata.help, metadata.unit)
        for (tenant, name), metadata in sorted(latest.items(), key=lambda item: item[0])
    ]
