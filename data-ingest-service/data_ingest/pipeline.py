"""The write path: decode → look up series → admit → commit → acknowledge.

    ingest_body ─▶ thread: decode, look up series, admit ─▶ rate ─▶ commit ─▶ learn ─▶ Outcome
    ingest      ─▶ the same for a batch that is decoded already (scrape, in process)

Every sample of a request is either committed or counted as refused in the same transaction, so
accepted + refused = received, whatever is killed when. A request that fails as a whole (503, 413,
400 for bytes that do not decode) has left nothing behind.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import anyio.to_thread
import numpy as np
import structlog
from prometheus_client import Counter

from data_ingest.admission import Prepared, admit
from data_ingest.chassis.identity import Limits
from data_ingest.errors import RateLimited, SeriesOutdated, StoreError, StoreRefused
from data_ingest.labels import LabelRules
from data_ingest.limits import METADATA_NOT_KEPT, RateLimits, TimeSpan
from data_ingest.model import I64, Outcome, SampleBatch, Sender
from data_ingest.store.series import KnownSeries, SeriesCache
from data_ingest.store.writer import Writer

RATE_LIMITED = "rate_limited"
OUTDATED_MAX = 2
"""How often a request looks its series up anew because some were deleted meanwhile."""

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
        self._rates = RateLimits()

    async def ingest(
        self, tenant: UUID, decoded: SampleBatch, limits: Limits, protocol: str
    ) -> Outcome:
        """What became of the samples, once that is durable; the hub itself is their sender.

        Raises `RateLimited` (all counted as refused, none stored), `StoreUnavailable` or
        `Overloaded` (nothing stored).
        """
        sender = Sender(tenant, protocol)
        return await _repeated(
            lambda: self._ingest(sender, lambda: decoded, limits, protocol, retention_days=None)
        )

    async def ingest_body(
        self,
        sender: Sender,
        decode: Callable[[], SampleBatch],
        limits: Limits,
        protocol: str,
        *,
        is_small: bool = False,
    ) -> Outcome:
        """As `ingest`, for bytes still to be decoded, with the limits of the tenant's plan.

        is_small: that costs less than a thread. `decode` runs again when series were deleted
        meanwhile.
        """
        days = limits.retention_days or 0
        return await _repeated(
            lambda: self._ingest(
                sender, decode, limits, protocol, retention_days=days, is_small=is_small
            )
        )

    async def _ingest(
        self,
        sender: Sender,
        decode: Callable[[], SampleBatch],
        limits: Limits,
        protocol: str,
        *,
        retention_days: int | None,
        is_small: bool = False,
    ) -> Outcome:
        tenant = sender.tenant
        now_s = self._clock()
        series = self._series.of(tenant, self._writer.series_epoch(tenant))
        prepared = await self._prepare(sender, decode, series, limits, now_s, is_small=is_small)
        prepared.write.retention_days = retention_days
        samples, wait_s = prepared.write.samples, 0.0
        if limits.samples_per_s is not None and samples:
            rate = float(limits.samples_per_s), float(limits.burst_samples or limits.samples_per_s)
            wait_s = self._rates.take(tenant, rate, samples, now_s)
        if wait_s:
            example = f"over {limits.samples_per_s} samples/s"
            prepared, samples = prepared.without_samples(RATE_LIMITED, example), 0
        try:
            outcome = await self._commit(prepared, series, now_s)
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
        prepared.committed()
        return outcome

    async def _prepare(
        self,
        sender: Sender,
        decode: Callable[[], SampleBatch],
        series: KnownSeries,
        limits: Limits,
        now_s: float,
        *,
        is_small: bool,
    ) -> Prepared:
        """What is to be committed. All of it happens in one worker thread, so that the event loop
        is free; of a small request only what new series and the list of active ones cost.
        """
        span = TimeSpan.at(int(now_s * 1000), limits.retention_days, self._future_ms_max)

        def look_up() -> tuple[SampleBatch, I64]:
            batch = decode()
            return batch, series.find(batch.keys, _minute(now_s))

        def admitted(batch: SampleBatch, row_ids: I64) -> Prepared:
            prepared = admit(sender, batch, row_ids, span, self._rules)
            return self._capped(prepared, series, limits, now_s)

        if not is_small:
            return await anyio.to_thread.run_sync(lambda: admitted(*look_up()))
        batch, row_ids = look_up()
        is_listed = limits.active_series is None or series.is_listed(_minute(now_s))
        if row_ids.all() and is_listed:
            return admitted(batch, row_ids)
        return await anyio.to_thread.run_sync(admitted, batch, row_ids)

    def _capped(
        self, prepared: Prepared, series: KnownSeries, limits: Limits, now_s: float
    ) -> Prepared:
        """With the plan's cap of active series, and from time to time with which are."""
        if limits.active_series is None or not prepared.write.samples:
            return prepared
        active_ids = series.active_ids(_minute(now_s), self._active_minutes)
        capped = replace(
            prepared.write, active_series_max=limits.active_series, active_ids=active_ids
        )
        return replace(prepared, write=capped)

    async def _commit(self, prepared: Prepared, series: KnownSeries, now_s: float) -> Outcome:
        """As `_commit_whole`, for as much as Postgres takes: metadata goes first, then samples."""
        while True:
            try:
                return await self._commit_whole(prepared, series, now_s)
            except StoreRefused as refusal:
                if not (prepared.write.samples or prepared.write.metadata):
                    raise
                prepared = prepared.with_less(refusal)

    async def _commit_whole(self, prepared: Prepared, series: KnownSeries, now_s: float) -> Outcome:
        """What became of the samples; the series that have a row now are known from here on."""
        write, new_ids = prepared.write, np.empty(0, np.int64)
        if write.samples or write.refused or write.metadata:
            new_ids = await self._writer.commit(write, series.epoch)
        ids = new_ids[prepared.new_at] if prepared.new_at.size else new_ids
        if ids.size and (has_row := ids != 0).any():
            # Only now: with an id in the cache whose row has not committed, samples would be
            # acknowledged without their series.
            rows_max = self._series.rows_max
            await anyio.to_thread.run_sync(
                series.learn, prepared.new_keys[has_row], ids[has_row], _minute(now_s), rows_max
            )
            self._series.enforce_budget(write.tenant)
        stored = write.resolved(new_ids)
        return Outcome(
            stored.samples,
            stored.refused,
            prepared.skipped,
            first_error=next(iter(stored.examples.values()), ""),
            refused_points=prepared.refused_points(new_ids),
        )


async def _repeated(ingest: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """What `ingest` gives, which looks series up anew when some were deleted meanwhile."""
    for _ in range(OUTDATED_MAX):
        with contextlib.suppress(SeriesOutdated):
            return await ingest()
    return await ingest()


def _minute(now_s: float) -> int:
    return int(now_s // 60)


def _count(tenant: UUID, protocol: str, outcome: Outcome) -> None:
    if outcome.accepted:
        SAMPLES.labels(protocol, "accepted").inc(outcome.accepted)
    for reason, samples in (*outcome.refused.items(), *outcome.skipped.items()):
        SAMPLES.labels(protocol, reason).inc(samples)
    if not_kept := outcome.skipped.get(METADATA_NOT_KEPT):
        log.warning("metadata_not_kept", tenant=str(tenant), descriptions=not_kept)
