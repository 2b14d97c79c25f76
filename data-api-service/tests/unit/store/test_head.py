import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_values import REQUESTS, bits_of, stored
from strategies import MS, SERIES

from data_api.store import head as heads
from data_api.store.batch import SampleColumns
from data_api.store.fragments import merge
from data_api.store.head import FAN_IN, BatchRef, Head, missing, pages, split, stable_order

BATCHES = st.lists(
    st.tuples(st.integers(1, 20), st.lists(st.tuples(SERIES, MS), min_size=1, max_size=8)),
    max_size=30,
)
ALL = (-(10**9), 10**9)


def columns(rows):
    return SampleColumns(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
    )


def make(batches):
    """[(ref, rows)], each row with a value of its own that tells where it came from."""
    made, number = [], 0
    for batch_id, (xid, keys) in enumerate(batches, 1):
        times = [ms for _, ms in keys]
        rows = []
        for series, ms in keys:
            number += 1
            rows.append((series, ms, float(number)))
        made.append((BatchRef(xid, batch_id, min(times), max(times), len(rows)), rows))
    return made


def oracle(made):
    latest = {}
    for _, rows in sorted(made, key=lambda one: one[0]):
        for series, ms, value in rows:
            latest[series, ms] = value
    return sorted((series, ms, value) for (series, ms), value in latest.items())


def read(head, span=ALL):
    ids = np.arange(8)
    merged = merge(head.fragments(ids, span), ids.size)
    return [
        (series, int(merged.timestamps_ms[at]), float(merged.values[at]))
        for series in range(8)
        for at in range(merged.offsets[series], merged.offsets[series + 1])
    ]


@given(BATCHES, st.randoms(use_true_random=False), st.sampled_from([5, heads.RUN_SAMPLES_MAX]))
def test_batches_take_precedence_by_commit_order_however_they_arrive(batches, random, largest):
    """Added in any order and grouping, the higher (xid, batch, position) wins."""
    made = make(batches)
    shuffled = made[:]
    random.shuffle(shuffled)
    head = Head()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "RUN_SAMPLES_MAX", largest)
        while shuffled:
            some = [shuffled.pop() for _ in range(random.randint(1, len(shuffled)))]
            head = head.add({ref: columns(rows) for ref, rows in some})
    assert read(head) == oracle(made)
    assert head.batches == {ref for ref, _ in made}


@given(REQUESTS, st.randoms(use_true_random=False))
def test_a_value_beats_a_stale_marker_wherever_they_lie(requests, random):
    """Before or after the marker, in one request or several, in blocks or in the head: the last
    value is read, and the marker only where there is no value.
    """
    ids, head, fragments = np.arange(8), Head(), []
    in_blocks = random.randint(0, len(requests))
    for number, rows in enumerate(requests, 1):
        times = [ms for _, ms, _ in rows]
        ref = BatchRef(number, number, min(times), max(times), len(rows))
        if number <= in_blocks:
            block = [(*key, np.uint64(bits).view(np.float64)) for key, bits in stored(rows).items()]
            fragments += Head().add({ref: columns(block)}).fragments(ids, ALL)
        else:
            head = head.add({ref: columns(rows)})
    merged = merge([*fragments, *head.fragments(ids, ALL)], ids.size)
    series = np.repeat(ids, np.diff(merged.offsets)).tolist()
    read_keys = list(zip(series, merged.timestamps_ms.tolist(), strict=True))
    expected = stored(sample for rows in requests for sample in rows)
    assert read_keys == sorted(expected)
    assert dict(zip(read_keys, map(bits_of, merged.values), strict=True)) == expected


@given(BATCHES, st.sets(st.integers(1, 30)))
def test_only_live_batches_count(batches, dead):
    """After `only`, the head reads as if the others had never been there."""
    made = make(batches)
    head = Head()
    for ref, rows in sorted(made, key=lambda one: one[0]):
        head = head.add({ref: columns(rows)})
    left = [(ref, rows) for ref, rows in made if ref.batch_id not in dead]
    kept = head.only(frozenset(ref for ref, _ in left))
    assert read(kept) == oracle(left)
    assert kept.batches == {ref for ref, _ in left}


@given(BATCHES, MS, MS)
def test_a_series_is_present_where_it_has_a_sample(batches, first, last):
    """`mark_present` marks exactly the series with first ≤ ms ≤ last."""
    made = make(batches)
    head = Head().add({ref: columns(rows) for ref, rows in made})
    expected = {series for _, rows in made for series, ms, _ in rows if first <= ms <= last}
    ids, present = np.arange(9), np.zeros(9, np.int64)
    for run in head.runs:
        run.mark_present(ids, (first, last), present)
    assert set(ids[present > 0].tolist()) == expected


def test_runs_stay_few():
    """A thousand batches of like size lie in few dozen runs at most."""
    head = Head()
    for number in range(1, 1001):
        ref = BatchRef(number, number, number, number, 4)
        head = head.add({ref: columns([(s, number, 1.0) for s in range(4)])})
        assert len(head.runs) < FAN_IN * 4
    assert len(head.batches) == 1000


def test_batches_between_others_make_no_run_of_all(monkeypatch):
    """Pages that lie between batches which are there already are joined with their neighbours, not
    with each other: what is sorted at once is bounded.
    """
    monkeypatch.setattr(heads, "RUN_SAMPLES_MAX", 60)
    refs = [BatchRef(xid, xid, xid, xid, 1) for xid in range(300)]
    early, late = refs[::5], [ref for ref in refs if ref.xid % 5]
    head = Head().add({ref: columns([(1, ref.xid, 1.0)]) for ref in early})
    for start in range(0, len(late), 40):
        head = head.add({ref: columns([(1, ref.xid, 2.0)]) for ref in late[start : start + 40]})
    assert head.batches == set(refs)
    assert max(run.values.size for run in head.runs) <= 60


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1), st.integers(0, 2**33))
def test_the_order_is_stable(ids, spread):
    """Equal to numpy's stable sort for narrow, wide and very wide ids."""
    array = np.array(ids, np.int64) % (spread + 1)
    assert stable_order(array).tolist() == np.argsort(array, kind="stable").tolist()


def test_wanted_batches_are_those_that_overlap():
    """Both ends of a span are inclusive; held ones are not asked for again."""
    refs = [BatchRef(n, n, n * 10, n * 10 + 5, 1) for n in range(1, 6)]
    assert missing(refs, frozenset(refs[2:3]), (25, 40)) == [refs[1], refs[3]]


def test_the_newest_batches_fill_the_room():
    """What does not fit is the oldest part; with no room at all nothing is kept."""
    refs = [BatchRef(xid, xid, 0, 0, 10) for xid in range(1, 6)]
    assert split(refs, 24 * 25) == (refs[:3], refs[3:])
    assert split(refs, 24 * 50) == ([], refs)
    assert split(refs, 0) == (refs, [])
    assert split(refs, -1) == (refs, [])
    assert split([], 100) == ([], [])


def test_batches_are_decoded_in_bounded_pages(monkeypatch):
    """A page is bounded in batches and in bytes, and a batch that is larger stands alone."""
    monkeypatch.setattr(heads, "PAGE_BATCHES", 3)
    monkeypatch.setattr(heads, "PAGE_BYTES", 10 * heads.SAMPLE_BYTES)
    sizes = [1, 1, 1, 1, 50, 4, 6, 1]
    refs = [BatchRef(xid, xid, 0, 0, samples) for xid, samples in enumerate(sizes)]
    found = [[ref.samples for ref in page] for page in pages(refs)]
    assert found == [[1, 1, 1], [1], [50], [4, 6], [1]]
    assert list(pages([])) == []
