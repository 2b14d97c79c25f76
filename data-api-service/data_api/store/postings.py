"""Which series a tenant has and which of them match: label pair → series, in memory; pure.

    pair      0 (__name__, up)   1 (job, web)   2 (job, db)         each text once
    place     0 [0, 1]           1 [0, 2]                           `_pair_ids`, cut at `_ends`
    posting   0 [0, 1]           1 [0]          2 [1]               places of each pair

A series has a *place*: its position in the order in which this process read it. A posting is
the ascending places of the series with one label pair; matchers are set algebra over postings.
All are numbers of four bytes: a label set becomes a mapping when it is asked for.
No series is removed: once retention deletes some, the tenant gets an index anew.
"""

import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice, pairwise
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from data_api.model import I64, Labels, Matcher, MatchOp, compile_regex

T = TypeVar("T")
NOTHING: Final[I64] = np.empty(0, np.int64)
META: Final = frozenset(r"\.+*?()[]{}^$")
AT_ONCE: Final = 2048  # label sets or values between two checkpoints
MADE_MAX: Final = 20_000  # label sets that stay once they are made: some 9 MB


def _go_on() -> None:
    """No checkpoint."""


def _pieces(items: Sequence[T], checkpoint: Callable[[], None]) -> Iterator[Sequence[T]]:
    """The items, AT_ONCE at a time, each time after a checkpoint."""
    for start in range(0, len(items), AT_ONCE):
        checkpoint()
        yield items[start : start + AT_ONCE]


def _numbers(stored: Any) -> I64:
    """A copy of an `array`: a view would forbid it to grow."""
    return np.array(stored, np.int64)


class SeriesIndex:
    """The series of one tenant; safe to read and grow from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._ids = array("q")
        self._sorted_ids: I64 = NOTHING
        self._ends = array("q", [0])
        self._pair_ids = array("i")
        self._pairs: list[tuple[str, str]] = []
        self._pair_of: dict[str, dict[str, int]] = {}
        self._postings: list[array[int]] = []
        self._made: dict[int, Labels] = {}

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def is_busy(self) -> bool:
        """Whether another thread keeps it from being read just now."""
        is_free = self._lock.acquire(blocking=False)
        if is_free:
            self._lock.release()
        return not is_free

    def add(self, series: Iterable[tuple[int, Mapping[str, str]]]) -> None:
        """These series are in the index; one that was there already is skipped."""
        with self._lock:
            rows = dict(series)
            for series_id in self.unknown(rows):
                place = len(self._ids)
                labels = rows[series_id]
                for name in sorted(labels):
                    pair_id = self._pair_id(name, labels[name])
                    self._pair_ids.append(pair_id)
                    self._postings[pair_id].append(place)
                self._ends.append(len(self._pair_ids))
                self._ids.append(series_id)
            if self._sorted_ids.size != len(self._ids):
                self._sorted_ids = np.sort(_numbers(self._ids))

    def _pair_id(self, name: str, value: str) -> int:
        values = self._pair_of.setdefault(name, {})
        pair_id = values.get(value)
        if pair_id is None:
            pair_id = values[value] = len(self._pairs)
            self._pairs.append((name, value))
            self._postings.append(array("i"))
        return pair_id

    def unknown(self, series_ids: Iterable[int]) -> list[int]:
        """Those that are not in the index, or are being added; waits for nobody, since the event
        loop asks.
        """
        wanted = np.fromiter(series_ids, np.int64)
        unknown: list[int] = wanted[~is_in(wanted, self._sorted_ids)].tolist()
        return unknown

    def at_most(self, matchers: Sequence[Matcher]) -> tuple[int, int]:
        """How many series can match, and how many values have to be compared with a regex: from
        sizes alone, without a lock, so that it may be asked by the event loop.
        """
        series, compared = len(self), 0
        for matcher in matchers:
            values = self._pair_of.get(matcher.name, {})
            if matcher.op is MatchOp.EQUAL and matcher.value:
                pair_id = values.get(matcher.value)
                series = min(series, 0 if pair_id is None else len(self._postings[pair_id]))
            elif matcher.op is MatchOp.REGEX and (words := alternatives(matcher.value)):
                pairs = [values[word] for word in words if word in values]
                most = sum(len(self._postings[pair_id]) for pair_id in pairs)
                series = series if "" in words else min(series, most)
            elif matcher.op in {MatchOp.REGEX, MatchOp.NOT_REGEX}:
                compared += len(values)
        return series, compared

    def select(self, matchers: Sequence[Matcher], checkpoint: Callable[[], None] = _go_on) -> I64:
        """Places, ascending, of the series for which every matcher holds, of those there are now.

        checkpoint: called now and then, when the index is free for others.
        """
        size = len(self)
        selected: I64 | None = None
        for matcher in sorted(
            matchers, key=lambda one: one.op is not MatchOp.EQUAL or not one.value
        ):
            checkpoint()
            is_match, places = self._evaluate(matcher, checkpoint)
            if selected is None and not is_match:
                selected = np.arange(size, dtype=np.int64)
            if selected is None:
                selected = places
            elif is_match:
                fewer, more = sorted((selected, places), key=len)
                selected = fewer[is_in(fewer, more)]
            else:
                selected = selected[~is_in(selected, places)]
        if selected is None:
            return np.arange(size, dtype=np.int64)
        return selected[: np.searchsorted(selected, size)]  # others may have been added meanwhile

    def ids(self, places: I64) -> I64:
        """The series ids at `places`, in the same order."""
        with self._lock:
            ids: I64 = np.frombuffer(self._ids, np.int64)[places] if len(self) else NOTHING
            return ids

    def labels(self, places: I64, checkpoint: Callable[[], None] = _go_on) -> list[Labels]:
        """The label sets at `places`, in the same order; not to be changed."""
        labels: list[Labels] = []
        for some in _pieces(places.tolist(), checkpoint):
            fits = len(labels) + len(some) <= MADE_MAX
            with self._lock:
                labels += self._kept(some) if fits else self._new(some)
        return labels

    def _kept(self, places: Sequence[int]) -> list[Labels]:
        """Label sets, which stay; the oldest of others go where there is no room."""
        made = self._made
        missing = [place for place in places if place not in made]
        made.update(zip(missing, self._new(missing), strict=True))
        labels = [made[place] for place in places]
        for place in list(islice(made, max(0, len(made) - MADE_MAX))):
            del made[place]
        return labels

    def _new(self, places: Sequence[int]) -> list[Labels]:
        pair_ids, ends = self._pair_ids_at(np.array(places, np.int64))
        pairs = [self._pairs[pair_id] for pair_id in pair_ids.tolist()]
        return [dict(pairs[start:end]) for start, end in pairwise([0, *ends.tolist()])]

    def names(self) -> list[str]:
        """Every label name, sorted."""
        with self._lock:
            return sorted(self._pair_of)

    def names_of(self, places: I64) -> list[str]:
        """The label names that the series at `places` carry, sorted."""
        with self._lock:
            if places.size == len(self):
                return self.names()
            return sorted({name for name, _ in self._pairs_at(places)})

    def _pair_ids_at(self, places: I64) -> tuple[npt.NDArray[np.int32], I64]:
        """The ids of the pairs of the series at `places`, and where those of each end."""
        if not places.size:
            return np.empty(0, np.int32), NOTHING
        all_ends = np.frombuffer(self._ends, np.int64)
        starts = all_ends[places]
        ends = np.cumsum(all_ends[places + 1] - starts)
        counts = np.diff(ends, prepend=0)
        at = np.repeat(starts - ends + counts, counts) + np.arange(ends[-1])
        return np.frombuffer(self._pair_ids, np.int32)[at], ends

    def _pairs_at(self, places: I64) -> list[tuple[str, str]]:
        """The pairs that the series at `places` have, each once."""
        pair_ids, _ = self._pair_ids_at(places)
        return [self._pairs[pair_id] for pair_id in np.flatnonzero(np.bincount(pair_ids)).tolist()]

    def values(self, name: str) -> list[str]:
        """Every value of a label, sorted."""
        with self._lock:
            return sorted(self._pair_of.get(name, ()))

    def values_of(self, name: str, places: I64) -> list[str]:
        """The values of a label among the series at `places`, sorted."""
        with self._lock:
            if places.size == len(self):
                return self.values(name)
            pairs = self._pairs_at(places)
        return sorted(value for carried, value in pairs if carried == name)

    def cardinality(self, limit: int) -> dict[str, list[tuple[str, int]]]:
        """The `limit` largest counts: series by metric name and by label pair, values and bytes of
        values by label name.
        """
        with self._lock:
            pairs = {
                name: {value: len(self._postings[pair]) for value, pair in values.items()}
                for name, values in self._pair_of.items()
            }
        return {
            "series_by_metric": _largest(pairs.get("__name__", {}).items(), limit),
            "values_by_label": _largest(((n, len(values)) for n, values in pairs.items()), limit),
            "bytes_by_label": _largest(
                (
                    (name, sum(len(value.encode()) * n for value, n in values.items()))
                    for name, values in pairs.items()
                ),
                limit,
            ),
            "series_by_pair": _largest(
                (
                    (f"{name}={value}", n)
                    for name, values in pairs.items()
                    for value, n in values.items()
                ),
                limit,
            ),
        }

    @property
    def pair_count(self) -> int:
        """How many distinct label pairs there are."""
        with self._lock:
            return len(self._pairs)

    def _evaluate(self, matcher: Matcher, checkpoint: Callable[[], None]) -> tuple[bool, I64]:
        """(True, places that match) or (False, places that do not match).

        A matcher that holds for the empty string also holds for series without the label, which are
        in no posting: for such a matcher the places that do not match are listed.
        """
        values = self._pair_of.get(matcher.name, {})
        union = partial(self._union, values, checkpoint=checkpoint)
        match matcher.op:
            case MatchOp.EQUAL if matcher.value:
                return True, union([matcher.value])
            case MatchOp.EQUAL:
                return False, union(list(values))
            case MatchOp.NOT_EQUAL if matcher.value:
                return False, union([matcher.value])
            case MatchOp.NOT_EQUAL:
                return True, union(list(values))
        return self._evaluate_regex(matcher, values, checkpoint)

    def _evaluate_regex(
        self, matcher: Matcher, values: Mapping[str, int], checkpoint: Callable[[], None]
    ) -> tuple[bool, I64]:
        union = partial(self._union, values, checkpoint=checkpoint)
        negated = matcher.op is MatchOp.NOT_REGEX
        literals = alternatives(matcher.value)
        if literals is not None and "" not in literals:
            return not negated, union(list(literals))
        if matcher.value in (".*", "(.*)", "^.*$"):
            return negated, NOTHING
        if matcher.value in (".+", "(.+)", "^.+$"):
            return not negated, union(list(values))
        whole = compile_regex(matcher.value).fullmatch
        is_match = not matcher.matches_absent()
        chosen = [
            value
            for some in _pieces(list(values), checkpoint)
            for value in some
            if ((whole(value) is None) is negated) is is_match
        ]
        return is_match, union(chosen)

    def _union(
        self, values: Mapping[str, int], wanted: Sequence[str], checkpoint: Callable[[], None]
    ) -> I64:
        """Ascending places of the series with one of the `wanted` of a label's `values`."""
        stored: list[bytes] = []
        for some in _pieces(wanted, checkpoint):
            with self._lock:
                postings = [self._postings[values[value]] for value in some if value in values]
                stored.append(b"".join(postings))
        places = np.frombuffer(b"".join(stored), np.int32)
        # Postings of one label never share a place.
        return (places if len(wanted) < 2 else np.sort(places)).astype(np.int64)


@lru_cache(maxsize=64)
def alternatives(pattern: str) -> frozenset[str] | None:
    """The plain words of `a|b|c`, also in one pair of brackets; None when it is any other regex."""
    if pattern.startswith("(") and pattern.endswith(")"):
        pattern = pattern[1:-1]
    return None if META.intersection(pattern) else frozenset(pattern.split("|"))


def _largest(counts: Iterable[tuple[str, int]], limit: int) -> list[tuple[str, int]]:
    return sorted(counts, key=lambda item: (-item[1], item[0]))[:limit]


def is_in(places: I64, sorted_places: I64) -> npt.NDArray[np.bool_]:
    """Which of `places` are among the ascending `sorted_places`."""
    if not sorted_places.size:
        return np.zeros(places.size, bool)
    at = np.searchsorted(sorted_places, places)
    at[at == sorted_places.size] = 0
    hit: npt.NDArray[np.bool_] = sorted_places[at] == places
    return hit
