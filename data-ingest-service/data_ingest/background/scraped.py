"""The samples of one scrape of a target, and which of its series have ended since the last one.

    ScrapedSamples ── labels of the target added ──▶ SampleBatch ──▶ pipeline ──▶ these are alive
      series of the last scrape that are missing now ──▶ a stale marker each

Pure: no clock, no network.
Source: Prometheus `scrape/scrape.go` (staleness, honor_labels: false, report series).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from data_ingest.kernels import hashing
from data_ingest.model import (
    F64,
    I64,
    STALE_MARKER_BITS,
    Array,
    MetricMetadata,
    RawLabels,
    SampleBatch,
)
from data_ingest.protocols.prometheus_text import Exposition

STALE: Final = float(np.array([STALE_MARKER_BITS], np.uint64).view(np.float64)[0])
_REPORT: Final = b"\0"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric of our own making: its meaning and its samples, each (labels, value)."""

    name: str
    type: str
    help: str
    samples: Sequence[tuple[Sequence[tuple[str, str]], float]]


@dataclass(frozen=True, slots=True)
class ScrapedSamples:
    """Samples of one scrape, columnar.

    keys: n texts, each the name of a series within its target.
    labels: the labels of one sample; called only for series that are new.
    values: (n,) float64; timestamps_ms: (n,) int64, meaningful where has_timestamp (n,) bool.
    """

    keys: Sequence[bytes]
    labels: Callable[[int], RawLabels]
    values: F64
    timestamps_ms: I64
    has_timestamp: Array
    metadata: tuple[MetricMetadata, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)


def from_exposition(exposition: Exposition) -> ScrapedSamples:
    """A decoded body."""
    return ScrapedSamples(
        list(exposition.keys()),
        exposition.labels,
        exposition.values,
        exposition.timestamps_ms,
        exposition.has_timestamp,
        exposition.metadata,
    )


def from_families(families: Iterable[Family]) -> ScrapedSamples:
    """Metrics of our own making, without timestamps."""
    labels: list[RawLabels] = []
    values: list[float] = []
    metadata: list[MetricMetadata] = []
    for family in families:
        metadata.append(MetricMetadata(family.name, family.type, family.help))
        name = (b"__name__", family.name.encode())
        for pairs, value in family.samples:
            labels.append([name, *((n.encode(), _text(v)) for n, v in pairs)])
            values.append(value)
    keys = [b"\xff".join(part for pair in pairs for part in pair) for pairs in labels]
    n = len(values)
    return ScrapedSamples(
        keys,
        labels.__getitem__,
        np.array(values, np.float64),
        np.zeros(n, np.int64),
        np.zeros(n, bool),
        tuple(metadata),
    )


@dataclass(slots=True)
class _Series:
    key: tuple[int, int]
    labels: RawLabels


@dataclass(slots=True)
class TargetSeries:
    """The series of one target: their full labels, and which were alive after the last scrape."""

    job: str
    instance: str
    _by_key: dict[bytes, _Series] = field(default_factory=dict)
    _alive: set[bytes] = field(default_factory=set)
    _pending: set[bytes] = field(default_factory=set)
    _seen: set[bytes] = field(default_factory=set)
    _metadata: tuple[MetricMetadata, ...] = ()

    def __len__(self) -> int:
        """How many series are kept in memory."""
        return len(self._by_key)

    def batch(
        self, scraped: ScrapedSamples | None, at_ms: int, report: Sequence[tuple[str, float]]
    ) -> SampleBatch:
        """Everything to write of the scrape at `at_ms`; `scraped` is None when it failed.

        report: series about the scrape itself (`up` …), which end only with the target.
        `finish_scrape` must follow, whether the batch could be written or not.
        """
        keys: list[bytes] = [] if scraped is None else list(scraped.keys)
        n_scraped = len(keys)
        for i, key in enumerate(keys):
            if key not in self._by_key:
                assert scraped is not None
                self._add(key, scraped.labels(i))
        for name, _ in report:
            key = _REPORT + name.encode()
            keys.append(key)
            if key not in self._by_key:
                self._add(key, [(b"__name__", name.encode())])
        current = set(keys)
        if scraped is not None and scraped.has_timestamp.any():
            current -= {
                key
                for key, has in zip(scraped.keys, scraped.has_timestamp.tolist(), strict=True)
                if has
            }
        ended = sorted(self._alive - set(keys))
        values = np.concatenate(
            [
                np.empty(0) if scraped is None else scraped.values,
                [v for _, v in report],
                np.full(len(ended), STALE),
            ]
        )
        times = np.full(values.size, at_ms, np.int64)
        if scraped is not None:
            times[:n_scraped] = np.where(scraped.has_timestamp, scraped.timestamps_ms, at_ms)
        self._pending, self._seen = current, set(keys)
        return self._batch([*keys, *ended], times, values, self._changed_metadata(scraped))

    def stale_markers(self, at_ms: int) -> SampleBatch:
        """A stale marker for every series that is alive: the target is not scraped any more."""
        ended = sorted(self._alive)
        self._pending, self._seen = set(), set()
        return self._batch(
            ended, np.full(len(ended), at_ms, np.int64), np.full(len(ended), STALE), ()
        )

    def finish_scrape(self, *, durable: bool, scraped: ScrapedSamples | None = None) -> None:
        """The series of the batch are alive if it is `durable`.

        Otherwise both those that were alive and those of the batch are, as the write may still have
        been committed: their stale markers are then written later.
        """
        self._alive = self._pending if durable else self._alive | self._pending
        needed = self._alive | self._pending | self._seen
        self._by_key = {key: series for key, series in self._by_key.items() if key in needed}
        if durable and scraped is not None:
            self._metadata = scraped.metadata

    def _changed_metadata(self, scraped: ScrapedSamples | None) -> tuple[MetricMetadata, ...]:
        """The target's metadata that differs from what was last written."""
        if scraped is None or scraped.metadata == self._metadata:
            return ()
        written = set(self._metadata)
        return tuple(metadata for metadata in scraped.metadata if metadata not in written)

    def _add(self, key: bytes, labels: RawLabels) -> None:
        full = with_target_labels(labels, self.job, self.instance)
        lanes = hashing.hash_bytes(
            key, hashing.seed_for(f"scrape {self.job}\0{self.instance}".encode())
        )
        self._by_key[key] = _Series((int(lanes[0]), int(lanes[1])), full)

    def _batch(
        self, keys: list[bytes], times: I64, values: F64, metadata: tuple[MetricMetadata, ...]
    ) -> SampleBatch:
        series = [self._by_key[key] for key in keys]
        lanes = np.array([member.key for member in series], np.uint64).reshape(-1, 2)
        return SampleBatch(
            keys=lanes,
            series_of=np.arange(len(keys), dtype=np.int64),
            timestamps_ms=times,
            values=values,
            labels_at=lambda row: series[row].labels,
            metadata=metadata,
        )


def with_target_labels(labels: RawLabels, job: str, instance: str) -> RawLabels:
    """The labels with the target's `job` and `instance`.

    The target's own labels of these names become `exported_job` and `exported_instance`, with more
    `exported_` in front when there is such a label already.
    """
    own = {b"job": job.encode(), b"instance": instance.encode()}
    names = {name for name, _ in labels} | own.keys()
    full: RawLabels = []
    for name, value in labels:
        final = name
        if name in own:
            final = b"exported_" + name
            while final in names:
                final = b"exported_" + final
            names.add(final)
        full.append((final, value))
    return [*full, *own.items()]


def _text(value: str) -> bytes:
    """UTF-8, with `?` for what has no encoding (a mount point of bytes that are not UTF-8)."""
    return value.encode("utf-8", "replace")
