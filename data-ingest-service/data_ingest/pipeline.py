"""The write path: decode → look up series → admit → commit → acknowledge.

    ingest_body ─▶ thread: decode, look up series, admit ─▶ rate ─▶ commit ─▶ learn ─▶ Outcome
    ingest      ─▶ the same for a batch that is decoded already (scrape, in process)

Every sample of a request is either committed or counted as refused in the same transaction, so
accepted + refused = received, whatever is killed when. A request that fails as a whole (503, 413,
400 for bytes that do not decode) has left nothing behind.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import anyio.to_thread
import numpy as np
import structlog
from prometheus_client import Counter

from data_ingest.admission import Prepared, admit
from data_ingest.chassis.identity import Limits
from data_ingest.errors import RateLimited, StoreError, StoreRefused
from data_ingest.labels import LabelRules
from data_ingest.limits import METADATA_NOT_KEPT, RateLimits, TimeSpan
from data_ingest.model import Outcome, SampleBatch
from data_ingest.store.series import KnownSeries, SeriesCache
from data_ingest.store.writer import Writer

RATE_LIMITED = "rate_limited"

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
        self._rates = RateLimits()

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
        now_s, store_epoch = self._clock(), self._writer.store_epoch
        if store_epoch != self._store_epoch:
            self._series.clear()
            self._store_epoch = store_epoch
        series = self._series.of(tenant)
        prepared = await anyio.to_thread.run_sync(
            self._prepare, tenant, decode, series, limits, now_s
        )
        samples, wait_s = prepared.write.samples, 0.0
        if limits.samples_per_s is not None and samples:
            rate = float(limits.samples_per_s), float(limits.burst_samples or limits.samples_per_s)
            wait_s = self._rates.take(tenant, rate, samples, now_s)
        if wait_s:
            prepared, samples = prepared.without_samples(RATE_LIMITED), 0
        try:
            outcome = await self._commit(prepared, series, now_s, store_epoch)
        except StoreError:
            self._rates.give_back(tenant, samples)
            raise
        self._rates.give_back(tenant, samples - outcome.accepted)
        _count(tenant, protocol, outcome)
        if wait_s:
            raise RateLimited(
                samples=outcome.refused_total,
                limit_per_s=limits.samples_per_s,
                retry_after_s=wait_s,
            )
        return outcome

    def _prepare(
        self,
        tenant: UUID,
        decode: Callable[[], SampleBatch],
        series: KnownSeries,
        limits: Limits,
        now_s: float,
    ) -> Prepared:
        """In a worker thread: what is to be committed."""
        batch = decode()
        row_ids = series.find(batch.keys, _minute(now_s))
        span = TimeSpan.at(int(now_s * 1000), limits.retention_days, self._future_ms_max)
        prepared = admit(tenant, batch, row_ids, span, self._rules)
        if limits.active_series is None or not prepared.write.samples:
            return prepared
        active_ids = series.active_ids(_minute(now_s), self._active_minutes)
        capped = replace(
            prepared.write, active_series_max=limits.active_series, active_ids=active_ids
        )
        return replace(prepared, write=capped)

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
        refused_points = prepared.refused_points(new_ids)
        return Outcome(
            stored.samples, stored.refused, prepared.skipped, first_error, refused_points
        )


def _minute(now_s: float) -> int:
    return int(now_s // 60)


def _count(tenant: UUID, protocol: str, outcome: Outcome) -> None:
    if outcome.accepted:
        SAMPLES.labels(protocol, "accepted").inc(outcome.accepted)
    for reason, samples in (*outcome.refused.items(), *outcome.skipped.items()):
        SAMPLES.labels(protocol, reason).inc(samples)
    if not_kept := outcome.skipped.get(METADATA_NOT_KEPT):
        log.warning("metadata_not_kept", tenant=str(tenant), descriptions=not_kept)
