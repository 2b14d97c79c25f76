"""What one look at a target found, and which of its series ended since the look before.

    Found ── labels of the target added ──▶ SampleBatch ──▶ pipeline ──▶ settled: these series are
    alive
      series of the last look that are missing now ──▶ a stale marker each

Pure: no clock, no network. Source: Prometheus `scrape/scrape.go` (staleness, honor_labels: false,
report series).
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
class Found:
    """Samples of one look, columnar; `key` names a series within its target and `labels` are made
    only for new ones.

    values (n,) float64; timestamps_ms (n,) int64, meaningful where has_timestamp (n,) bool.
    """

    keys: Sequence[bytes]
    labels: Callable[[int], RawLabels]
    values: F64
    timestamps_ms: I64
    has_timestamp: Array
    metadata: tuple[MetricMetadata, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)


def from_exposition(exposition: Exposition) -> Found:
    """A decoded body."""
    return Found(
        list(exposition.keys()),
        exposition.labels,
        exposition.values,
        exposition.timestamps_ms,
        exposition.has_timestamp,
        exposition.metadata,
    )


def from_families(families: Iterable[Family]) -> Found:
    """Metrics of our own making, all of them of this moment."""
    labels: list[RawLabels] = []
    values: list[float] = []
    metadata: list[MetricMetadata] = []
    for family in families:
        metadata.append(MetricMetadata(family.name, family.type, family.help))
        for pairs, value in family.samples:
            labels.append(
                [(b"__name__", family.name.encode()), *((n.encode(), _text(v)) for n, v in pairs)]
            )
            values.append(value)
    keys = [b"\xff".join(part for pair in found for part in pair) for found in labels]
    n = len(values)
    return Found(
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
    """The memory of one target: its own labels, and the series that were alive at the last settled
    look.
    """

    job: str
    instance: str
    _known: dict[bytes, _Series] = field(default_factory=dict)
    _alive: set[bytes] = field(default_factory=set)
    _pending: set[bytes] = field(default_factory=set)
    _seen: set[bytes] = field(default_factory=set)
    _described: tuple[MetricMetadata, ...] = ()

    def look(
        self, found: Found | None, at_ms: int, report: Sequence[tuple[str, float]]
    ) -> SampleBatch:
        """Everything to write of one look at `at_ms`; found is None when the target did not answer.

        report: series about the look itself (`up` …), alive until `farewell`. Call `settle` once it
        is durable.
        """
        keys: list[bytes] = [] if found is None else list(found.keys)
        of_found = len(keys)
        for i, key in enumerate(keys):
            if key not in self._known:
                assert found is not None
                self._remember(key, found.labels(i))
        for name, _ in report:
            key = _REPORT + name.encode()
            keys.append(key)
            if key not in self._known:
                self._remember(key, [(b"__name__", name.encode())])
        current = set(keys)
        if found is not None and found.has_timestamp.any():
            current -= {
                key
                for key, has in zip(found.keys, found.has_timestamp.tolist(), strict=True)
                if has
            }
        ended = sorted(self._alive - set(keys))
        values = np.concatenate(
            [
                np.empty(0) if found is None else found.values,
                [v for _, v in report],
                np.full(len(ended), STALE),
            ]
        )
        times = np.full(values.size, at_ms, np.int64)
        if found is not None:
            times[:of_found] = np.where(found.has_timestamp, found.timestamps_ms, at_ms)
        self._pending, self._seen = current, set(keys)
        return self._batch([*keys, *ended], times, values, self._news(found))

    def farewell(self, at_ms: int) -> SampleBatch:
        """A stale marker for every series that is alive: this target is not looked at any more."""
        ended = sorted(self._alive)
        self._pending, self._seen = set(), set()
        return self._batch(
            ended, np.full(len(ended), at_ms, np.int64), np.full(len(ended), STALE), ()
        )

    def settle(self, *, durable: bool, found: Found | None = None) -> None:
        """After the write. When it failed, what was alive and what might be now both are, so their
        end is still written.
        """
        self._alive = self._pending if durable else self._alive | self._pending
        kept = self._alive | self._pending | self._seen
        self._known = {key: series for key, series in self._known.items() if key in kept}
        if durable and found is not None:
            self._described = found.metadata

    def _news(self, found: Found | None) -> tuple[MetricMetadata, ...]:
        """What the target says about its metrics, where it differs from the last look."""
        if found is None or found.metadata == self._described:
            return ()
        said = set(self._described)
        return tuple(metadata for metadata in found.metadata if metadata not in said)

    def _remember(self, key: bytes, labels: RawLabels) -> None:
        full = with_target_labels(labels, self.job, self.instance)
        lanes = hashing.hash_bytes(
            key, hashing.seed_for(f"scrape {self.job}\0{self.instance}".encode())
        )
        self._known[key] = _Series((int(lanes[0]), int(lanes[1])), full)

    def _batch(
        self, keys: list[bytes], times: I64, values: F64, metadata: tuple[MetricMetadata, ...]
    ) -> SampleBatch:
        series = [self._known[key] for key in keys]
        lanes = np.array([one.key for one in series], np.uint64).reshape(-1, 2)
        return SampleBatch(
            keys=lanes,
            series_of=np.arange(len(keys), dtype=np.int64),
            timestamps_ms=times,
            values=values,
            labels_at=lambda row: series[row].labels,
            metadata=metadata,
        )


def with_target_labels(labels: RawLabels, job: str, instance: str) -> RawLabels:
    """`job` and `instance` are the target's; what the target called so itself is `exported_job`,
    `exported_instance`.
    """
    own = {b"job": job.encode(), b"instance": instance.encode()}
    names = {name for name, _ in labels} | own.keys()
    kept: RawLabels = []
    for name, value in labels:
        final = name
        if name in own:
            final = b"exported_" + name
            while final in names:
                final = b"exported_" + final
            names.add(final)
        kept.append((final, value))
    return [*kept, *own.items()]


def _text(value: str) -> bytes:
    """UTF-8; what the system gave us that is none (a mount point of odd bytes) has `?` there."""
    return value.encode("utf-8", "replace")
