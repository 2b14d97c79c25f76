"""The store: matchers and a span in, columns out.

    Snapshot ─▶ postings.select ─▶ ids ─┬─▶ block fragments (precedence) ─┐
                                        └─▶ head fragments (commit order) ┴─▶ merge ─▶ Columns

Each call reads one snapshot.
"""

import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import anyio.to_thread
import numpy as np
import orjson
import structlog

from data_api.chassis.objects import Bucket, Directory, ObjectStoreUnavailable
from data_api.errors import CorruptData, TooManySamples
from data_api.model import (
    I64,
    Buckets,
    Columns,
    Labels,
    Loaded,
    Matcher,
    QueryLimits,
    SelectorSpan,
    is_histogram,
    sample_cost,
)
from data_api.store import tables
from data_api.store.answers import Answers
from data_api.store.block import BlockReader
from data_api.store.buckets import Arrays, joined, part_of_samples, sources_of
from data_api.store.catalogue import Catalogue
from data_api.store.fragments import Fragment, as_one, merge
from data_api.store.head import Head
from data_api.store.postings import SeriesIndex
from data_api.store.rollups import RollupReader
from data_api.store.selection import by_id, check_left, first_of_each, of_spans, select_any
from data_api.store.tenant_state import ALL_TIME, NO_TIME, Snapshot

T = TypeVar("T")
VIEWED_SAMPLES_MAX: Final = 8_000_000
"""Of sources that fragments keep in memory while they are merged, most of them cached anyway."""
EXEMPLARS_MAX: Final = 10_000  # of one answer
log = structlog.get_logger()
MatcherSets = Sequence[Sequence[Matcher]]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation of a series, with labels that say where it came from."""

    timestamp_ms: int
    value: float
    labels: Labels


@dataclass(frozen=True, slots=True)
class Cardinality:
    """How many series, label pairs and samples a tenant has, and which are the largest."""

    series: int
    label_names: int
    label_pairs: int
    head_samples: int
    span: tuple[int, int] | None  # of all samples
    blocks: int
    block_samples: int
    counts: Mapping[str, Sequence[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Opened:
    """What of a snapshot is to be read."""

    snapshot: Snapshot
    spans: Sequence[SelectorSpan]
    load: Callable[[], list[Loaded]] = list  # what they select; called in a thread

    def made_of(self) -> Hashable:
        """Equal to another's only where the same samples would be loaded: series, blocks and
        batches do not change, and an index is another one once series were deleted.
        """
        return (
            weakref.ref(self.snapshot.index),
            tuple(self.spans),
            tuple(one.object_key for one in self.snapshot.blocks + self.snapshot.rollups),
            self.snapshot.head.overlapping(whole(self.spans)),
        )


def whole(spans: Sequence[SelectorSpan]) -> tuple[int, int]:
    """From the first to the last ms of any of them; NO_TIME of none."""
    if not spans:
        return NO_TIME
    return min(span.start_ms for span in spans) + 1, max(span.end_ms for span in spans)


class Store:
    """Reads of one tenant at a time; every call takes the tenant first and reads nothing else."""

    def __init__(
        self,
        catalogue: Catalogue,
        blocks: BlockReader,
        objects: Directory | Bucket,
        rollups: RollupReader | None = None,
        answers_bytes_max: int = 0,
    ) -> None:
        """rollups: None where only samples are to be read. answers_bytes_max: of answers that may
        be given again.
        """
        self.answers = Answers(answers_bytes_max)
        self.catalogue = catalogue
        self._blocks = blocks
        self._rollups = rollups
        self._objects = objects

    async def load(
        self, tenant: UUID, spans: Sequence[SelectorSpan], limits: QueryLimits
    ) -> list[Loaded]:
        """The samples of each selector, or buckets instead, all from one snapshot.

        Raises TooManySamples.
        """
        return await limits.run((await self.opened(tenant, spans, limits)).load)

    async def opened(
        self, tenant: UUID, spans: Sequence[SelectorSpan], limits: QueryLimits
    ) -> Opened:
        """What `load` loads, of the snapshot of now."""
        if not spans:
            return Opened(Snapshot(SeriesIndex(), Head(), ()), ())
        spans = [span.since(limits.kept_since_ms) for span in spans]
        snapshot = await self.catalogue.snapshot(tenant, whole(spans), of_spans(spans, limits))
        return Opened(snapshot, spans, partial(self._load, snapshot, spans, limits))

    async def series(
        self, tenant: UUID, sets: MatcherSets, span: tuple[int, int] | None, limits: QueryLimits
    ) -> list[Labels]:
        """Label sets that any of `sets` selects, with samples in `span` (None = ever)."""
        return await self._select(
            tenant, sets, span, limits, lambda index, at: index.labels(at, limits.checkpoint)
        )

    async def label_names(
        self, tenant: UUID, sets: MatcherSets, span: tuple[int, int] | None, limits: QueryLimits
    ) -> list[str]:
        """Sorted label names of those series."""
        return await self._select(tenant, sets, span, limits, SeriesIndex.names_of)

    async def label_values(
        self,
        tenant: UUID,
        name: str,
        sets: MatcherSets,
        span: tuple[int, int] | None,
        limits: QueryLimits,
    ) -> list[str]:
        """Sorted values of one label among those series."""
        return await self._select(
            tenant, sets, span, limits, lambda index, places: index.values_of(name, places)
        )

    async def exemplars(
        self, tenant: UUID, sets: MatcherSets, span: tuple[int, int], limits: QueryLimits
    ) -> tuple[list[tuple[Labels, list[Exemplar]]], bool]:
        """The newest exemplars in `span` of the series that any of `sets` selects, by series, the
        oldest first; and whether EXEMPLARS_MAX left out others.
        """
        index = (await self.catalogue.snapshot(tenant, ALL_TIME, None)).index

        def selected() -> dict[int, int]:
            places = select_any(index, sets, limits)
            return dict(zip(index.ids(places).tolist(), places.tolist(), strict=True))

        def by_series() -> list[tuple[Labels, list[Exemplar]]]:
            by_id: dict[int, list[Exemplar]] = {}
            for row in reversed(rows[:EXEMPLARS_MAX]):
                exemplar = Exemplar(row["timestamp_ms"], row["value"], orjson.loads(row["labels"]))
                by_id.setdefault(row["series_id"], []).append(exemplar)
            labels = index.labels(np.array([place_of[one] for one in by_id], np.int64))
            pairs = zip(labels, by_id.values(), strict=True)
            return sorted(pairs, key=lambda pair: sorted(pair[0].items()))

        place_of = await limits.run(selected)
        since_ms = max(span[0], limits.kept_since_ms)
        rows = await self.catalogue.rows(
            tables.EXEMPLARS, tenant, [*place_of], since_ms, span[1], EXEMPLARS_MAX + 1
        )
        return await limits.run(by_series), len(rows) > EXEMPLARS_MAX

    async def cardinality(self, tenant: UUID, limit: int, limits: QueryLimits) -> Cardinality:
        """Counts of the tenant's series by metric, label and pair, `limit` of each."""
        index = (await self.catalogue.snapshot(tenant, ALL_TIME, None)).index
        stored = await self.catalogue.stored(tenant)
        span = (stored["min_ts"], stored["max_ts"])

        def counted() -> Cardinality:  # in a thread: the index may be busy
            return Cardinality(
                series=len(index),
                label_names=len(index.names()),
                label_pairs=index.pair_count,
                head_samples=stored["head_samples"],
                span=None if stored["min_ts"] is None else span,
                blocks=stored["blocks"],
                block_samples=stored["block_samples"],
                counts=index.cardinality(limit),
            )

        return await limits.run(counted)

    async def check_objects(self) -> str:
        """The object store answers."""
        return await anyio.to_thread.run_sync(self._objects.check)

    async def _select(
        self,
        tenant: UUID,
        sets: MatcherSets,
        span: tuple[int, int] | None,
        limits: QueryLimits,
        read: Callable[[SeriesIndex, I64], T],
    ) -> T:
        if span is not None:
            span = max(span[0], limits.kept_since_ms), span[1]
        picker = None if span is None else first_of_each(span, limits)
        snapshot = await self.catalogue.snapshot(tenant, span or ALL_TIME, picker)

        def work() -> T:
            index = snapshot.index
            places = select_any(index, sets, limits)
            if span is not None:
                places = self._with_samples(snapshot, places, span, limits)
            return read(index, places)

        return await limits.run(work)

    def _with_samples(
        self, snapshot: Snapshot, places: I64, span: tuple[int, int], limits: QueryLimits
    ) -> I64:
        """Those of `places` with a sample in `span` (in a block: a chunk that reaches in)."""
        ids = snapshot.index.ids(places)
        order = np.argsort(ids, kind="stable")
        ascending = ids[order]
        present = np.zeros(ids.size, np.int64)
        newest_first = reversed(snapshot.blocks)  # they have most of what is alive
        marks = [run.mark_present for run in snapshot.head.runs]
        marks += [partial(self._blocks.mark_present, block) for block in newest_first]
        for mark in marks:
            limits.checkpoint()
            if present.all():
                break
            mark(ascending, span, present)
        return places[np.sort(order[present > 0])]

    def _load(
        self, snapshot: Snapshot, spans: Sequence[SelectorSpan], limits: QueryLimits
    ) -> list[Loaded]:
        left = limits.samples_max
        loaded: dict[int, Loaded] = {}
        of_samples: dict[tuple[int, int], list[int]] = {}
        picks = [by_id(snapshot.index, span.matchers, limits) for span in spans]
        for at, (wanted, (places, ids)) in enumerate(zip(spans, picks, strict=True)):
            limits.checkpoint()
            span = (wanted.start_ms + 1, wanted.end_ms)
            if not ids.size or span[0] > span[1]:
                loaded[at] = Columns.empty()
                continue
            if wanted.rolled is not None and snapshot.rollups:
                rows = self._buckets(snapshot, ids, wanted, limits, left)
                if rows is not None:
                    labels, offsets = _filled(snapshot.index, places, rows[0], limits)
                    loaded[at] = Buckets(labels, offsets, rows[1], wanted.rolled.resolution_ms)
                    left -= loaded[at].cost
                    continue
            of_samples.setdefault(span, []).append(at)
        for span, ats in of_samples.items():
            # Selectors of one span are read in one pass over the sources.
            union = np.unique(np.concatenate([picks[at][1] for at in ats]))
            fragments = self._bounded(snapshot, union, span, left, limits)
            if len(ats) > 1:
                fragments = as_one(fragments)
            for at in ats:
                limits.checkpoint()
                places, ids = picks[at]
                rows_of = None
                if ids.size < union.size:
                    rows_of = np.full(union.size, -1, np.int64)
                    rows_of[np.searchsorted(union, ids)] = np.arange(ids.size)
                merged = merge(fragments, ids.size, rows_of)
                labels, offsets = _filled(snapshot.index, places, merged.offsets, limits)
                samples = (merged.timestamps_ms, merged.values, merged.histograms.tolist())
                columns = Columns(labels, offsets, *samples, merged.has_stale)
                left -= columns.cost
                check_left(left, limits)
                loaded[at] = columns
        return [loaded[at] for at in range(len(spans))]

    def _buckets(
        self, snapshot: Snapshot, ids: I64, wanted: SelectorSpan, limits: QueryLimits, left: int
    ) -> tuple[I64, Arrays] | None:
        """Offsets and columns of buckets of the series; None where samples are to be read: also
        where a rollup cannot be, or buckets of single samples take too much memory.

        left: how many samples they may be.
        """
        head = snapshot.head.fragments(ids, (wanted.start_ms + 1, wanted.end_ms))
        head_ms = [fragment.copied().timestamps_ms for fragment in head]
        sources = sources_of(wanted, snapshot.rollups, snapshot.blocks, head_ms)
        if sources is None or self._rollups is None or wanted.rolled is None:
            return None
        names = wanted.rolled.columns
        parts = [part_of_samples(merge([], ids.size), names)]
        try:
            for place in np.unique(sources.rollups[sources.rollups >= 0]).tolist():
                is_wanted, rollup = sources.rollups == place, snapshot.rollups[place]
                for part in self._rollups.parts(rollup, ids, sources.grid, is_wanted, names):
                    limits.checkpoint()
                    parts.append(part)
                    left -= part.samples
                    check_left(left, limits)
            for first_ms, last_ms in sources.stretches:
                span = (max(first_ms, wanted.start_ms + 1), min(last_ms, wanted.end_ms))
                rows = merge(self._bounded(snapshot, ids, span, left, limits), ids.size)
                if is_histogram(rows.values).any():
                    return None  # buckets are of floats
                parts.append(part_of_samples(rows, names))
                left -= parts[-1].samples
                check_left(left, limits)
        except (CorruptData, ObjectStoreUnavailable, TooManySamples) as error:
            log.warning("rollups_not_read", reason=str(error))
            return None
        return joined(parts, ids.size, names)

    def _bounded(
        self,
        snapshot: Snapshot,
        ids: I64,
        span: tuple[int, int],
        samples_max: int,
        limits: QueryLimits,
    ) -> list[Fragment]:
        """All fragments; raises TooManySamples as soon as they have more than `samples_max`, or as
        much memory: a native histogram is several samples.
        """
        total = viewed = 0
        fragments = []
        for fragment in self._fragments(snapshot, ids, span, limits):
            total += sample_cost(fragment.samples, fragment.histograms)
            check_left(samples_max - total, limits)
            viewed += 0 if fragment.starts is None else fragment.values.size
            fragments.append(fragment if viewed <= VIEWED_SAMPLES_MAX else fragment.copied())
        return fragments

    def _fragments(
        self, snapshot: Snapshot, ids: I64, span: tuple[int, int], limits: QueryLimits
    ) -> Iterator[Fragment]:
        """Every source's part, lowest precedence first: blocks, then the head."""
        for block in snapshot.blocks:
            if block.min_ts <= span[1] and block.max_ts >= span[0]:
                for fragment in self._blocks.fragments(block, ids, span, limits.warn):
                    limits.checkpoint()
                    yield fragment
        yield from snapshot.head.fragments(ids, span)


def _filled(
    index: SeriesIndex, places: I64, offsets: I64, limits: QueryLimits
) -> tuple[Sequence[Labels], I64]:
    """Labels and offsets of those of `places` that have rows."""
    counts = np.diff(offsets)
    there = np.flatnonzero(counts)
    labels = index.labels(places[there], limits.checkpoint)
    return labels, np.concatenate(([0], np.cumsum(counts[there])))
