"""Which series and samples a query is about: matchers and spans against the index."""

from collections.abc import Sequence

import numpy as np

from data_api.errors import TooManySamples
from data_api.model import I64, Matcher, QueryLimits, SelectorSpan, sample_cost
from data_api.store.batch import SampleColumns
from data_api.store.catalogue import Pick, Picker
from data_api.store.postings import SeriesIndex, is_in


def of_spans(spans: Sequence[SelectorSpan], limits: QueryLimits) -> Picker:
    """Picks the samples that any of `spans` selects; raises TooManySamples as `_bounded` does."""

    def make_pick(index: SeriesIndex) -> Pick:
        chosen = [(by_id(index, span.matchers, limits)[1], span) for span in spans]
        left = limits.samples_max

        def pick(columns: SampleColumns) -> SampleColumns:
            nonlocal left
            limits.checkpoint()
            times, needed = columns.timestamps_ms, np.zeros(columns.values.size, bool)
            for ids, span in chosen:
                inside = (times > span.start_ms) & (times <= span.end_ms)
                needed |= inside & is_in(columns.series_ids, ids)
            picked = columns.take(needed)
            left -= sample_cost(picked.values.size, picked.histograms)
            check_left(left, limits)
            return picked

        return pick

    return make_pick


def first_of_each(span: tuple[int, int], limits: QueryLimits) -> Picker:
    """Picks one sample in `span` of each series, over all batches."""

    def make_pick(_: SeriesIndex) -> Pick:
        seen = np.empty(0, np.int64)

        def pick(columns: SampleColumns) -> SampleColumns:
            nonlocal seen
            limits.checkpoint()
            times = columns.timestamps_ms
            inside = np.flatnonzero((times >= span[0]) & (times <= span[1]))
            ids, firsts = np.unique(columns.series_ids[inside], return_index=True)
            is_new = ~is_in(ids, seen)
            seen = np.union1d(seen, ids)
            return columns.take(np.sort(inside[firsts[is_new]]))

        return pick

    return make_pick


def check_left(left: int, limits: QueryLimits) -> None:
    """Raise TooManySamples where nothing is `left`, or reserve memory for what was read."""
    if left < 0:
        raise TooManySamples(limit=limits.samples_max)
    limits.reserve(limits.samples_max - left)


def select_any(index: SeriesIndex, sets: Sequence[Sequence[Matcher]], limits: QueryLimits) -> I64:
    """Places, ascending, of the series that any set selects; of all when there is none."""
    selected = [index.select(matchers, limits.checkpoint) for matchers in sets or [()]]
    return selected[0] if len(selected) == 1 else np.unique(np.concatenate(selected))


def by_id(index: SeriesIndex, matchers: Sequence[Matcher], limits: QueryLimits) -> tuple[I64, I64]:
    """The places of the series that match, and their ids, ascending."""
    places = index.select(matchers, limits.checkpoint)
    ids = index.ids(places)
    order = np.argsort(ids, kind="stable")
    return places[order], ids[order]
