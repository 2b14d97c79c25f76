"""The store as the engine sees it: matchers and a span in, columns out. One snapshot for each call.

Snapshot ─▶ postings.select ─▶ ids ─┬─▶ block fragments (precedence) ─┐
                                    └─▶ head fragments (commit order) ┴─▶ merge ─▶ Columns
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
import numpy as np
import numpy.typing as npt

from ..errors import TooManySamples
from ..model import Columns, Labels, Matcher, QueryLimits, SelectorSpan
from .block import BlockReader
from .catalogue import Catalogue, Snapshot
from .fragments import Fragment, merge
from .objects import Objects
from .postings import SeriesIndex

T = TypeVar("T")
I64 = npt.NDArray[np.int64]
ALL_TIME: Final = (-(2**63), 2**63 - 1)
MatcherSets = Sequence[Sequence[Matcher]]


@dataclass(frozen=True, slots=True)
class Cardinality:
    """Where a tenant's series come from."""

    series: int
    label_names: int
    label_pairs: int
    head_samples: int
    head_span: tuple[int, int] | None
    blocks: int
    block_samples: int
    counts: Mapping[str, Sequence[tuple[str, int]]]


class Store:
    """Reads of one tenant at a time; every call takes the tenant first and sees nothing else."""

    def __init__(
        self,
        catalogue: Catalogue,
        blocks: BlockReader,
        objects: Objects,
        threads: anyio.CapacityLimiter,
    ) -> None:
        self.catalogue = catalogue
        self._blocks = blocks
        self._objects = objects
        self._threads = threads

    async def load(
        self, tenant: UUID, spans: Sequence[SelectorSpan], limits: QueryLimits
    ) -> list[Columns]:
        """The samples of each selector, all from one snapshot. Raises TooManySamples."""
        if not spans:
            return []
        whole = (min(span.start_ms for span in spans) + 1, max(span.end_ms for span in spans))
        snapshot = await self.catalogue.snapshot(tenant, whole)
        return await self._in_thread(partial(self._load, snapshot, spans, limits))

    async def series(
        self, tenant: UUID, sets: MatcherSets, span: tuple[int, int] | None
    ) -> list[Labels]:
        """Label sets that any of `sets` selects, with samples in `span` (None = ever)."""
        return await self._select(tenant, sets, span, SeriesIndex.labels)

    async def label_names(
        self, tenant: UUID, sets: MatcherSets, span: tuple[int, int] | None
    ) -> list[str]:
        """Sorted label names of those series."""
        return await self._select(tenant, sets, span, SeriesIndex.names_of)

    async def label_values(
        self, tenant: UUID, name: str, sets: MatcherSets, span: tuple[int, int] | None
    ) -> list[str]:
        """Sorted values of one label among those series."""
        return await self._select(
            tenant, sets, span, lambda index, places: index.values_of(name, places)
        )

    async def cardinality(self, tenant: UUID, limit: int) -> Cardinality:
        """Counts of the tenant's series by metric, label and pair, `limit` of each."""
        snapshot = await self.catalogue.snapshot(tenant, ALL_TIME)
        stored = await self.catalogue.stored(tenant)
        index, runs = snapshot.index, snapshot.head.runs
        counts = await self._in_thread(partial(index.cardinality, limit))
        return Cardinality(
            series=len(index),
            label_names=len(index.names()),
            label_pairs=index.pair_count,
            head_samples=sum(run.values.size for run in runs),
            head_span=(min(r.min_ts for r in runs), max(r.max_ts for r in runs)) if runs else None,
            blocks=stored["blocks"],
            block_samples=stored["samples"],
            counts=counts,
        )

    async def check_objects(self) -> str:
        """The object store answers."""
        return await anyio.to_thread.run_sync(self._objects.check)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads, abandon_on_cancel=True)

    async def _select(
        self,
        tenant: UUID,
        sets: MatcherSets,
        span: tuple[int, int] | None,
        read: Callable[[SeriesIndex, I64], T],
    ) -> T:
        snapshot = await self.catalogue.snapshot(tenant, span or ALL_TIME, samples=span is not None)

        def work() -> T:
            index = snapshot.index
            places = index.select_any(sets)
            if span is not None:
                places = self._with_samples(snapshot, places, span)
            return read(index, places)

        return await self._in_thread(work)

    def _with_samples(self, snapshot: Snapshot, places: I64, span: tuple[int, int]) -> I64:
        """Those of `places` with a sample in `span` (in a block: a chunk that reaches in)."""
        found = snapshot.head.present(span)
        for block in snapshot.blocks:
            found.extend(self._blocks.present(block, span))
        if not found:
            return places[:0]
        return places[np.isin(snapshot.index.ids(places), np.unique(np.concatenate(found)))]

    def _load(
        self, snapshot: Snapshot, spans: Sequence[SelectorSpan], limits: QueryLimits
    ) -> list[Columns]:
        left = limits.samples_max
        loaded = []
        for span in spans:
            limits.checkpoint()
            columns = self._load_one(snapshot, span, left, limits)
            left -= columns.samples
            loaded.append(columns)
        return loaded

    def _load_one(
        self, snapshot: Snapshot, wanted: SelectorSpan, samples_max: int, limits: QueryLimits
    ) -> Columns:
        places = snapshot.index.select(wanted.matchers)
        span = (wanted.start_ms + 1, wanted.end_ms)
        if not places.size or span[0] > span[1]:
            return Columns.empty()
        ids = snapshot.index.ids(places)
        order = np.argsort(ids, kind="stable")
        places, ids = places[order], ids[order]
        fragments = list(
            _bounded(self._fragments(snapshot, ids, span, limits), samples_max, limits.samples_max)
        )
        merged = merge(fragments, ids.size)
        counts = np.diff(merged.offsets)
        there = np.flatnonzero(counts)
        return Columns(
            snapshot.index.labels(places[there]),
            np.concatenate(([0], np.cumsum(counts[there]))),
            merged.timestamps_ms,
            merged.values,
        )

    def _fragments(
        self, snapshot: Snapshot, ids: I64, span: tuple[int, int], limits: QueryLimits
    ) -> Iterator[Fragment]:
        """Every source's part, lowest precedence first: blocks, then the head."""
        for block in snapshot.blocks:
            if block.min_ts <= span[1] and block.max_ts >= span[0]:
                limits.checkpoint()
                yield from self._blocks.fragments(block, ids, span)
        yield from snapshot.head.fragments(ids, span)


def _bounded(fragments: Iterable[Fragment], samples_max: int, limit: int) -> Iterator[Fragment]:
    """The same fragments; raises TooManySamples as soon as they hold more than allowed."""
    total = 0
    for fragment in fragments:
        total += fragment.values.size
        if total > samples_max:
            raise TooManySamples(limit=limit)
        yield fragment
