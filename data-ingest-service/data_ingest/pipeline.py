"""The write path: decode → look up series → limits → commit → acknowledge.

    ingest_body ─▶ thread: decode, look up series, check ─▶ tokens ─▶ commit ─▶ learn ─▶ Outcome
    ingest      ─▶ the same for a batch that is decoded already (scrape, in process)

Every sample of a request is either committed or counted as refused in the same transaction, so
accepted + refused = received, whatever is killed when. A request that fails as a whole (503, 413,
400 for bytes that do not decode) has left nothing behind.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import anyio.to_thread
import numpy as np
import structlog
from prometheus_client import Counter

from data_ingest.chassis.identity import Limits
from data_ingest.errors import InvalidLabels, RateLimited, StoreError, StoreRefused
from data_ingest.labels import LabelRules, NewSeries, canonical
from data_ingest.limits import METADATA_NOT_KEPT, TimeSpan, TokenBucket, storable_metadata
from data_ingest.model import I64, Outcome, SampleBatch
from data_ingest.prepared import Prepared, Refusals, added
from data_ingest.store.packing import Write
from data_ingest.store.series import KnownSeries, SeriesCache
from data_ingest.store.writer import Writer

INVALID_LABELS = "invalid_labels"
RATE_LIMITED = "rate_limited"
BUCKETS_MAX = 100_000

log = structlog.get_logger()
SAMPLES = Counter(
    "cloudopshub_ingest_samples_total",
    "Samples received, by what became of them.",
    ["protocol", "outcome"],
)


class Pipeline:
    """The write path of one process."""

    def __init__(
        self,
        series: SeriesCache,
        writer: Writer,
        rules: LabelRules,
        *,
        future_ms_max: int,
        active_window_s: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._series = series
        self._writer = writer
        self._rules = rules
        self._future_ms_max = future_ms_max
        self._active_minutes = max(1, active_window_s // 60)
        self._clock = clock
        self._store_epoch = writer.store_epoch
        self._buckets: OrderedDict[UUID, TokenBucket] = OrderedDict()

    async def ingest(
        self, tenant: UUID, decoded: SampleBatch, limits: Limits, protocol: str
    ) -> Outcome:
        """What became of the samples, once that is durable.

        Raises `RateLimited` (all counted as refused, none stored), `StoreUnavailable` or
        `Overloaded` (nothing stored).
        """
        return await self.ingest_body(tenant, lambda: decoded, limits, protocol)

    async def ingest_body(
        self, tenant: UUID, decode: Callable[[], SampleBatch], limits: Limits, protocol: str
    ) -> Outcome:
        """As `ingest`, for bytes still to be decoded.

        `decode` runs in the same worker thread as the look-up, so that the event loop is free and
        one request costs one change of threads.
        """
        now_s = self._clock()
        store_epoch = self._writer.store_epoch
        if store_epoch != self._store_epoch:
            self._series.clear()
            self._store_epoch = store_epoch
        series = self._series.of(tenant)
        prepared = await anyio.to_thread.run_sync(
            self._prepare, tenant, decode, series, limits, now_s
        )
        wait_s = self._take_tokens(tenant, limits, prepared.write.samples, now_s)
        if wait_s:
            prepared = prepared.without_samples(RATE_LIMITED)
        try:
            outcome = await self._commit(prepared, series, now_s, store_epoch)
        except StoreError:
            if prepared.write.samples and (bucket := self._buckets.get(tenant)):
                bucket.give_back(prepared.write.samples)
            raise
        over = prepared.write.samples - outcome.accepted
        if over and (bucket := self._buckets.get(tenant)):
            bucket.give_back(over)
        _count(protocol, outcome)
        if not_kept := outcome.skipped.get(METADATA_NOT_KEPT):
            log.warning("metadata_not_kept", tenant=str(tenant), descriptions=not_kept)
        if wait_s:
            raise RateLimited(
                samples=outcome.refused_total,
                limit_per_s=limits.samples_per_s,
                retry_after_s=wait_s,
            )
        return outcome

    # -- in a worker thread: pure but for the look-up --

    def _prepare(
        self,
        tenant: UUID,
        decode: Callable[[], SampleBatch],
        series: KnownSeries,
        limits: Limits,
        now_s: float,
    ) -> Prepared:
        batch = decode()
        refusals = Refusals(dict(batch.refused), batch.first_error)
        series_of, timestamps_ms, values = batch.series_of, batch.timestamps_ms, batch.values
        if batch.samples:
            span = TimeSpan.at(int(now_s * 1000), limits.retention_days, self._future_ms_max)
            if not span.holds(timestamps_ms):
                inside, counts = span.split(timestamps_ms)
                first = int(timestamps_ms[~inside][0])
                refusals.add(
                    counts, f"timestamp {first} is outside {span.min_ms}..{span.max_ms} (ms)"
                )
                series_of, timestamps_ms, values = (
                    series_of[inside],
                    timestamps_ms[inside],
                    values[inside],
                )
        row_ids, unknown = series.find(batch.keys, _minute(now_s))
        new: list[NewSeries] = []
        new_rows: list[int] = []
        if unknown and timestamps_ms.size:
            new, new_rows = self._new_series(batch, row_ids, series_of, refusals)
        series_ids = row_ids[series_of]
        if refusals.rows:
            for reason, rows in refusals.rows.items():
                refusals.add({reason: int(np.isin(series_of, rows).sum())})
            valid = series_ids != 0
            series_ids, timestamps_ms, values = (
                series_ids[valid],
                timestamps_ms[valid],
                values[valid],
            )
        metadata, skipped = storable_metadata(batch.metadata), batch.skipped
        if not_kept := len(batch.metadata) - len(metadata):
            skipped = added(skipped, METADATA_NOT_KEPT, not_kept)
        active_ids = None
        if limits.active_series is not None and timestamps_ms.size:
            active_ids = series.active_ids(_minute(now_s), self._active_minutes)
        return Prepared(
            Write(
                tenant,
                series_ids,
                timestamps_ms,
                values,
                new,
                refusals.counts,
                metadata,
                limits.active_series,
                active_ids,
            ),
            new_keys=batch.keys[new_rows],
            new_at=-1 - row_ids[new_rows],
            skipped=skipped,
            first_error=refusals.first_error,
        )

    def _new_series(
        self,
        batch: SampleBatch,
        row_ids: I64,
        series_of: I64,
        refusals: Refusals,
    ) -> tuple[list[NewSeries], list[int]]:
        """The series that are not in the cache, each once, and the rows of `batch.keys` with them.

        In `row_ids` these rows get -1 - (index into the new series); refused rows, and rows without
        samples, stay 0.
        """
        in_use = np.zeros(len(row_ids), bool)
        in_use[series_of] = True
        new: list[NewSeries] = []
        index_of: dict[bytes, int] = {}
        rows: list[int] = []
        for row in np.flatnonzero((row_ids == 0) & in_use).tolist():
            try:
                series = canonical(batch.labels_at(row), self._rules)
            except InvalidLabels as error:
                refusals.refuse_row(INVALID_LABELS, row, str(error))
                continue
            index = index_of.get(series.labels_hash)
            if index is None:
                index = index_of[series.labels_hash] = len(new)
                new.append(series)
            row_ids[row] = -1 - index
            rows.append(row)
        return new, rows

    # -- on the event loop --

    def _take_tokens(self, tenant: UUID, limits: Limits, samples: int, now_s: float) -> float:
        """0.0 when the samples may pass; else the seconds to wait."""
        if limits.samples_per_s is None or not samples:
            return 0.0
        rate, burst = (
            float(limits.samples_per_s),
            float(limits.burst_samples or limits.samples_per_s),
        )
        bucket = self._buckets.get(tenant)
        if bucket is None or (bucket.rate_per_s, bucket.burst) != (rate, burst):
            bucket = self._buckets[tenant] = TokenBucket(rate, burst)
        self._buckets.move_to_end(tenant)
        while len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        return bucket.take(samples, now_s)

    async def _commit(
        self, prepared: Prepared, series: KnownSeries, now_s: float, store_epoch: int
    ) -> Outcome:
        """As `_commit_whole`, for as much as Postgres takes: metadata goes first, then samples."""
        while True:
            try:
                return await self._commit_whole(prepared, series, now_s, store_epoch)
            except StoreRefused as refusal:
                if not (prepared.write.samples or prepared.write.metadata):
                    raise
                prepared = prepared.with_less(refusal)

    async def _commit_whole(
        self, prepared: Prepared, series: KnownSeries, now_s: float, store_epoch: int
    ) -> Outcome:
        """What became of the samples; the series that have a row now are known from here on."""
        write, new_ids = prepared.write, np.empty(0, np.int64)
        if write.samples or write.refused or write.metadata:
            if len(write.new) > self._writer.new_series_max:
                new_ids = await self._register_series(write, store_epoch)
                await self._writer.commit(write.resolved(new_ids), store_epoch)
            else:
                new_ids = await self._writer.commit(write, store_epoch)
        ids = new_ids[prepared.new_at]
        if (has_row := ids != 0).any():
            # Only now: with an id in the cache whose row has not committed, samples would be
            # acknowledged without their series.
            rows_max = self._series.rows_max
            await anyio.to_thread.run_sync(
                series.learn, prepared.new_keys[has_row], ids[has_row], _minute(now_s), rows_max
            )
            self._series.enforce_budget(write.tenant)
        stored, first_error = write.resolved(new_ids), prepared.first_error
        if not has_row.all() and not first_error:
            labels = write.new[int(np.flatnonzero(new_ids == 0)[0])].labels_json[:200]
            first_error = f"the plan's active series are used up: {labels}"
        return Outcome(stored.samples, stored.refused, prepared.skipped, first_error)

    async def _register_series(self, write: Write, store_epoch: int) -> I64:
        """The ids of the new series, as of `Writer.commit`; the series are committed.

        In transactions of the usual size: one with all of them would delay every other sender, or
        time out at each try. Should the rest fail, series without samples do no harm, and the next
        try finds them.
        """
        at_once, nothing = self._writer.new_series_max, slice(0, 0)
        ids: list[I64] = []
        for i in range(0, len(write.new), at_once):
            part = replace(
                write,
                series_ids=write.series_ids[nothing],
                timestamps_ms=write.timestamps_ms[nothing],
                values=write.values[nothing],
                new=write.new[i : i + at_once],
                refused={},
                metadata=(),
                active_ids=None,
            )
            ids.append(await self._writer.commit(part, store_epoch))
        return np.concatenate(ids)


def _minute(now_s: float) -> int:
    return int(now_s // 60)


def _count(protocol: str, outcome: Outcome) -> None:
    if outcome.accepted:
        SAMPLES.labels(protocol, "accepted").inc(outcome.accepted)
    for reason, samples in (*outcome.refused.items(), *outcome.skipped.items()):
        SAMPLES.labels(protocol, reason).inc(samples)
