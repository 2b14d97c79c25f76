"""Which series the samples of a scrape belong to, and which have ended since the last one.

    text of a sample ── seen before? ──▶ identity ──▶ rows of the batch
          └─ labels, target's labels added, relabelled, sorted ─┘
      series of the last scrape that are missing now ──▶ a stale marker each

A series is its labels, never their text: `a{x="1",y="2"}` and `a{y="2", x="1"}` are one. The text
is only a cache in front of that. Pure: no clock, no network.
Source: Prometheus `scrape/scrape.go` (staleness, conflicting labels, duplicates, limits).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np

from data_ingest.chassis.kinds import Kind
from data_ingest.errors import BadBody, WriteError
from data_ingest.kernels import hashing
from data_ingest.labels import labels_hash
from data_ingest.limits import INVALID_EXEMPLAR
from data_ingest.model import (
    F64,
    I64,
    STALE_MARKER_BITS,
    Array,
    MetricMetadata,
    RawLabels,
    SampleBatch,
)
from data_ingest.protocols.exemplars import exemplar
from data_ingest.protocols.prometheus_text import TextExemplar
from data_ingest.scrape.reading import Reading
from data_ingest.scrape.relabel import relabel
from data_ingest.scrape.samples import ScrapedSamples

STALE: Final = float(np.array([STALE_MARKER_BITS], np.uint64).view(np.float64)[0])
_ExemplarKey: TypeAlias = tuple[bytes, int | None, float, tuple[tuple[bytes, bytes], ...]]
DROPPED: Final = b""
"""Stands for the identity of what relabelling does not keep."""
_SEED: Final = hashing.seed_for(b"scrape")


class OverLimit(WriteError):
    """The page is over a limit of its job"""

    kind = Kind.TOO_LARGE


class _Series(NamedTuple):
    key: tuple[int, int]
    labels: RawLabels


@dataclass(frozen=True, slots=True)
class Matched:
    """A scrape's samples with their series.

    identities: n; values, timestamps_ms, has_own_time: (n,), of the samples that are written.
    exemplars: each with the identity of its sample's series. histograms: as in ScrapedSamples.
    added: series that the last scrape did not have. duplicates: samples left out because an earlier
    one of the page has the same series and time; what relabelling dropped is left out too.
    """

    scraped: ScrapedSamples
    identities: list[bytes]
    timestamps_ms: I64
    values: F64
    has_own_time: Array
    exemplars: list[tuple[bytes, TextExemplar]]
    histograms: Mapping[int, bytes]
    added: int
    duplicates: int

    @property
    def kept(self) -> int:
        """How many samples relabelling kept, duplicates included."""
        return len(self.identities) + self.duplicates


@dataclass(slots=True)
class TargetSeries:
    """The series of one target: their labels, and which were alive after the last scrape."""

    target_labels: Sequence[tuple[str, str]]
    reading: Reading = field(default_factory=Reading)
    _identity_of: dict[bytes, bytes] = field(default_factory=dict)
    _types: dict[str, str] = field(default_factory=dict)
    _series: dict[bytes, _Series] = field(default_factory=dict)
    _alive: set[bytes] = field(default_factory=set)
    _pending: set[bytes] = field(default_factory=set)
    _seen: set[bytes] = field(default_factory=set)
    _metadata: tuple[MetricMetadata, ...] = ()
    _exemplars: set[_ExemplarKey] = field(default_factory=set)

    def __len__(self) -> int:
        """How many series are kept in memory."""
        return len(self._series)

    def continued(self, reading: Reading) -> "TargetSeries":
        """The same series, of which other things are kept from the next scrape on."""
        return replace(self, reading=reading, _identity_of={})

    def match(self, scraped: ScrapedSamples, at_ms: int) -> Matched:
        """The samples of the scrape at `at_ms`, each with its series.

        Raises WriteError when the labels of one cannot be taken, or there are too many samples: the
        scrape has failed.
        """
        if (types := scraped.types) != self._types:
            self._identity_of, self._types = {}, types
        n_before = len(self._series)
        identities = self._identities(scraped)
        samples_kept = len(identities) - identities.count(DROPPED)
        if 0 < self.reading.sample_limit < samples_kept:
            limit = self.reading.sample_limit
            raise OverLimit(detail="sample_limit", samples=samples_kept, limit=limit)
        self._identity_of = dict(zip(scraped.texts, identities, strict=True))
        self._seen = set(identities) - {DROPPED}
        exemplars = [(identities[one.sample], one) for one in scraped.exemplars]
        times = np.where(scraped.has_timestamp, scraped.timestamps_ms, at_ms)
        values, has_own_time = scraped.values, scraped.has_timestamp
        histograms = scraped.histograms
        if len(self._seen) < len(identities):
            rows = _first_of_equals(identities, times.tolist())
            identities = [identities[row] for row in rows]
            times, values, has_own_time = times[rows], values[rows], has_own_time[rows]
            chosen = enumerate(rows)
            histograms = {i: histograms[row] for i, row in chosen if row in histograms}
        return Matched(
            scraped,
            identities,
            times,
            values,
            has_own_time,
            exemplars,
            histograms,
            added=len(self._series) - n_before,
            duplicates=samples_kept - len(identities),
        )

    def _identities(self, scraped: ScrapedSamples) -> list[bytes]:
        """The identity of each sample's series, or DROPPED; labels are read for new texts alone."""
        identities = [self._identity_of.get(text) for text in scraped.texts]
        new: dict[bytes, bytes] = {}
        if None in identities:
            for i, text in enumerate(scraped.texts):
                if identities[i] is None:
                    if text not in new:
                        new[text] = self._identify(scraped.labels(i))
                    identities[i] = new[text]
        return cast("list[bytes]", identities)

    def batch(
        self, matched: Matched | None, at_ms: int, report: Sequence[tuple[str, float]]
    ) -> SampleBatch:
        """Everything to write of the scrape at `at_ms`; `matched` is None when it failed.

        Without a report it is what ends all series: the target is not scraped any more.
        report: series about the scrape itself (`up` …), which end only with the target. Of a page
        that brings one of these itself, the page's sample is written.
        `finish_scrape` must follow, whether the batch could be written or not.
        """
        identities: list[bytes] = []
        times, values = np.empty(0, np.int64), np.empty(0)
        self._pending = set()
        if matched is not None:
            identities, times, values = [*matched.identities], matched.timestamps_ms, matched.values
            # Series whose samples bring a time of their own do not end when they are missing.
            self._pending = set(compress(identities, (~matched.has_own_time).tolist()))
        more: list[float] = []
        for name, value in report:
            labels = [(b"__name__", name.encode())]
            identity = self._add(with_target_labels(labels, self.target_labels))
            self._pending.add(identity)
            # Most pages bring none of these, and then their times are not looked at.
            is_brought = identity in self._seen and identity in compress(
                identities, (times == at_ms).tolist()
            )
            if not is_brought:
                identities.append(identity)
                more.append(value)
        self._seen |= self._pending
        ended = sorted(self._alive.difference(identities))
        more += [STALE] * len(ended)
        times = np.concatenate([times, np.full(len(more), at_ms, np.int64)])
        values = np.concatenate([values, more])
        described: tuple[MetricMetadata, ...] = ()
        if matched is None:
            return self._batch([*identities, *ended], times, values, described)
        if matched.scraped.metadata != self._metadata:
            written = set(self._metadata)
            described = tuple(one for one in matched.scraped.metadata if one not in written)
        batch = replace(
            self._batch([*identities, *ended], times, values, described),
            histogram_at=np.array([*matched.histograms], np.int64),
            histograms=[*matched.histograms.values()],
        )
        return self._with_exemplars(batch, matched) if matched.exemplars else batch

    def finish_scrape(self, *, durable: bool, scraped: ScrapedSamples | None = None) -> None:
        """The series of the batch are alive if it is `durable`.

        Otherwise both those that were alive and those of the batch are, as the write may still have
        been committed: their stale markers are then written later.
        """
        self._alive = self._pending if durable else self._alive | self._pending
        if not durable:
            self._exemplars = set()  # they come again with the next scrape
        needed = self._alive | self._pending | self._seen
        if len(needed) < len(self._series):
            self._series = {key: self._series[key] for key in needed}
        if durable and scraped is not None:
            self._metadata = scraped.metadata

    def _with_exemplars(self, batch: SampleBatch, matched: Matched) -> SampleBatch:
        """The batch with the exemplars that the page of the last scrape did not have."""
        row_of = {identity: row for row, identity in reversed([*enumerate(matched.identities)])}
        last, self._exemplars = self._exemplars, set()
        taken, not_taken = [], 0
        for identity, one in matched.exemplars:
            key = identity, one.timestamp_ms, one.value, one.labels
            self._exemplars.add(key)
            if identity == DROPPED or key in last:
                continue
            row = row_of[identity]
            own_ms = one.timestamp_ms
            at_ms = int(batch.timestamps_ms[row]) if own_ms is None else own_ms
            made = exemplar(row, at_ms, one.value, one.labels)
            if made is None:
                not_taken += 1
            else:
                taken.append(made)
        skipped = {INVALID_EXEMPLAR: not_taken} if not_taken else {}
        return replace(batch, exemplars=taken, skipped=skipped)

    def _identify(self, labels: RawLabels) -> bytes:
        """The identity of a sample with these labels on its page; DROPPED when it is not kept."""
        reading = self.reading
        full = with_target_labels(labels, self.target_labels, honor=reading.honor_labels)
        if reading.metric_relabel_configs:
            relabelled = relabel(
                {n.decode(): v.decode() for n, v in full if v}, reading.metric_relabel_configs
            )
            if not relabelled:
                return DROPPED
            if "__name__" not in relabelled:
                raise BadBody(detail="relabelling left a series without a name")
            full = [(name.encode(), value.encode()) for name, value in relabelled.items()]
        n_labels = sum(bool(value) for _, value in full)
        if 0 < reading.label_limit < n_labels:
            raise OverLimit(detail="label_limit", labels=n_labels, limit=reading.label_limit)
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
    first: dict[tuple[bytes, int], int] = {}
    for i, sample in enumerate(zip(identities, times, strict=True)):
        if sample[0] != DROPPED:
            first.setdefault(sample, i)
    return list(first.values())
