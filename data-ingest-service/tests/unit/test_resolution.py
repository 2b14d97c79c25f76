"""Laws of a lowered resolution, against a slow obvious computation."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.model import STALE_MARKER_BITS
from data_ingest.resolution import Resolution

INTERVAL_MS = 60_000
STALE = np.array([STALE_MARKER_BITS], np.uint64).view(np.float64)[0]
SAMPLES = st.lists(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 20 * 60_000)), max_size=30), max_size=6
)


def name_of(series_id):
    return {1: b"up", 2: b"ALERTS"}.get(series_id, b"m")


def kept(resolution, samples, values=None):
    """Which of (series id, time) are stored, and the table of those without an id."""
    ids = np.array([one for one, _ in samples], np.int64)
    times = np.array([ts for _, ts in samples], np.int64)
    values = np.zeros(len(samples)) if values is None else np.array(values)
    labels = [[(b"__name__", name_of(one))] for one in ids.tolist()]
    keep, of_new = resolution.keep(ids, times, values, labels.__getitem__)
    return [one for one, is_kept in zip(samples, keep, strict=True) if is_kept], of_new


@given(SAMPLES)
def test_the_first_to_come_of_each_interval_is_stored(requests):
    """In any order within 64 intervals; exempt series whole."""
    resolution, seen, expected, stored = Resolution(INTERVAL_MS), set(), [], []
    for samples in requests:
        for series_id, ts in samples:
            key = series_id, ts // INTERVAL_MS
            if series_id in {1, 2} or key not in seen:
                expected.append((series_id, ts))
            seen.add(key)
        stored += kept(resolution, samples)[0]
    assert stored == expected


@given(SAMPLES)
def test_series_without_an_id_are_the_same_once_they_have_one(requests):
    """What a request stores of new series counts for the next, whatever ids they get."""
    resolution, known = Resolution(INTERVAL_MS), Resolution(INTERVAL_MS)
    for number, samples in enumerate(requests):
        new = [(-one, ts) if number == 0 else (one, ts) for one, ts in samples]
        labels = [[(b"__name__", name_of(abs(one)))] for one, _ in new]
        ids = np.array([one for one, _ in new], np.int64)
        times = np.array([ts for _, ts in new], np.int64)
        keep, of_new = resolution.keep(ids, times, np.zeros(len(new)), labels.__getitem__)
        resolution.adopt(of_new, np.arange(1, 7))
        stored = [one for one, is_kept in zip(samples, keep, strict=True) if is_kept]
        assert stored == kept(known, samples)[0]


def test_stale_markers_pass_and_take_no_interval():
    samples = [(5, 1000), (5, 2000), (5, 3000)]
    stored, _ = kept(Resolution(INTERVAL_MS), samples, [STALE, 1.0, STALE])
    assert stored == samples


def test_what_is_too_old_is_bounded():
    """64 intervals behind the newest nothing is stored, so that no memory is needed of it."""
    resolution, newest = Resolution(INTERVAL_MS), 100 * INTERVAL_MS
    assert kept(resolution, [(5, newest)])[0]
    assert kept(resolution, [(5, newest - 63 * INTERVAL_MS)])[0]
    assert not kept(resolution, [(5, newest - 63 * INTERVAL_MS + 1)])[0]
    assert not kept(resolution, [(5, newest - 64 * INTERVAL_MS)])[0]


def test_a_forgotten_sample_may_come_again():
    """A commit that failed leaves the interval open; exempt series stay exempt."""
    resolution = Resolution(INTERVAL_MS)
    kept(resolution, [(5, 1000), (1, 1000)])
    resolution.forget([5, 1, 77])
    assert kept(resolution, [(5, 1000), (1, 1000), (1, 1001), (5, 1001)])[0] == [
        (5, 1000),
        (1, 1000),
        (1, 1001),
    ]


def test_the_table_grows_and_leaves_out_series_that_ended():
    """100,000 series at a time, others each two hours: memory stays within that of one set."""
    resolution = Resolution(INTERVAL_MS)
    for turn in range(5):
        ids = np.arange(1, 100_001) + turn * 100_000
        times = np.full(100_000, turn * 120 * INTERVAL_MS)
        for expected in (100_000, 0):
            keep, _ = resolution.keep(ids, times, np.zeros(100_000), lambda _: [])
            assert np.count_nonzero(keep) == expected
    assert resolution.bytes <= 250 * 200_000
