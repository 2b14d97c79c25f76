"""Laws of the table of known series: a dictionary, but within a budget."""

import uuid

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.store.active_series import pack_ids, unpack_ids
from data_ingest.store.series import ROW_BYTES, ROWS_MIN, KnownSeries, SeriesCache

MANY = 1 << 20
keys = st.lists(
    st.tuples(st.integers(0, 3) | st.integers(0, 2**64 - 1), st.integers(0, 3)),
    min_size=1,
    max_size=60,
    unique=True,
)


def rows_of(pairs) -> np.ndarray:
    return np.array(pairs, np.uint64).reshape(-1, 2)


@given(st.lists(keys, max_size=8), keys)
def test_finds_what_it_learned(learned, wanted):
    """A key has the id it was last learned with, and no other key has one."""
    series = KnownSeries()
    oracle: dict[tuple[int, int], int] = {}
    for i, some in enumerate(learned):
        ids = np.arange(1, len(some) + 1) + 1000 * i
        series.learn(rows_of(some), ids, 1, MANY)
        oracle.update(zip(some, ids.tolist(), strict=True))
    ids = series.find(rows_of(wanted), 1)
    assert ids.tolist() == [oracle.get(key, 0) for key in wanted]
    assert len(series) == len(oracle)


def test_stays_within_its_rows():
    """However many are learned, the table keeps its bound, and the newest are found."""
    series, rng = KnownSeries(), np.random.default_rng(1)
    for minute in range(40):
        some = rng.integers(1, 2**63, (100, 2)).astype(np.uint64)
        series.learn(some, np.arange(1, 101), minute, 512)
        assert series.find(some, minute).all()
    assert series.bytes <= 512 * ROW_BYTES


def test_learning_more_than_fits_is_bounded():
    """One request with more new series than the budget holds neither hangs nor grows it."""
    series, rng = KnownSeries(), np.random.default_rng(2)
    some = rng.integers(1, 2**63, (5_000, 2)).astype(np.uint64)
    series.learn(some, np.arange(1, 5_001), 1, 1024)
    assert series.bytes <= 1024 * ROW_BYTES
    assert 0 < len(series) < 1024


def test_idle_tenants_make_room():
    """Over budget the tables of the longest idle tenants go, never the one in use."""
    cache = SeriesCache(4 * ROWS_MIN * ROW_BYTES)
    tenants = [uuid.UUID(int=i) for i in range(10)]
    for tenant in tenants:
        cache.of(tenant)
    assert cache.bytes <= 4 * ROWS_MIN * ROW_BYTES
    last = cache.of(tenants[-1])
    assert cache.of(tenants[-1]) is last


def test_active_are_series_not_spellings():
    """Active are the distinct ids seen within the window, told once a minute."""
    series = KnownSeries()
    series.learn(rows_of([(1, 1), (2, 2), (3, 3)]), np.array([7, 7, 8]), 10, MANY)
    told = [series.active_ids(10, 5), series.active_ids(10, 5)]
    series.find(rows_of([(3, 3)]), 15)
    told.append(series.active_ids(16, 3))
    assert [ids if ids is None else ids.tolist() for ids in told] == [[7, 8], None, [8]]


@given(st.sets(st.integers(1, 2**62)))
def test_packed_ids_come_back(ids):
    """Whatever ids are packed, they are unpacked."""
    ascending = np.array(sorted(ids), np.int64)
    assert unpack_ids(pack_ids(ascending)).tolist() == ascending.tolist()
