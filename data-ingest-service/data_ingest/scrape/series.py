"""Which series the samples of a scrape belong to, and which have ended since the last one.

    text of a sample ── seen before? ──▶ identity ──▶ rows of the batch
          └─ labels, target's labels added, relabelled, sorted ─┘
      series of the last scrape that are missing now ──▶ a stale marker each

A series is its labels, never their text: `a{x="1",y="2"}` and `a{y="2", x="1"}` are one. The text
is only a cache in front of that. Pure: no clock, no network.
Source: Prometheus `scrape/scrape.go` (staleness, conflicting labels, duplicates, limits).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from data_ingest.chassis.kinds import Kind
from data_ingest.errors import BadBody, WriteError
from data_ingest.kernels import hashing
from data_ingest.labels import labels_hash
from data_ingest.model import F64, I64, STALE_MARKER_BITS, MetricMetadata, RawLabels, SampleBatch
from data_ingest.scrape.relabel import Rule, relabel
from data_ingest.scrape.samples import ScrapedSamples

STALE: Final = float(np.array([STALE_MARKER_BITS], np.uint64).view(np.float64)[0])
DROPPED: Final = b""
"""Stands for the identity of what relabelling does not keep."""
_SEED: Final = hashing.seed_for(b"scrape")


class OverLimit(WriteError):
    """The page is over a limit of its job"""

    kind = Kind.TOO_LARGE


@dataclass(frozen=True, slots=True)
class Keeping:
    """What of a page is kept, and under which labels. A limit of 0 is none."""

    honor_labels: bool = False
    relabelling: tuple[Rule, ...] = ()
    samples_max: int = 0
    labels_max: int = 0


@dataclass(slots=True)
class _Series:
    key: tuple[int, int]
    labels: RawLabels


@dataclass(frozen=True, slots=True)
class Matched:
    """A scrape's samples with their series.

    rows: the samples that are written, as indices into `scraped`. identities, timestamps_ms: of
    each of these. added: series that the last scrape did not have. duplicates: samples left out
    because an earlier one of the page has the same series and time. Others that are left out were
    dropped by relabelling.
    """

    scraped: ScrapedSamples
    rows: list[int]
    identities: list[bytes]
    timestamps_ms: list[int]
    added: int
    duplicates: int

    def __len__(self) -> int:
        """How many samples relabelling kept, duplicates included."""
        return len(self.rows) + self.duplicates

    def without_own_time(self) -> set[bytes]:
        """The series of samples without a time of their own: these end when they are missing."""
        has_own = self.scraped.has_timestamp[self.rows].tolist()
        return {key for key, has in zip(self.identities, has_own, strict=True) if not has}


@dataclass(slots=True)
class TargetSeries:
    """The series of one target: their labels, and which were alive after the last scrape."""

    target_labels: Sequence[tuple[str, str]]
    keeping: Keeping = field(default_factory=Keeping)
    _identity_of: dict[bytes, bytes] = field(default_factory=dict)
    _types: dict[str, str] = field(default_factory=dict)
    _series: dict[bytes, _Series] = field(default_factory=dict)
    _alive: set[bytes] = field(default_factory=set)
    _pending: set[bytes] = field(default_factory=set)
    _seen: set[bytes] = field(default_factory=set)
    _metadata: tuple[MetricMetadata, ...] = ()

    def __len__(self) -> int:
        """How many series are kept in memory."""
        return len(self._series)

    def match(self, scraped: ScrapedSamples, at_ms: int) -> Matched:
        """The samples of the scrape at `at_ms`, each with its series.

        Raises WriteError when the labels of one cannot be taken, or there are too many samples: the
        scrape has failed.
        """
        if scraped.types != self._types:
            self._identity_of, self._types = {}, scraped.types
        n_before = len(self._series)
        identity_of: dict[bytes, bytes] = {}
        for i, text in enumerate(scraped.texts):
            identity = self._identity_of.get(text)
            if identity is None:
                identity = identity_of.get(text)
            if identity is None:
                identity = self._identify(scraped.labels(i))
            identity_of[text] = identity
        identities = [identity_of[text] for text in scraped.texts]
        times = np.where(scraped.has_timestamp, scraped.timestamps_ms, at_ms).tolist()
        kept = len(identities) - identities.count(DROPPED)
        if 0 < self.keeping.samples_max < kept:
            raise OverLimit(detail="sample_limit", samples=kept, limit=self.keeping.samples_max)
        rows = _first_of_equals(identities, times)
        self._identity_of, self._seen = identity_of, set(identities) - {DROPPED}
        return Matched(
            scraped,
            rows,
            [identities[row] for row in rows],
            [times[row] for row in rows],
            len(self._series) - n_before,
            kept - len(rows),
        )

    def batch(
        self, matched: Matched | None, at_ms: int, report: Sequence[tuple[str, float]]
    ) -> SampleBatch:
        """Everything to write of the scrape at `at_ms`; `matched` is None when it failed.

        report: series about the scrape itself (`up` …), which end only with the target. Of a page
        that brings one of these itself, the page's sample is written.
        `finish_scrape` must follow, whether the batch could be written or not.
        """
        identities: list[bytes] = []
        times: list[int] = []
        values = np.empty(0)
        self._pending = set()
        if matched is not None:
            identities, times = [*matched.identities], [*matched.timestamps_ms]
            values = matched.scraped.values[matched.rows]
            self._pending = matched.without_own_time()
        of_page = set(zip(identities, times, strict=True))
        reported = []
        for name, value in report:
            labels = [(b"__name__", name.encode())]
            identity = self._add(with_target_labels(labels, self.target_labels))
            self._pending.add(identity)
            if (identity, at_ms) not in of_page:
                identities.append(identity)
                reported.append(value)
        self._seen |= self._pending
        ended = sorted(self._alive.difference(identities))
        times += [at_ms] * (len(reported) + len(ended))
        values = np.concatenate([values, reported, np.full(len(ended), STALE)])
        metadata = () if matched is None else self._changed_metadata(matched.scraped)
        return self._batch([*identities, *ended], np.array(times, np.int64), values, metadata)

    def stale_markers(self, at_ms: int) -> SampleBatch:
        """A stale marker for every series that is alive: the target is not scraped any more."""
        ended = sorted(self._alive)
        self._pending, self._seen = set(), set()
        times, values = np.full(len(ended), at_ms, np.int64), np.full(len(ended), STALE)
        return self._batch(ended, times, values, ())

    def finish_scrape(self, *, durable: bool, scraped: ScrapedSamples | None = None) -> None:
        """The series of the batch are alive if it is `durable`.

        Otherwise both those that were alive and those of the batch are, as the write may still have
        been committed: their stale markers are then written later.
        """
        self._alive = self._pending if durable else self._alive | self._pending
        needed = self._alive | self._pending | self._seen
        self._series = {key: series for key, series in self._series.items() if key in needed}
        if durable and scraped is not None:
            self._metadata = scraped.metadata

    def _changed_metadata(self, scraped: ScrapedSamples) -> tuple[MetricMetadata, ...]:
        """The target's metadata that differs from what was last written."""
        if scraped.metadata == self._metadata:
            return ()
        written = set(self._metadata)
        return tuple(metadata for metadata in scraped.metadata if metadata not in written)

    def _identify(self, labels: RawLabels) -> bytes:
        """The identity of a sample with these labels on its page; DROPPED when it is not kept."""
        keeping = self.keeping
        full = with_target_labels(labels, self.target_labels, honor=keeping.honor_labels)
        if keeping.relabelling:
            relabelled = relabel(
                {n.decode(): v.decode() for n, v in full if v}, keeping.relabelling
            )
            if not relabelled:
                return DROPPED
            if "__name__" not in relabelled:
                raise BadBody(detail="relabelling left a series without a name")
            full = [(name.encode(), value.encode()) for name, value in relabelled.items()]
        n_labels = sum(bool(value) for _, value in full)
        if 0 < keeping.labels_max < n_labels:
            raise OverLimit(detail="label_limit", labels=n_labels, limit=keeping.labels_max)
        return self._add(full)

    def _add(self, labels: RawLabels) -> bytes:
        """The identity of these labels, whose series is kept from here on."""
        ordered = sorted((name, value) for name, value in labels if value)
        identity = labels_hash(ordered)
        if identity not in self._series:
            lanes = hashing.hash_bytes(identity, _SEED)
            self._series[identity] = _Series((int(lanes[0]), int(lanes[1])), ordered)
        return identity

    def _batch(
        self,
        identities: Sequence[bytes],
        times: I64,
        values: F64,
        metadata: tuple[MetricMetadata, ...],
    ) -> SampleBatch:
        series = [self._series[identity] for identity in identities]
        return SampleBatch(
            keys=np.array([member.key for member in series], np.uint64).reshape(-1, 2),
            series_of=np.arange(len(series), dtype=np.int64),
            timestamps_ms=times,
            values=values,
            labels_at=lambda row: series[row].labels,
            metadata=metadata,
        )


def with_target_labels(
    labels: RawLabels, own: Sequence[tuple[str, str]], *, honor: bool = False
) -> RawLabels:
    """The labels with those of the target, `own`; empty ones are still there.

    The page's own labels of these names win with `honor`, even empty ones. Otherwise they get
    `exported_` in front, more than once when there is such a label already.
    """
    page = dict(labels)
    added = {name.encode(): value.encode() for name, value in own}
    if honor:
        return list((added | page).items())
    full = page | added
    for name in sorted((name for name in added if page.get(name)), key=len):
        exported = b"exported_" + name
        while full.get(exported):
            exported = b"exported_" + exported
        full[exported] = page[name]
    return list(full.items())


def _first_of_equals(identities: Sequence[bytes], times: Sequence[int]) -> list[int]:
    """The indices of the first samples of each series and time, ascending; without DROPPED."""
    distinct = set(identities)
    if len(distinct) == len(identities) and DROPPED not in distinct:
        return list(range(len(identities)))
    first: dict[tuple[bytes, int], int] = {}
    for i, sample in enumerate(zip(identities, times, strict=True)):
        if sample[0] != DROPPED:
            first.setdefault(sample, i)
    return list(first.values())
