"""Which series a tenant has and which of them match: label pair → series, in memory; pure.

A series has a *place*: its position in the order in which this process read it. A posting is
the ascending places of the series with one label pair; matchers are set algebra over postings.
No series is removed: once retention deletes some, the tenant gets an index anew.
"""

import threading
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from data_api.model import I64, Labels, Matcher, MatchOp, compile_regex

NOTHING: Final[I64] = np.empty(0, np.int64)
META: Final = frozenset(r"\.+*?()[]{}^$")


class _Posting:
    """Ascending places; only larger ones are added. Becomes an array when it is read."""

    __slots__ = ("_frozen", "_places")

    def __init__(self) -> None:
        self._places: array[int] = array("q")
        self._frozen: I64 | None = None

    def __len__(self) -> int:
        return len(self._places)

    def append(self, place: int) -> None:
        """`place` is larger than all before."""
        self._places.append(place)
        self._frozen = None

    def places(self) -> I64:
        """All of them, as an array that will not change."""
        if self._frozen is None:
            # A copy: a view would forbid the array to grow.
            self._frozen = np.array(self._places, np.int64)
        return self._frozen


class SeriesIndex:
    """The series of one tenant; safe to read and grow from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._place_of: dict[int, int] = {}  # by series id
        self._labels: list[Labels] = []
        self._ids = _Posting()
        self._pairs: dict[str, dict[str, _Posting]] = {}
        self._carriers: dict[str, _Posting] = {}
        self._words: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, series: Iterable[tuple[int, Mapping[str, str]]]) -> None:
        """These series are in the index; one that was there already is skipped."""
        words = self._words
        with self._lock:
            for series_id, labels in series:
                if series_id in self._place_of:
                    continue
                place = len(self._labels)
                interned: dict[str, str] = {}
                for name in sorted(labels):  # one string object for each distinct word
                    value = labels[name]
                    interned[words.setdefault(name, name)] = words.setdefault(value, value)
                for name, value in interned.items():
                    values = self._pairs.get(name)
                    if values is None:
                        values = self._pairs[name] = {}
                        self._carriers[name] = _Posting()
                    posting = values.get(value)
                    if posting is None:
                        posting = values[value] = _Posting()
                    posting.append(place)
                    self._carriers[name].append(place)
                self._place_of[series_id] = place
                self._labels.append(interned)
                self._ids.append(series_id)

    def unknown(self, series_ids: Iterable[int]) -> list[int]:
        """Those that are not in the index yet; waits for nobody, since the event loop asks."""
        return [series_id for series_id in series_ids if series_id not in self._place_of]

    def at_most(self, matchers: Sequence[Matcher]) -> tuple[int, int]:
        """How many series can match, and how many values have to be compared with a regex: from
        sizes alone, without a lock, so that it may be asked by the event loop.
        """
        series, compared = len(self._labels), 0
        for matcher in matchers:
            values = self._pairs.get(matcher.name, {})
            if matcher.op is MatchOp.EQUAL and matcher.value:
                posting = values.get(matcher.value)
                series = min(series, 0 if posting is None else len(posting))
            elif matcher.op in {MatchOp.REGEX, MatchOp.NOT_REGEX}:
                compared += len(values)
        return series, compared

    def select(self, matchers: Sequence[Matcher]) -> I64:
        """Places, ascending, of the series for which every matcher holds."""
        with self._lock:
            wanted: list[I64] = []
            unwanted: list[I64] = []
            for matcher in matchers:
                is_match, places = self._evaluate(matcher)
                (wanted if is_match else unwanted).append(places)
            if wanted:
                wanted.sort(key=len)
                selected = wanted[0]
                for places in wanted[1:]:
                    selected = selected[is_in(selected, places)]
            else:
                selected = np.arange(len(self._labels), dtype=np.int64)
            for places in unwanted:
                selected = selected[~is_in(selected, places)]
            return selected

    def select_any(self, sets: Sequence[Sequence[Matcher]]) -> I64:
        """Places, ascending, of the series that any set selects; of all when there is none."""
        if not sets:
            return np.arange(len(self), dtype=np.int64)
        selected = [self.select(matchers) for matchers in sets]
        return selected[0] if len(selected) == 1 else np.unique(np.concatenate(selected))

    def ids(self, places: I64) -> I64:
        """The series ids at `places`, in the same order."""
        with self._lock:
            return self._ids.places()[places]

    def labels(self, places: I64) -> list[Labels]:
        """The label sets at `places`, in the same order; not to be changed."""
        labels = self._labels
        return [labels[place] for place in places.tolist()]

    def names(self) -> list[str]:
        """Every label name, sorted."""
        with self._lock:
            return sorted(self._pairs)

    def names_of(self, places: I64) -> list[str]:
        """The label names that the series at `places` carry, sorted."""
        with self._lock:
            if places.size == len(self._labels):
                return self.names()
            carriers = {name: posting.places() for name, posting in self._carriers.items()}
        return sorted(name for name, those in carriers.items() if _intersect(those, places))

    def values(self, name: str) -> list[str]:
        """Every value of a label, sorted."""
        with self._lock:
            return sorted(self._pairs.get(name, ()))

    def values_of(self, name: str, places: I64) -> list[str]:
        """The values of a label among the series at `places`, sorted."""
        if places.size == len(self._labels):
            return self.values(name)
        labels = self._labels
        return sorted({labels[place].get(name, "") for place in places.tolist()} - {""})

    def cardinality(self, limit: int) -> dict[str, list[tuple[str, int]]]:
        """The `limit` largest counts: series by metric name and by label pair, values and bytes of
        values by label name.
        """
        with self._lock:
            pairs = {
                name: {value: len(posting) for value, posting in values.items()}
                for name, values in self._pairs.items()
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
            return sum(len(values) for values in self._pairs.values())

    def _evaluate(self, matcher: Matcher) -> tuple[bool, I64]:
        """(True, places that match) or (False, places that do not match).

        A matcher that holds for the empty string also holds for series without the label, which are
        in no posting: for such a matcher the places that do not match are listed.
        """
        values = self._pairs.get(matcher.name, {})
        match matcher.op:
            case MatchOp.EQUAL if matcher.value:
                posting = values.get(matcher.value)
                return True, NOTHING if posting is None else posting.places()
            case MatchOp.EQUAL:
                return False, self._carried(matcher.name)
            case MatchOp.NOT_EQUAL if matcher.value:
                posting = values.get(matcher.value)
                return False, NOTHING if posting is None else posting.places()
            case MatchOp.NOT_EQUAL:
                return True, self._carried(matcher.name)
        return self._evaluate_regex(matcher, values)

    def _evaluate_regex(self, matcher: Matcher, values: Mapping[str, _Posting]) -> tuple[bool, I64]:
        literals = alternatives(matcher.value)
        negated = matcher.op is MatchOp.NOT_REGEX
        if literals is not None and "" not in literals:
            hit = [values[literal] for literal in literals if literal in values]
            return not negated, _union(hit)
        if matcher.value in (".*", "(.*)", "^.*$"):
            return negated, NOTHING
        if matcher.value in (".+", "(.+)", "^.+$"):
            return not negated, self._carried(matcher.name)
        whole = compile_regex(matcher.value).fullmatch
        matches_absent = matcher.matches_absent()
        matching: list[_Posting] = []
        others: list[_Posting] = []
        for value, posting in values.items():
            matches = (whole(value) is None) is negated
            (matching if matches else others).append(posting)
        return (False, _union(others)) if matches_absent else (True, _union(matching))

    def _carried(self, name: str) -> I64:
        posting = self._carriers.get(name)
        return NOTHING if posting is None else posting.places()


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


def _intersect(a: I64, b: I64) -> bool:
    few, many = (a, b) if a.size <= b.size else (b, a)
    return bool(is_in(few, many).any())


def _union(postings: Sequence[_Posting]) -> I64:
    """Ascending places of all; postings of one label never share a place."""
    if not postings:
        return NOTHING
    if len(postings) == 1:
        return postings[0].places()
    return np.sort(np.concatenate([posting.places() for posting in postings]))
