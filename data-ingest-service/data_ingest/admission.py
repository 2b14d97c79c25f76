"""What of a decoded request is to be stored, and what is refused and why. Pure.

times outside the tenant's span ─▶ refused by sample
labels that cannot be stored ────▶ refused by series
a replica that is not elected ───▶ dropped and counted
over a lowered resolution ────────▶ dropped and counted
the rest ────────────────────────▶ a `Write`, with the series that have no id yet
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from data_ingest import histograms
from data_ingest.errors import BodyTooLarge, InvalidLabels, StoreRefused
from data_ingest.labels import LabelRules, NewSeries, canonical, plain_series
from data_ingest.limits import INVALID_EXEMPLAR, METADATA_NOT_KEPT, TimeSpan, storable_metadata
from data_ingest.model import I64, U64, Array, SampleBatch, Sender
from data_ingest.replicas import GROUP_SHIFT, PASSIVE, TOO_MANY_REPLICAS, Recognition, Standing
from data_ingest.resolution import RESOLUTION_LOWERED, Resolution, State
from data_ingest.store.packing import Write

INVALID_LABELS = "invalid_labels"
_NOTHING_NEW: tuple[list[NewSeries], I64] = [], np.empty((0, 3), np.int64)
STORE_REFUSED = "store_refused"
SERIES_TEXT_MAX = 300
LABEL_TEXT_MAX = 64 << 20
"""Of a request's new series. A body of some KiB has as much where its samples share labels."""


@dataclass(slots=True)
class Refusals:
    """Samples that will not be stored, by reason, with an example of each.

    rows: by reason, the rows of `SampleBatch.keys` whose samples are still to be counted.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[int]] = field(default_factory=dict)

    def add(self, counts: Mapping[str, int], example: str = "") -> None:
        """Add `counts` (samples by reason) to the refusals."""
        self.counts.update(counts)
        for reason in counts if example else ():
            self.examples.setdefault(reason, example)

    def refuse_row(self, reason: str, row: int, why: str) -> None:
        """All samples of this row are refused; they are counted later, all rows at once."""
        self.rows.setdefault(reason, []).append(row)
        self.examples.setdefault(reason, why)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded request with its series looked up: what is to be committed, and what is refused.

    new_keys: (k, 2), the cache keys of new series; new_at: (k,), the index of each in `write.new`,
        -1 where it has no id; new_groups: (k,), the replica of each, shifted to its place in an id.
    deduplicated, deduplicated_histograms, deduplicated_exemplars: as in `Outcome`.
    points: of the write's samples, as in `SampleBatch`; lost_points: of those refused so far.
    refused_whole: data points that the decoder refused. committed: as in `SampleBatch`.
    rows: of each sample of the write its row of `SampleBatch.keys`.
    lowered_new: where resolution is lowered, what `Resolution.adopt` takes.
    """

    write: Write
    new_keys: U64
    new_at: I64
    new_groups: I64
    skipped: Mapping[str, int]
    deduplicated: int = 0
    deduplicated_histograms: int = 0
    deduplicated_exemplars: int = 0
    points: I64 | None = None
    lost_points: tuple[I64, ...] = ()
    refused_whole: int = 0
    committed: Callable[[], None] = lambda: None
    rows: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    lowered_new: dict[int, State] | None = None

    def refused_points(self, new_ids: I64) -> int:
        """Data points with a refused sample, when the new series have `new_ids`, 0 for none."""
        if self.points is None:
            return 0
        over = np.isin(self.write.series_ids, -1 - np.flatnonzero(new_ids == 0))
        lost = np.unique(np.concatenate([*self.lost_points, self.points[over]]))
        return int(np.count_nonzero(lost >= 0)) + self.refused_whole

    def without_samples(self, reason: str, example: str) -> "Prepared":
        """The same request with all its samples refused: only the count is left to commit."""
        write, nothing = self.write, slice(0, 0)
        return replace(
            self,
            write=Write(
                write.tenant,
                write.series_ids[nothing],
                write.timestamps_ms[nothing],
                write.values[nothing],
                refused=added(write.refused, reason, write.samples),
                examples={**write.examples, reason: example},
                sender=write.sender,
            ),
            new_keys=self.new_keys[nothing],
            new_at=self.new_at[nothing],
            new_groups=self.new_groups[nothing],
            points=None if self.points is None else self.points[nothing],
            lost_points=() if self.points is None else (*self.lost_points, self.points),
        )

    def with_less(self, refusal: StoreRefused) -> "Prepared":
        """The same without its metadata; where it has none, without its samples."""
        if described := len(self.write.metadata):
            skipped = added(self.skipped, METADATA_NOT_KEPT, described)
            return replace(self, write=replace(self.write, metadata=()), skipped=skipped)
        return self.without_samples(STORE_REFUSED, str(refusal))


def added(counts: Mapping[str, int], reason: str, count: int) -> dict[str, int]:
    """`counts`, with `count` more of `reason`."""
    return {**counts, reason: counts.get(reason, 0) + count} if count else dict(counts)


def admit(
    sender: Sender,
    batch: SampleBatch,
    cached_ids: I64,
    span: TimeSpan,
    rules: LabelRules,
    *,
    recognition: Recognition,
) -> Prepared:
    """The samples inside `span` of series whose labels hold to `rules`; all others are counted.

    cached_ids: (s,) int64, the id of each row of `batch.keys` with its group, 0 where unknown.
    """
    row_ids = recognition.without_groups(cached_ids)
    refusals = Refusals()
    refusals.add(batch.refused, batch.first_error)
    series_of, timestamps_ms = batch.series_of, batch.timestamps_ms
    values, messages = histograms.marked(batch.values, batch.histogram_at, batch.histograms)
    exemplars = [one for one in batch.exemplars if span.min_ms <= one.timestamp_ms <= span.max_ms]
    points, lost_points = batch.points, list[I64]()
    if batch.samples and not span.holds(timestamps_ms):
        inside, counts = span.split(timestamps_ms)
        first = int(np.flatnonzero(~inside)[0])
        refusals.add(
            counts,
            f"timestamp {timestamps_ms[first]} is outside {span.min_ms}..{span.max_ms} (ms): "
            + series_text(batch, int(series_of[first])),
        )
        series_of, timestamps_ms, values = series_of[inside], timestamps_ms[inside], values[inside]
        if points is not None:
            lost_points.append(points[~inside])
            points = points[inside]
    new, learned = _NOTHING_NEW
    if (timestamps_ms.size or exemplars) and not row_ids.all():
        first_rows = _first_rows(batch.keys, row_ids)
        series_of = first_rows[series_of]
        exemplars = [replace(one, series=int(first_rows[one.series])) for one in exemplars]
        in_use = np.zeros(len(row_ids), bool)
        in_use[series_of] = True
        in_use[[one.series for one in exemplars]] = True
        new, learned = _new_series(
            batch, row_ids, in_use, rules, refusals=refusals, recognition=recognition
        )
    series_ids = row_ids[series_of]
    deduplicated_exemplars = [row_ids[one.series] for one in exemplars].count(PASSIVE)
    exemplars = [
        replace(one, series=int(row_ids[one.series]))
        for one in exemplars
        if row_ids[one.series] not in {0, PASSIVE}
    ]
    deduplicated = deduplicated_histograms = 0
    if refusals.rows or recognition.decided:
        for reason, rows in refusals.rows.items():
            if refused := int(np.isin(series_of, rows).sum()):
                refusals.add({reason: refused})
        is_passive = series_ids == PASSIVE
        deduplicated = int(np.count_nonzero(is_passive))
        deduplicated_histograms = histograms.places(values[is_passive]).size
        valid = (series_ids != 0) & ~is_passive
        series_of = series_of[valid]
        if points is not None:
            lost_points.append(points[series_ids == 0])
            points = points[valid]
        series_ids, timestamps_ms, values = series_ids[valid], timestamps_ms[valid], values[valid]
    metadata, skipped = storable_metadata(batch.metadata), batch.skipped
    if not_kept := len(batch.exemplars) - len(exemplars) - deduplicated_exemplars:
        skipped = added(skipped, INVALID_EXEMPLAR, not_kept)
    if not_kept := len(batch.metadata) - len(metadata):
        skipped = added(skipped, METADATA_NOT_KEPT, not_kept)
    return Prepared(
        Write(
            sender.tenant,
            series_ids,
            timestamps_ms,
            values,
            new,
            refusals.counts,
            metadata,
            examples=refusals.examples,
            sender=sender.name,
            histograms=messages,
            exemplars=exemplars,
        ),
        new_keys=batch.keys[learned[:, 0]],
        new_at=learned[:, 1],
        new_groups=learned[:, 2],
        skipped=skipped,
        deduplicated=deduplicated,
        deduplicated_histograms=deduplicated_histograms,
        deduplicated_exemplars=deduplicated_exemplars,
        points=points,
        lost_points=tuple(lost_points),
        refused_whole=sum(batch.refused.values()),
        committed=batch.committed,
        rows=series_of,
    )


def with_resolution(prepared: Prepared, batch: SampleBatch, resolution: Resolution) -> Prepared:
    """The same with what `resolution` lets through; the rest is counted as RESOLUTION_LOWERED."""
    write, rows = prepared.write, prepared.rows
    keep, lowered_new = resolution.keep(
        write.series_ids,
        write.timestamps_ms,
        write.values,
        lambda at: batch.labels_at(int(rows[at])),
    )
    lost = np.flatnonzero(~keep)
    if not lost.size:
        return replace(prepared, lowered_new=lowered_new)
    example = f"one sample in {resolution.interval_ms} ms: {series_text(batch, int(rows[lost[0]]))}"
    return replace(
        prepared,
        write=replace(
            write,
            series_ids=write.series_ids[keep],
            timestamps_ms=write.timestamps_ms[keep],
            values=write.values[keep],
            refused=added(write.refused, RESOLUTION_LOWERED, lost.size),
            examples={**write.examples, RESOLUTION_LOWERED: example},
        ),
        deduplicated_histograms=prepared.deduplicated_histograms
        + histograms.places(write.values[lost]).size,
        points=None if prepared.points is None else prepared.points[keep],
        rows=rows[keep],
        lowered_new=lowered_new,
    )


def series_text(batch: SampleBatch, row: int) -> str:
    """The labels of a row, for people: at most SERIES_TEXT_MAX characters."""
    try:
        labels = batch.labels_at(row)
    except InvalidLabels as error:
        return str(error)
    text = ", ".join(
        f"{name.decode(errors='replace')}={value.decode(errors='replace')!r}"
        for name, value in labels
    )
    return text if len(text) <= SERIES_TEXT_MAX else text[:SERIES_TEXT_MAX] + "…"


def _first_rows(keys: U64, row_ids: I64) -> I64:
    """For each row itself, or of unknown ones the first that has its key: a protocol may have a row
    for each sample, and a series' labels need not be read more than once.
    """
    rows = np.arange(len(keys))
    unknown = np.flatnonzero(row_ids == 0)
    _, firsts, lane0s = np.unique(keys[unknown, 0], return_index=True, return_inverse=True)
    rows[unknown] = unknown[firsts[lane0s]]
    return rows if (keys[rows] == keys).all() else np.arange(len(keys))


def _new_series(
    batch: SampleBatch,
    row_ids: I64,
    in_use: Array,
    rules: LabelRules,
    *,
    refusals: Refusals,
    recognition: Recognition,
) -> tuple[list[NewSeries], I64]:
    """The series that have no id yet, each once, and what there is to learn: (k, 3) int64, the row
    of `batch.keys`, its index into the new series or -1, its group in the place it has in an id.

    In `row_ids` these rows get -1 - (index into the new series), or PASSIVE; refused rows, and rows
    not `in_use`, stay 0.
    """
    new: list[NewSeries] = []
    index_of: dict[bytes, int] = {}
    learned: list[tuple[int, int, int]] = []
    text = 0
    rows = np.flatnonzero((row_ids == 0) & in_use)
    plain = plain_series(batch, rows, rules, recognition.replica_label)
    for row, one in zip(rows.tolist(), plain, strict=True):
        series, group = one, 0
        if series is None:
            try:
                labels, group, standing = recognition.recognise(batch.labels_at(row))
                if standing is Standing.PASSIVE:
                    row_ids[row] = PASSIVE
                    learned.append((row, -1, group << GROUP_SHIFT))
                    continue
                if standing is Standing.REFUSED:
                    refusals.refuse_row(TOO_MANY_REPLICAS, row, series_text(batch, row))
                    continue
                series = canonical(labels, rules)
            except InvalidLabels as error:
                refusals.refuse_row(INVALID_LABELS, row, str(error))
                continue
        index = index_of.setdefault(series.labels_hash, len(new))
        if index == len(new):
            new.append(series)
            text += len(series.labels_json)
            if text > LABEL_TEXT_MAX:
                raise BodyTooLarge(detail="too much label text", limit=LABEL_TEXT_MAX)
        row_ids[row] = -1 - index
        learned.append((row, index, group << GROUP_SHIFT))
    return new, np.array(learned, np.int64).reshape(-1, 3)
