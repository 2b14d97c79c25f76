"""The write path on one screen: decode → limit → commit → acknowledge.

    ingest_body ─▶ thread: decode, look up series, check ─▶ tokens ─▶ commit ─▶ learn ─▶ Outcome
    ingest      ─▶ the same for a batch that is decoded already (scrape, in process)

Everything a request says is either committed or counted as refused in the same transaction, so
accepted + refused = received, whatever is killed when. A request that fails whole (503, 413, 400
for bytes that do not decode) has left nothing behind.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

import anyio.to_thread
import numpy as np
from prometheus_client import Counter

from data_ingest.chassis.identity import Limits
from data_ingest.errors import InvalidLabels, RateLimited, StoreError, StoreRefused
from data_ingest.labels import LabelRules, NewSeries, canonical
from data_ingest.limits import TimeSpan, TokenBucket
from data_ingest.model import I64, U64, Outcome, SampleBatch
from data_ingest.store.series import KnownSeries, SeriesCache
from data_ingest.store.writer import Write, Writer

INVALID_LABELS = "invalid_labels"
ACTIVE_SERIES = "active_series_limit"
RATE_LIMITED = "rate_limited"
STORE_REFUSED = "store_refused"
BUCKETS_MAX = 100_000

SAMPLES = Counter(
    "cloudopshub_ingest_samples_total",
    "Samples received, by what became of them.",
    ["protocol", "outcome"],
)


@dataclass(slots=True)
class Refusals:
    """Samples that will not be stored, by reason, and why the first of them."""

    counts: dict[str, int]
    first_error: str
    rows: dict[str, list[int]] = field(default_factory=dict)

    def add(self, counts: Mapping[str, int], why: str = "") -> None:
        """Some more, counted."""
        for reason, samples in counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + samples
        self.first_error = self.first_error or why

    def refuse_row(self, reason: str, row: int, why: str) -> None:
        """All samples of one series occurrence; they are counted later, at once."""
        self.rows.setdefault(reason, []).append(row)
        self.first_error = self.first_error or why


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded request with its series looked up: what is to be committed, and what is refused.

    new_keys: (k, 2) cache keys that the ids of new series are to be learned under; new_at: (k,)
    index into `write.new`.
    """

    write: Write
    new_keys: U64
    new_at: I64
    skipped: Mapping[str, int]
    first_error: str

    def without_samples(self, reason: str) -> "Prepared":
        """The same request with all its samples refused: only the count is left to commit."""
        write, nothing = self.write, slice(0, 0)
        refused = dict(write.refused)
        refused[reason] = refused.get(reason, 0) + write.samples
        return replace(
            self,
            write=Write(
                write.tenant,
                write.series_ids[nothing],
                write.timestamps_ms[nothing],
                write.values[nothing],
                refused=refused,
            ),
            new_keys=self.new_keys[nothing],
            new_at=self.new_at[nothing],
        )


class Pipeline:
    """The write path of one process."""

    def __init__(
        self,
        series: SeriesCache,
        writer: Writer,
        rules: LabelRules,
        *,
        future_ms_max: int = 600_000,
        active_window_s: int = 3600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._series = series
        self._writer = writer
        self._rules = rules
        self._future_ms_max = future_ms_max
        self._active_minutes = max(1, active_window_s // 60)
        self._clock = clock
        self._history = writer.history
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

        `decode` runs in the same worker thread as the lookup, so the event loop goes on and one
        request costs one change of threads.
        """
        now_s = self._clock()
        history = self._writer.history
        if history != self._history:
            self._series.forget()
            self._history = history
        known = self._series.of(tenant)
        found = await anyio.to_thread.run_sync(self._prepare, tenant, decode, known, limits, now_s)
        wait_s = self._take_tokens(tenant, limits, found.write.samples, now_s)
        if wait_s:
            found = found.without_samples(RATE_LIMITED)
        try:
            await self._commit(found, known, now_s, history)
        except StoreRefused as refusal:
            found = replace(found.without_samples(STORE_REFUSED), first_error=str(refusal))
            await self._commit(found, known, now_s, history)
        except StoreError:
            if found.write.samples and (bucket := self._buckets.get(tenant)):
                bucket.give_back(found.write.samples)
            raise
        outcome = Outcome(
            found.write.samples, found.write.refused, found.skipped, found.first_error
        )
        _count(protocol, outcome)
        if wait_s:
            raise RateLimited(
                samples=outcome.refused_total,
                limit_per_s=limits.samples_per_s,
                retry_after_s=wait_s,
            )
        return outcome

    # -- in a worker thread: pure but for the lookup --

    def _prepare(
        self,
        tenant: UUID,
        decode: Callable[[], SampleBatch],
        known: KnownSeries,
        limits: Limits,
        now_s: float,
    ) -> Prepared:
        batch = decode()
        refusals = Refusals(dict(batch.refused), batch.first_error)
        series_of, timestamps_ms, values = batch.series_of, batch.timestamps_ms, batch.values
        if batch.samples:
            span = TimeSpan.at(int(now_s * 1000), limits.retention_days, self._future_ms_max)
            if not span.holds(timestamps_ms):
                kept, counts = span.split(timestamps_ms)
                worst = int(timestamps_ms[~kept][0])
                refusals.add(
                    counts, f"timestamp {worst} is outside {span.min_ms}..{span.max_ms} (ms)"
                )
                series_of, timestamps_ms, values = (
                    series_of[kept],
                    timestamps_ms[kept],
                    values[kept],
                )
        row_ids, unknown = known.find(batch.keys, _minute(now_s))
        new: list[NewSeries] = []
        new_rows: list[int] = []
        if unknown and timestamps_ms.size:
            room = None
            if limits.active_series is not None:
                active = known.active(_minute(now_s), self._active_minutes)
                room = limits.active_series - active
            new, new_rows = self._meet(batch, row_ids, series_of, room, refusals)
        series_ids = row_ids[series_of]
        if refusals.rows:
            kept = series_ids != 0
            for reason, rows in refusals.rows.items():
                refusals.add({reason: int(np.isin(series_of, rows).sum())})
            series_ids, timestamps_ms, values = series_ids[kept], timestamps_ms[kept], values[kept]
        return Prepared(
            Write(tenant, series_ids, timestamps_ms, values, new, refusals.counts, batch.metadata),
            new_keys=batch.keys[new_rows],
            new_at=-1 - row_ids[new_rows],
            skipped=batch.skipped,
            first_error=refusals.first_error,
        )

    def _meet(
        self,
        batch: SampleBatch,
        row_ids: I64,
        series_of: I64,
        room: int | None,
        refusals: Refusals,
    ) -> tuple[list[NewSeries], list[int]]:
        """The slow path. Unknown rows that have samples get -1 - (index into the new series), or
        stay 0 when refused.
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
                if room is not None and len(new) >= room:
                    refusals.refuse_row(
                        ACTIVE_SERIES,
                        row,
                        f"the plan's active series are used up: {series.labels_json[:200]}",
                    )
                    continue
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
        self, found: Prepared, known: KnownSeries, now_s: float, history: int
    ) -> None:
        write = found.write
        if not (write.samples or write.refused or write.metadata):
            return
        if len(write.new) > self._writer.new_series_max:
            write, new_ids = await self._registered(write, history)
            await self._writer.commit(write, history)
        else:
            new_ids = await self._writer.commit(write, history)
        if found.new_at.size:
            # Only now: an id that is published before its row has committed would acknowledge lost
            # samples.
            learned = new_ids[found.new_at]
            rows_max = self._series.rows_max
            await anyio.to_thread.run_sync(
                known.learn, found.new_keys, learned, _minute(now_s), rows_max
            )
            self._series.settle(write.tenant)

    async def _registered(self, write: Write, history: int) -> tuple[Write, I64]:
        """The same write with the ids of its new series, and these ids, committed beforehand.

        In transactions of the usual size: one with all of them would keep every other sender
        waiting, or end in a timeout, at each of its retries. Series without samples are no harm:
        should the rest fail, the next try finds them.
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
            )
            ids.append(await self._writer.commit(part, history))
        new_ids = np.concatenate(ids)
        is_new = write.series_ids < 0
        series_ids = write.series_ids.copy()
        series_ids[is_new] = new_ids[-1 - series_ids[is_new]]
        return replace(write, series_ids=series_ids, new=()), new_ids


def _minute(now_s: float) -> int:
    return int(now_s // 60)


def _count(protocol: str, outcome: Outcome) -> None:
    if outcome.accepted:
        SAMPLES.labels(protocol, "accepted").inc(outcome.accepted)
    for reason, samples in (*outcome.refused.items(), *outcome.skipped.items()):
        SAMPLES.labels(protocol, reason).inc(samples)
