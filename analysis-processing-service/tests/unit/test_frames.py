"""Query answers become a grid, and a grid a frame."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis_processing.errors import NoData, TooManyPoints, TooManySeries
from analysis_processing.frames import Grid, labels_of, series_name, to_block, to_frame


def answered(labels, times, values):
    return labels, np.array(times, dtype=np.int64), np.array(values, dtype=float)


@given(labels=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=5))
def test_names_are_labels(labels):
    """A column's name gives the labels back, and does not depend on their order."""
    assert labels_of(series_name(labels)) == labels
    assert series_name(dict(reversed(labels.items()))) == series_name(labels)


def test_windows_become_one_frame_with_gaps():
    """Series that come and go in windows stand in one frame, NaN where they were not."""
    grid = Grid(1_000, 10, 4, 10, 100)
    grid.add([answered({"a": "2"}, [1_000, 1_010], [1, 2])])
    grid.add([answered({"a": "1"}, [1_020], [7]), answered({"a": "2"}, [1_030], [4])])
    frame = grid.frame()
    assert list(frame.columns) == ['{"a":"1"}', '{"a":"2"}']
    assert frame.index[0] == pd.Timestamp(1_000, unit="ms", tz="UTC")
    expected = [[np.nan, np.nan, 7, np.nan], [1, 2, np.nan, 4]]
    np.testing.assert_array_equal(frame.to_numpy().T, expected)


def test_the_same_window_twice_changes_nothing():
    """A repeated window writes the same places."""
    grid = Grid(0, 10, 3, 10, 100)
    for _ in range(2):
        grid.add([answered({}, [0, 10, 15, 20, 30], [1, 2, 99, 3, 99])])
    np.testing.assert_array_equal(grid.frame().to_numpy().T, [[1, 2, 3]])


def test_series_and_points_are_bounded():
    """One series or point too many is an error that names the limit."""
    grid = Grid(0, 10, 10, 2, 1000)
    with pytest.raises(TooManySeries, match="limit=2"):
        grid.add(answered({"n": str(n)}, [0], [1]) for n in range(3))
    grid = Grid(0, 10, 10, 100, 25)
    with pytest.raises(TooManyPoints, match="limit=25"):
        grid.add(answered({"n": str(n)}, [0], [1]) for n in range(3))


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf]], ids=["none", "NaN", "infinite"])
def test_nothing_to_analyse_is_said(values):
    """A query without a finite sample is NoData."""
    grid = Grid(0, 10, 10, 2, 1000)
    grid.add([answered({}, list(range(0, 10 * len(values), 10)), values)])
    with pytest.raises(NoData):
        grid.frame()


def test_block_and_frame_are_inverse():
    """A block read back from its frame is the block, infinities apart."""
    block = np.array([[1.0, np.nan, 3.0], [np.inf, 5.0, -np.inf]])
    read, times = to_block(to_frame(block, ["a", "b"], 5_000, 1_000))
    np.testing.assert_array_equal(times, [5_000, 6_000, 7_000])
    np.testing.assert_array_equal(read, [[1, np.nan, 3], [np.nan, 5, np.nan]])
    assert read.flags["C_CONTIGUOUS"]
