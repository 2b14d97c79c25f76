import re
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LABELS

from data_api.model import Matcher, MatchOp
from data_api.store import postings
from data_api.store.postings import SeriesIndex, alternatives

MANY = 500_000
PATTERNS = ["", "a", "a|b", "(a|b)", "a.*", ".*", ".+", "a?", "[ab]+", "x|", "(?i:A)", "b$", "a\nb"]
MATCHERS = st.builds(
    Matcher,
    st.sampled_from(["__name__", "job", "host", "missing"]),
    st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL]),
    st.sampled_from(["", "a", "b", "ab"]),
) | st.builds(
    Matcher,
    st.sampled_from(["__name__", "job", "host", "missing"]),
    st.sampled_from([MatchOp.REGEX, MatchOp.NOT_REGEX]),
    st.sampled_from(PATTERNS),
)


def holds(matcher, labels):
    """The obvious meaning: an absent label is the empty string."""
    value = labels.get(matcher.name, "")
    match matcher.op:
        case MatchOp.EQUAL:
            return value == matcher.value
        case MatchOp.NOT_EQUAL:
            return value != matcher.value
        case MatchOp.REGEX:
            return re.fullmatch(matcher.value, value, re.DOTALL) is not None
        case MatchOp.NOT_REGEX:
            return re.fullmatch(matcher.value, value, re.DOTALL) is None


@given(st.lists(LABELS, max_size=20), st.lists(MATCHERS, max_size=4))
def test_selection_is_what_the_matchers_say(series, matchers):
    """Postings select exactly the series for which every matcher holds, one by one."""
    index = SeriesIndex()
    index.add(enumerate(series, 100))
    places = index.select(matchers)
    assert index.ids(places).tolist() == [
        100 + at for at, labels in enumerate(series) if all(holds(m, labels) for m in matchers)
    ]


@given(st.lists(LABELS, max_size=20), MATCHERS)
def test_names_and_values_are_those_of_the_selected(series, matcher):
    """Label names and values come from the selected series only, sorted."""
    index = SeriesIndex()
    index.add(enumerate(series))
    places = index.select([matcher])
    chosen = [labels for labels in series if holds(matcher, labels)]
    assert index.names_of(places) == sorted({name for labels in chosen for name in labels})
    assert index.values_of("job", places) == sorted({one["job"] for one in chosen if "job" in one})


def test_a_series_is_learned_once():
    """A listing repeated above the watermark changes nothing; later ones extend postings."""
    index = SeriesIndex()
    index.add([(7, {"job": "a"})])
    index.add([(7, {"job": "a"}), (5, {"job": "a"})])
    assert index.ids(index.select([Matcher("job", MatchOp.EQUAL, "a")])).tolist() == [7, 5]


def test_who_asks_what_is_unknown_never_disturbs_who_adds():
    """Each series has its own labels, whatever was asked while it was added."""
    index, over = SeriesIndex(), threading.Event()
    index.add((n, {}) for n in range(MANY))
    errors = []

    def add():
        try:
            for first in range(MANY, MANY + 50_000, 5000):
                index.add((n, {"n": str(n)}) for n in range(first, first + 5000))
        except BaseException as exc:  # noqa: BLE001 - shown below
            errors.append(exc)
        over.set()

    adding = threading.Thread(target=add)
    adding.start()
    while not over.is_set():
        assert index.unknown([2 * MANY]) == [2 * MANY]
    adding.join()
    assert not errors
    places = np.arange(MANY, MANY + 50_000)
    assert [labels["n"] for labels in index.labels(places)] == [str(n) for n in places]


@given(st.lists(LABELS, max_size=20), st.lists(LABELS, max_size=5), st.lists(MATCHERS, max_size=4))
def test_a_selection_is_of_the_series_there_were(series, later, matchers):
    """The index is free for others at each checkpoint; what they add then is not selected."""
    index = SeriesIndex()
    index.add(enumerate(series))
    before = index.select(matchers).tolist()
    added = iter(enumerate(later, 1000))

    def checkpoint():
        adding = threading.Thread(target=index.add, args=([*added],), daemon=True)
        adding.start()
        adding.join(10)
        assert not adding.is_alive()

    assert index.select(matchers, checkpoint).tolist() == before


def test_label_sets_that_were_made_stay_while_there_is_room(monkeypatch):
    """Asking again makes none of them anew; of more than there is room for, the first stay."""
    monkeypatch.setattr(postings, "MADE_MAX", 100)
    monkeypatch.setattr(postings, "AT_ONCE", 10)
    index = SeriesIndex()
    index.add((n, {"n": str(n)}) for n in range(300))
    for wanted in (np.arange(60), np.arange(90), np.arange(200, 300)):
        first, again = index.labels(wanted), index.labels(wanted)
        assert all(one is other for one, other in zip(first, again, strict=True))
        assert [int(one["n"]) for one in again] == wanted.tolist()
        assert len(index._made) <= 100
    first, again = index.labels(np.arange(300)), index.labels(np.arange(300))
    assert [int(one["n"]) for one in again] == list(range(300))
    assert all(one is other for one, other in zip(first[:100], again[:100], strict=True))
    assert len(index._made) == 100


def test_the_dot_matches_newlines():
    """RE2 with `.` over everything, anchored at both ends, as Prometheus compiles it."""
    index = SeriesIndex()
    index.add([(1, {"job": "a\nb"}), (2, {"job": "xa\nb"})])
    assert index.ids(index.select([Matcher("job", MatchOp.REGEX, "a.b")])).tolist() == [1]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a|b", {"a", "b"}),
        ("(a|b)", {"a", "b"}),
        ("a", {"a"}),
        ("(a)|(b)", None),
        ("a.b", None),
        ("", {""}),
    ],
)
def test_plain_alternatives_are_looked_up(pattern, words):
    """A regex of plain words needs no regex."""
    assert alternatives(pattern) == (None if words is None else frozenset(words))


def test_cardinality_counts():
    """Series by metric, values by label, series by pair; the largest first."""
    index = SeriesIndex()
    index.add(
        enumerate(
            [
                {"__name__": "up", "job": "a"},
                {"__name__": "up", "job": "b"},
                {"__name__": "down", "job": "a"},
            ]
        )
    )
    counts = index.cardinality(2)
    assert counts["series_by_metric"] == [("up", 2), ("down", 1)]
    assert counts["values_by_label"] == [("__name__", 2), ("job", 2)]
    assert counts["series_by_pair"] == [("__name__=up", 2), ("job=a", 2)]
