"""The write path: decode → look up series → admit → commit → acknowledge.

    ingest_body ─▶ thread: decode, look up series, admit ─▶ rate ─▶ commit ─▶ learn ─▶ Outcome
    ingest      ─▶ the same for a batch that is decoded already (scrape, in process)

Every sample of a request is either committed or counted as refused in the same transaction, or
dropped because another replica of its cluster is stored, or because its tenant's resolution is
lowered: accepted + refused + deduplicated + lowered = received, whatever is killed when. A request
that fails as a whole (503, 413, 400 for bytes that do not decode) has left nothing behind.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import ParamSpec
from uuid import UUID

import anyio.to_thread
import numpy as np
import structlog
from prometheus_client import Counter

from data_ingest.admission import Prepared, admit, with_resolution
from data_ingest.chassis.identity import Limits
from data_ingest.errors import RateLimited, SeriesOutdated, StoreError, StoreRefused
from data_ingest.histograms import are_histograms
from data_ingest.labels import LabelRules
from data_ingest.limits import METADATA_NOT_KEPT, TimeSpan
from data_ingest.model import I64, Outcome, SampleBatch, Sender
from data_ingest.replicas import Groups, Recognition
from data_ingest.resolution import RESOLUTION_LOWERED, Resolution
from data_ingest.store.elections import Elections
from data_ingest.store.packing import resolved
from data_ingest.store.rate_leases import RateLeases
from data_ingest.store.series import KnownSeries, SeriesCache
from data_ingest.store.writer import Writer

RATE_LIMITED = "rate_limited"
QUOTA_USED_UP = "quota_used_up"
OUTDATED_MAX = 2
"""How often a request looks its series up anew because some were deleted meanwhile."""

log = structlog.get_logger()
SAMPLES = Counter(
    "cloudopshub_ingest_samples_total",
    "Samples received, by what became of them.",
    ["protocol", "outcome"],
)


Write = ParamSpec("Write")


def _looking_up_again(
    ingest: Callable[Write, Awaitable[Outcome]],
) -> Callable[Write, Awaitable[Outcome]]:
    """As `ingest`, which looks series up anew when some were deleted meanwhile."""

    @wraps(ingest)
    async def repeated(*args: Write.args, **options: Write.kwargs) -> Outcome:
        for _ in range(OUTDATED_MAX):
            with contextlib.suppress(SeriesOutdated):
                return await ingest(*args, **options)
        return await ingest(*args, **options)

    return repeated


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
        rates: RateLeases,
        elections: Elections,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._series = series
        self._writer = writer
        self._rules = rules
        self._future_ms_max = future_ms_max
        self._active_minutes = max(1, active_window_s // 60)
        self._clock = clock
        self._rates = rates
        self._elections = elections

    async def ingest(
        self,
        tenant: UUID,
        decoded: SampleBatch,
        limits: Limits,
        protocol: str,
        *,
        sender: Sender | None = None,
        is_history: bool = False,
    ) -> Outcome:
        """As `ingest_body`, of a batch made in this process; without `sender` the hub is it.

        Its limits say nothing of the tenant's plan as it is now.
        """
        return await self.ingest_body(
            sender or Sender(tenant, protocol),
            lambda: decoded,
            limits,
            protocol,
            has_plan=False,
            is_history=is_history,
        )

    def admitted(self, sender: Sender, batch: SampleBatch, limits: Limits) -> Outcome:
        """What would become of the samples, but for the plan's rate and active series; none is
        stored or counted.
        """
        span = TimeSpan.at(int(self._clock() * 1000), limits.retention_days, self._future_ms_max)
        unknown = np.zeros(len(batch.keys), np.int64)
        recognition = self._elections.all_elected(Groups())
        write = admit(sender, batch, unknown, span, self._rules, recognition=recognition).write
        return Outcome(write.samples, write.refused, batch.skipped, examples=write.examples)

    async def take_spare_rate(self, tenant: UUID, limits: Limits, samples: int) -> float:
        """0.0 when so many samples may pass and half of the plan's burst is left for what is sent
        live; else the seconds to wait.
        """
        if (rate := _rate(limits)) is None:
            return 0.0
        return await self._rates.take(tenant, rate, samples, spare=rate[1] / 2)

    @_looking_up_again
    async def ingest_body(
        self,
        sender: Sender,
        decode: Callable[[], SampleBatch],
        limits: Limits,
        protocol: str,
        *,
        is_small: bool = False,
        is_history: bool = False,
        has_plan: bool = True,
    ) -> Outcome:
        """What became of the samples that `decode` gives, once that is durable.

        is_small: decoding costs less than a thread. is_history: replicas neither drop the samples
        nor are elected by them. has_plan: the limits are those of the tenant's plan, so its
        retention is learned. `decode` runs again when series were deleted meanwhile.
        Raises `RateLimited` (all counted as refused, none stored), `StoreUnavailable` or
        `Overloaded` (nothing stored).
        """
        tenant, now_s = sender.tenant, self._clock()
        series = self._series.of(tenant, self._writer.series_epoch(tenant))
        recognition = (
            self._elections.all_elected(series.groups)
            if is_history
            else self._elections.recognition(tenant, series.groups)
        )
        interval_ms = limits.min_interval_ms if limits.blocked is None else None
        # What is imported is lowered by itself: it comes in order, and long after other samples.
        of = KnownSeries() if is_history else series
        resolution = of.resolution(interval_ms)
        span = TimeSpan.at(int(now_s * 1000), limits.retention_days, self._future_ms_max)

        def admitted(batch: SampleBatch, cached_ids: I64) -> Prepared:
            prepared = admit(sender, batch, cached_ids, span, self._rules, recognition=recognition)
            if recognition.undecided:
                return prepared
            if resolution is not None and prepared.write.samples:
                prepared = with_resolution(prepared, batch, resolution)
            return self._capped(prepared, series, limits, now_s)

        is_listed = limits.active_series is None or series.is_listed(_minute(now_s))
        prepared = await self._prepare(
            tenant,
            decode,
            admitted,
            series=series,
            recognition=recognition,
            is_small=is_small and is_listed,
        )
        if has_plan:
            prepared.write.retention_days = limits.retention_days or 0
        if limits.blocked is not None and prepared.write.samples:
            prepared = prepared.without_samples(QUOTA_USED_UP, limits.blocked)
        series_ids = prepared.write.series_ids
        # An exemplar costs as much as a sample.
        taken, wait_s = prepared.write.samples + len(prepared.write.exemplars), 0.0
        if (rate := _rate(limits)) and taken:
            wait_s = await self._rates.take(tenant, rate, taken)
        if wait_s:
            _forget(resolution, series_ids)
            example = f"over {limits.samples_per_s} samples/s"
            prepared, taken = prepared.without_samples(RATE_LIMITED, example), 0
        try:
            outcome = await self._commit(prepared, series, now_s, resolution)
        except StoreError:
            _forget(resolution, series_ids)
            self._rates.give_back(tenant, taken)
            raise
        self._rates.give_back(tenant, taken - outcome.accepted - outcome.exemplars)
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
        tenant: UUID,
        decode: Callable[[], SampleBatch],
        admitted: Callable[[SampleBatch, I64], Prepared],
        *,
        series: KnownSeries,
        recognition: Recognition,
        is_small: bool,
    ) -> Prepared:
        """What is to be committed. All of it happens in one worker thread, so that the event loop
        is free; of a small request only what new series cost.
        """

        def look_up() -> tuple[SampleBatch, I64]:
            batch = decode()
            return batch, series.find(batch.keys, _minute(self._clock()))

        def both() -> tuple[SampleBatch, I64, Prepared]:
            batch, cached_ids = look_up()
            return batch, cached_ids, admitted(batch, cached_ids)

        if not is_small:
            batch, cached_ids, prepared = await anyio.to_thread.run_sync(both)
        else:
            batch, cached_ids = look_up()
            if recognition.without_groups(cached_ids).all():
                prepared = admitted(batch, cached_ids)
            else:
                prepared = await anyio.to_thread.run_sync(admitted, batch, cached_ids)
        if recognition.undecided:
            await self._elections.decide(tenant, recognition)
            prepared = await anyio.to_thread.run_sync(admitted, batch, cached_ids)
        return prepared

    def _capped(
        self, prepared: Prepared, series: KnownSeries, limits: Limits, now_s: float
    ) -> Prepared:
        """With the plan's cap of active series, and from time to time with which are."""
        if limits.active_series is None or not (prepared.write.samples or prepared.write.new):
            return prepared
        active_ids = series.active_ids(_minute(now_s), self._active_minutes)
        capped = replace(
            prepared.write, active_series_max=limits.active_series, active_ids=active_ids
        )
        return replace(prepared, write=capped)

    async def _commit(
        self, prepared: Prepared, series: KnownSeries, now_s: float, resolution: Resolution | None
    ) -> Outcome:
        """What became of the samples; the series that have a row now are known from here on.

        Of what Postgres refuses there is less and less: metadata goes first, then samples.
        """
        write, new_ids = prepared.write, np.empty(0, np.int64)
        if write.samples or write.refused or write.metadata or write.exemplars:
            try:
                new_ids = await self._writer.commit(write, series.epoch)
            except StoreRefused as refusal:
                if not (write.samples or write.metadata):
                    raise
                less = prepared.with_less(refusal)
                return await self._commit(less, series, now_s, resolution)
        ids = new_ids[:0]
        if prepared.new_at.size:
            # A replica's series is learned with its group, also without an id.
            ids = np.append(new_ids, 0)[prepared.new_at] | prepared.new_groups
        if ids.size and (has_row := ids != 0).any():
            # Only now: with an id in the cache whose row has not committed, samples would be
            # acknowledged without their series.
            rows_max = self._series.rows_max
            await anyio.to_thread.run_sync(
                series.learn, prepared.new_keys[has_row], ids[has_row], _minute(now_s), rows_max
            )
            self._series.enforce_budget(write.tenant)
        if resolution is not None and prepared.lowered_new is not None and new_ids.size:
            resolution.adopt(prepared.lowered_new, new_ids)
        (stored,) = await resolved([write], [new_ids])
        refused, examples = dict(stored.refused), dict(stored.examples)
        lowered = refused.pop(RESOLUTION_LOWERED, 0)
        examples.pop(RESOLUTION_LOWERED, None)
        return Outcome(
            stored.samples,
            refused,
            prepared.skipped,
            first_error=next(iter(examples.values()), ""),
            refused_points=prepared.refused_points(new_ids),
            histograms=int(are_histograms(stored.values).sum()) if len(stored.histograms) else 0,
            exemplars=len(stored.exemplars),
            examples=examples,
            deduplicated=prepared.deduplicated,
            deduplicated_histograms=prepared.deduplicated_histograms,
            deduplicated_exemplars=prepared.deduplicated_exemplars,
            lowered=lowered,
        )


def _rate(limits: Limits) -> tuple[float, float] | None:
    """Samples a second and burst; None for any number."""
    if limits.samples_per_s is None:
        return None
    return float(limits.samples_per_s), float(limits.burst_samples or limits.samples_per_s)


def _forget(resolution: Resolution | None, series_ids: I64) -> None:
    """These samples are not stored after all."""
    if resolution is not None:
        resolution.forget(series_ids.tolist())


def _minute(now_s: float) -> int:
    return int(now_s // 60)


def _count(tenant: UUID, protocol: str, outcome: Outcome) -> None:
    if outcome.accepted:
        SAMPLES.labels(protocol, "accepted").inc(outcome.accepted)
    if outcome.deduplicated:
        SAMPLES.labels(protocol, "deduplicated").inc(outcome.deduplicated)
    if outcome.lowered:
        SAMPLES.labels(protocol, RESOLUTION_LOWERED).inc(outcome.lowered)
    for reason, samples in (*outcome.refused.items(), *outcome.skipped.items()):
        SAMPLES.labels(protocol, reason).inc(samples)
    if not_kept := outcome.skipped.get(METADATA_NOT_KEPT):
        log.warning("metadata_not_kept", tenant=str(tenant), descriptions=not_kept)
