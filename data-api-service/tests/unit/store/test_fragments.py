import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import MS, SERIES

from data_api.store.fragments import Rows, as_one, cut, merge, ranges

ROWS = st.lists(st.tuples(SERIES, MS), max_size=30)


def fragment(rows, span=(0, 10**9)):
    """A source's rows (series, ms, value), as `cut` takes them."""
    rows = sorted(rows, key=lambda row: row[:2])
    ids = np.array([row[0] for row in rows], np.int64)
    positions, counts = np.unique(ids, return_counts=True)
    source = Rows(
        np.concatenate(([0], np.cumsum(counts))),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
    )
    return cut(positions, source, np.arange(7), span)


def rows_of(merged):
    return [
        (series, int(merged.timestamps_ms[at]), float(merged.values[at]))
        for series in range(merged.offsets.size - 1)
        for at in range(merged.offsets[series], merged.offsets[series + 1])
    ]


@given(st.lists(ROWS, max_size=6))
def test_the_last_source_wins_and_times_ascend(sources):
    """Of equal (series, ms) the highest precedence stays; order is series, then time."""
    latest, fragments, number = {}, [], 0
    for rows in sources:
        numbered = []
        for series, ms in sorted(rows):
            number += 1
            numbered.append((series, ms, float(number)))
            latest[series, ms] = float(number)
        if (made := fragment(numbered)) is not None:
            fragments.append(made)
    expected = [(series, ms, value) for (series, ms), value in sorted(latest.items())]
    assert rows_of(merge(fragments, 7)) == expected


@given(ROWS, MS, MS)
def test_a_cut_keeps_both_ends(rows, first, last):
    """Samples with first ≤ ms ≤ last stay; a series without any leaves the fragment."""
    rows = [(series, ms, 1.0) for series, ms in sorted(set(rows))]
    kept = [row for row in rows if first <= row[1] <= last]
    found = fragment(rows, (first, last))
    assert ([] if found is None else rows_of(merge([found], 7))) == kept


@given(st.lists(ROWS, max_size=6), st.sets(st.integers(0, 6)), st.booleans())
def test_selectors_that_share_a_pass_get_what_each_would_alone(sources, chosen, joins):
    """A merge of some of the series that fragments hold is that of these series alone, from the
    fragments or from all of them in one.
    """
    rows = [(s, ms, float(n)) for n, source in enumerate(sources) for s, ms in sorted(source)]
    fragments, alone = [], []
    for n, source in enumerate(sources):
        numbered = [(s, ms, float(n)) for s, ms in sorted(source)]
        mine = [row for row in numbered if row[0] in chosen]
        fragments += [made for made in [fragment(numbered)] if made is not None]
        alone += [made for made in [fragment(mine)] if made is not None]
    assert len(rows) == sum(one.samples for one in fragments)
    places = np.full(7, -1)
    places[sorted(chosen)] = np.arange(len(chosen))
    merged = merge(as_one(fragments) if joins else fragments, len(chosen), places)
    back = sorted(chosen)
    assert [(back[row], *rest) for row, *rest in rows_of(merged)] == rows_of(merge(alone, 7))


def test_chunks_of_one_series_become_one():
    """A series that appears in several rows is one row afterwards; gaps are left out."""
    source = Rows(
        np.array([0, 1, 3, 4, 5]),
        np.array([10, 20, 30, 40, 10]),
        np.array([1.0, 2.0, 3.0, 9.0, 4.0]),
    )
    found = cut(np.array([2, 2, 3, 5]), source, np.array([0, 1, 2, 4, 5]), (0, 100))
    assert found is not None
    assert rows_of(merge([found], 5)) == [(2, 10, 1.0), (2, 20, 2.0), (2, 30, 3.0), (4, 10, 4.0)]


def test_ranges_are_concatenated():
    """Each range in turn, empty ones included."""
    assert ranges(np.array([5, 9, 0]), np.array([2, 0, 3])).tolist() == [5, 6, 0, 1, 2]


def test_a_few_samples_do_not_hold_their_source():
    """What is cut out of a large source is a copy: a query's memory is its own samples, not the row
    groups they stood in. Most of a source is a view, which costs nothing.
    """
    n = 10_000
    source = Rows(np.array([0, 10, n]), np.arange(n), np.arange(n, dtype=np.float64))
    few = cut(np.array([0, 1]), source, np.array([0]), (0, n))
    assert few.values.tolist() == list(range(10))
    assert few.values.base is None
    assert few.timestamps_ms.base is None
    most = cut(np.array([0, 1]), source, np.array([1]), (0, n))
    assert most.values.base is source.values
