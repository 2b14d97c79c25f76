"""What one request has to commit, and the rows that several of them become."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import anyio.to_thread
import numpy as np

from data_ingest import batch, histograms
from data_ingest.histograms import NO_MESSAGES, Messages
from data_ingest.labels import NewSeries
from data_ingest.model import F64, I64, Exemplar, MetricMetadata

ACTIVE_SERIES = "active_series_limit"
EXAMPLE_MAX = 1000
INLINE_SAMPLES_MAX = 10_000
"""Packing this many takes 0.3 ms: as long as waking a thread on a busy machine."""
INLINE_EXEMPLARS_MAX = 500
LABEL_CHARACTERS_OF_A_SAMPLE = 256
"""So 2,000,000 samples in the queue are at most 0.5 GB of labels, and a transaction has 13 MB."""


@dataclass(slots=True, eq=False)
class Write:
    """The part of one request that is to be committed, as a whole or not at all.

    series_ids: (n,) int64; -1 - i stands for the series `new[i]`, which has no id yet.
    refused: counted in the same transaction, so that accepted + refused = received after any crash.
    active_series_max: what the plan allows; None for any number. active_ids: ascending, the series
    this process saw in the window; None when it need not be said now. examples: why the first was
    refused, by reason. sender: the id of the key that it came with, or what in the hub made it.
    retention_days: of the plan, 0 for no limit; None where the plan is not known.
    histograms: what values that stand for one have the numbers of. exemplars: committed with it.
    """

    tenant: UUID
    series_ids: I64
    timestamps_ms: I64
    values: F64
    new: Sequence[NewSeries] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    metadata: Sequence[MetricMetadata] = ()
    active_series_max: int | None = None
    active_ids: I64 | None = None
    examples: Mapping[str, str] = field(default_factory=dict)
    sender: str = ""
    retention_days: int | None = None
    histograms: Messages = field(default_factory=lambda: NO_MESSAGES)
    exemplars: Sequence[Exemplar] = ()

    @property
    def samples(self) -> int:
        """How many samples it has; may be 0."""
        return int(self.series_ids.size)

    @property
    def weight(self) -> int:
        """How many samples cost as much as all of it: an exemplar weighs as one."""
        messages = self.histograms.nbytes // histograms.BYTES_OF_A_SAMPLE
        labels = sum([len(series.labels_json) for series in self.new])
        labels //= LABEL_CHARACTERS_OF_A_SAMPLE
        return self.samples + len(self.exemplars) + int(messages) + labels

    def resolved(self, new_ids: I64) -> "Write":
        """The same with the ids of its new series; samples of an id 0 are refused.

        new_ids: of the series in `new`; 0 for one that the plan's cap leaves no room for.
        """
        if not self.new:
            return self
        is_new = self.series_ids < 0
        series_ids = np.where(
            is_new, new_ids[-1 - np.minimum(self.series_ids, -1)], self.series_ids
        )
        refused, examples, stored = dict(self.refused), dict(self.examples), series_ids != 0
        if over := int(np.count_nonzero(~stored)):
            refused[ACTIVE_SERIES] = refused.get(ACTIVE_SERIES, 0) + over
            first = self.new[int(np.flatnonzero(new_ids == 0)[0])].labels_json
            examples[ACTIVE_SERIES] = f"the plan's active series are used up: {first[:200]}"
        return replace(
            self,
            series_ids=series_ids[stored],
            timestamps_ms=self.timestamps_ms[stored],
            values=self.values[stored],
            exemplars=_with_ids(self.exemplars, new_ids),
            new=(),
            refused=refused,
            examples=examples,
        )


def registrations(write: Write, new_max: int) -> Iterator[Write]:
    """Writes without samples that make the new series of `write`, at most `new_max` each.

    One transaction with all of them would delay every other sender, or time out at each try. Should
    a later one fail, series without samples do no harm, and the next try finds them.
    """
    for i in range(0, len(write.new), new_max):
        yield Write(
            write.tenant,
            write.series_ids[:0],
            write.timestamps_ms[:0],
            write.values[:0],
            write.new[i : i + new_max],
            active_series_max=write.active_series_max,
        )


async def computed(
    rows_of: Callable[[Sequence[Write]], list[tuple[Any, ...]]], writes: Sequence[Write]
) -> list[tuple[Any, ...]]:
    """`rows_of(writes)`, in a thread where that takes long."""
    if sum(write.weight for write in writes) > INLINE_SAMPLES_MAX or have_many_exemplars(writes):
        return await anyio.to_thread.run_sync(rows_of, writes)
    return rows_of(writes)


async def resolved(writes: Sequence[Write], new_ids: Sequence[I64]) -> list[Write]:
    """`Write.resolved` of each, in a thread where that takes long."""
    with_ids = map(Write.resolved, writes, new_ids)
    if have_many_exemplars(writes):
        return await anyio.to_thread.run_sync(list, with_ids)
    return list(with_ids)


def have_many_exemplars(writes: Sequence[Write]) -> bool:
    """Whether they take longer than waking a thread."""
    return sum(len(write.exemplars) for write in writes) > INLINE_EXEMPLARS_MAX


def pack_rows(writes: Sequence[Write]) -> list[tuple[Any, ...]]:
    """(tenant, min_ts, max_ts, samples, payload, bytes of its histograms) of each tenant that has
    samples, by tenant.

    One row of `metrics.batch` each, arrival order kept. All series have their ids.
    """
    parts: dict[UUID, list[Write]] = {}
    for write in writes:
        if write.samples:
            parts.setdefault(write.tenant, []).append(write)
    rows: list[tuple[Any, ...]] = []
    for tenant in sorted(parts):
        columns = columns_of(parts[tenant])
        times, payload = columns.timestamps_ms, batch.pack(columns)
        span = int(times.min()), int(times.max())
        rows.append((tenant, *span, len(columns), payload, batch.histogram_bytes(payload)))
    return rows


def columns_of(parts: Sequence[batch.Columns | Write]) -> batch.Columns:
    """The samples of all of them, one after another."""
    if len(parts) == 1:
        (one,) = parts
        return batch.Columns(one.series_ids, one.timestamps_ms, one.values, one.histograms)
    return batch.Columns(
        np.concatenate([part.series_ids for part in parts]),
        np.concatenate([part.timestamps_ms for part in parts]),
        *histograms.joined([(part.values, part.histograms) for part in parts]),
    )


def _with_ids(exemplars: Sequence[Exemplar], new_ids: I64) -> list[Exemplar]:
    """Those whose series has an id, with it."""
    resolved = [
        replace(one, series=int(new_ids[-1 - one.series])) if one.series < 0 else one
        for one in exemplars
    ]
    return [one for one in resolved if one.series]


def exemplar_rows(writes: Sequence[Write]) -> list[tuple[Any, ...]]:
    """(tenant, series ids, timestamps, values, labels) of each tenant's exemplars, all in one
    order: two writers cannot wait for each other's rows.
    """
    of_tenant: dict[UUID, set[tuple[int, int, float, str]]] = {}
    for write in writes:
        rows = ((one.series, one.timestamp_ms, one.value, one.labels) for one in write.exemplars)
        of_tenant.setdefault(write.tenant, set()).update(rows)
    return [
        (tenant, *map(list, zip(*sorted(rows), strict=True)))
        for tenant, rows in sorted(of_tenant.items())
        if rows
    ]


def refused_rows(writes: Sequence[Write]) -> list[tuple[UUID, str, str, int, str]]:
    """(tenant, reason, sender, samples, example of the last), in one order: two writers cannot
    wait for each other's rows.
    """
    totals: dict[tuple[UUID, str, str], tuple[int, str]] = {}
    for write in writes:
        for reason, samples in write.refused.items():
            key = write.tenant, reason, write.sender
            before, _ = totals.get(key, (0, ""))
            example = write.examples.get(reason, "")[:EXAMPLE_MAX].replace("\0", "�")
            totals[key] = before + samples, example
    return [(*key, *total) for key, total in sorted(totals.items())]


def metadata_rows(changed: Sequence[tuple[UUID, MetricMetadata]]) -> list[tuple[Any, ...]]:
    """(tenant, metric name, type, help, unit) of the last of each name, in one order as well."""
    latest = {(tenant, metadata.metric_name): metadata for tenant, metadata in changed}
    return [
        (tenant, name, metadata.type, metadata.help, metadata.unit)
        for (tenant, name), metadata in sorted(latest.items(), key=lambda item: item[0])
    ]
