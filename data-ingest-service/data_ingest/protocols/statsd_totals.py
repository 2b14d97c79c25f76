"""What StatsD's lines add up to in this process, as samples of one moment after another.

    line ─▶ state of a metric ── every flush ─▶ a sample of each of its series
    counter    its total since the metric was first seen here; a 0 at the flush before that
    gauge      its last value
    histogram  _bucket{le}, _sum and _count, totals as a counter's
    set        how many different values came since the last flush

Another process adds up its own: its series differ by the label `statsd_receiver`. A metric without
lines for long is dropped; when it comes again it starts at zero, a reset that `rate` takes as such.
What was not stored goes on: totals stay, and sets grow until `committed`.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from prometheus_client import Counter

from data_ingest.kernels.hashing import hash_texts, seed_for
from data_ingest.model import MetricMetadata, RawLabels, SampleBatch
from data_ingest.protocols import statsd
from data_ingest.protocols.prometheus_text import normalised_boundary
from data_ingest.protocols.statsd import COUNTER, GAUGE, HISTOGRAM, SET, Labels, Update
from data_ingest.protocols.text_lines import MALFORMED_LINE, Received, RefusedLines, whole_lines

RECEIVER: Final = b"statsd_receiver"
MEMBERS_MAX: Final = 200_000
"""Of all sets between two flushes."""
STATE_BYTES_MAX: Final = 128 << 20
"""Of labels, as if no two series had a text in common."""
_SEED: Final = seed_for(b"statsd")

LINES: Final = Counter("cloudopshub_ingest_statsd_lines_total", "StatsD lines that were taken.")


@dataclass(slots=True)
class _Metric:
    """series, numbers: labels and value of each of its series. size: bytes of memory."""

    type: str
    series: list[RawLabels]
    numbers: list[float]
    size: int
    heard_ms: int = 0
    is_new: bool = True
    members: set[float] = field(default_factory=set)


class Totals:
    """The state of all metrics, of at most `series_max` series.

    bounds: of the buckets of histograms, ascending, without infinity. started_ms: now.
    """

    def __init__(
        self,
        receiver: str,
        bounds: Sequence[float],
        *,
        series_max: int,
        idle_ms: int,
        started_ms: int,
    ) -> None:
        self._receiver = (RECEIVER, receiver.encode())
        self._bounds = [*bounds, math.inf]
        self._boundaries = [normalised_boundary(repr(bound).encode()) for bound in self._bounds]
        self._series_max, self._idle_ms = series_max, idle_ms
        self._metrics: dict[Labels, _Metric] = {}
        self._series, self._bytes, self._members, self._flushed_ms = 0, 0, 0, started_ms
        self._refused = RefusedLines()

    def add(self, received: Sequence[Received]) -> None:
        """Take in every line; those that cannot be taken are refused, one each."""
        taken = 0
        for text, at_ms in received:
            for line in whole_lines(text, self._refused):
                if not line.strip():
                    continue
                try:
                    reason = why = self._update(statsd.decode(line), at_ms)
                except ValueError as error:
                    reason, why = MALFORMED_LINE, str(error)
                if reason:
                    self._refused.add(reason, line, why)
                taken += not reason
        LINES.inc(taken)

    def batch(self, now_ms: int) -> SampleBatch:
        """A sample of each series, and the refused lines since the last `settle`."""
        self._drop_idle(now_ms)
        metrics = list(self._metrics.items())
        series = [labels for _, metric in metrics for labels in metric.series]
        numbers = [number for _, metric in metrics for number in metric.numbers]
        begins = [
            metric.is_new and metric.type in {COUNTER, HISTOGRAM}
            for _, metric in metrics
            for _ in metric.series
        ]
        new_rows = np.flatnonzero(np.array(begins, bool))
        began_ms = min(self._flushed_ms, now_ms - 1)
        texts = [b"\xff".join(text for pair in labels for text in pair) for labels in series]
        return SampleBatch(
            keys=hash_texts(texts, _SEED),
            series_of=np.concatenate([new_rows, np.arange(len(series))]),
            timestamps_ms=np.repeat([began_ms, now_ms], [new_rows.size, len(series)]),
            values=np.concatenate([np.zeros(new_rows.size), np.array(numbers, np.float64)]),
            labels_at=series.__getitem__,
            metadata=tuple(
                MetricMetadata(labels[0][1].decode(), metric.type.replace(SET, GAUGE))
                for labels, metric in metrics
                if metric.is_new
            ),
            refused=self._refused.counts,
            first_error=self._refused.first_error,
        )

    def settle(self, now_ms: int) -> None:
        """The last batch, of that time, is stored: sets begin anew, refused lines are counted."""
        self._refused, self._flushed_ms, self._members = RefusedLines(), now_ms, 0
        for metric in self._metrics.values():
            metric.is_new = False
            if metric.type == SET:
                metric.members, metric.numbers[0] = set(), 0.0

    def _update(self, update: Update, at_ms: int) -> str:
        """Empty when the state has it; else the reason why not."""
        metric = self._metrics.get(update.labels)
        if metric is None:
            metric = self._made(update)
            series, size = self._series + len(metric.series), self._bytes + metric.size
            if series > self._series_max or size > STATE_BYTES_MAX:
                return "statsd_series_limit"
            self._metrics[update.labels] = metric
            self._series, self._bytes = series, size
        if metric.type != update.type:
            return "statsd_type_conflict"
        metric.heard_ms = at_ms
        numbers = metric.numbers
        if update.type == COUNTER:
            numbers[0] += sum(update.values) * update.weight
        elif update.type == GAUGE:
            before = numbers[0] if update.is_change else 0.0
            numbers[0] = before + (sum(update.values) if update.is_change else update.values[-1])
        elif update.type == HISTOGRAM:
            for value in update.values:
                for bucket in range(bisect_left(self._bounds, value), len(self._bounds)):
                    numbers[bucket] += update.weight
                numbers[-2] += value * update.weight
                numbers[-1] += update.weight
        else:
            new = set(update.values) - metric.members
            if self._members + len(new) > MEMBERS_MAX:
                return "statsd_set_limit"
            self._members += len(new)
            metric.members |= new
            numbers[0] = float(len(metric.members))
        return ""

    def _made(self, update: Update) -> _Metric:
        (_, name), *rest = *update.labels, self._receiver
        series: list[RawLabels] = [[(b"__name__", name), *rest]]
        if update.type == HISTOGRAM:
            series = [
                [(b"__name__", name + b"_bucket"), (b"le", boundary), *rest]
                for boundary in self._boundaries
            ]
            series += [[(b"__name__", name + end), *rest] for end in (b"_sum", b"_count")]
        size = sum(len(text) + 64 for pair in update.labels for text in pair) * len(series)
        return _Metric(update.type, series, [0.0] * len(series), size)

    def _drop_idle(self, now_ms: int) -> None:
        for labels, metric in list(self._metrics.items()):
            is_stored = metric.heard_ms < self._flushed_ms
            if is_stored and now_ms - metric.heard_ms > self._idle_ms:
                del self._metrics[labels]
                self._series -= len(metric.series)
                self._bytes -= metric.size
