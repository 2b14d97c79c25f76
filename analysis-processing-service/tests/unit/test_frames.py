"""Query answers become one block, and a block a frame."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis_processing.errors import BlockTooLarge, NoData, TooManyPoints, TooManySeries
from analysis_processing.frames import Grid, permute, series_name, to_frame


def grid(steps=4, series=10, points=100, size=10**6):
    return Grid(steps, series_max=series, points_max=points, bytes_max=size)


def never(_labels, _values):
    return False


@given(labels=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=5))
def test_names_are_labels(labels):
    """A column's name gives the labels back, and does not depend on their order."""
    assert json.loads(series_name(labels)) == labels
    assert series_name(dict(reversed(labels.items()))) == series_name(labels)


def test_windows_become_one_block_with_gaps():
    """Series that come and go in windows stand in one block by name, NaN where they were not."""
    made = grid()
    made.add(2, [{"a": "1"}, {"a": "2"}], np.array([[7.0, np.nan], [np.nan, 4.0]]))
    made.add(0, [{"a": "2"}, {"a": "0"}], np.array([[1.0, 2.0], [np.nan, np.nan]]))
    labels, values, converted, silent = made.ordered(lambda labels, _: labels == {"a": "2"})
    assert converted == [False, True]
    assert (labels, silent) == ([{"a": "1"}, {"a": "2"}], [{"a": "0"}])
    np.testing.assert_array_equal(values, [[np.nan, np.nan, 7, np.nan], [1, 2, np.nan, 4]])


def test_the_same_window_twice_changes_nothing():
    """A repeated window writes the same places."""
    made = grid(3)
    for _ in range(2):
        made.add(0, [{}], np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(made.ordered(never)[1], [[1, 2, 3]])


@pytest.mark.parametrize(
    ("bounds", "error", "words"),
    [
        ({"series": 2}, TooManySeries, "limit=2"),
        ({"points": 11}, TooManyPoints, "limit=11"),
        ({"size": 95}, BlockTooLarge, "limit_bytes=95"),
    ],
    ids=["series", "points", "bytes"],
)
def test_series_points_and_memory_are_bounded(bounds, error, words):
    """One series too many is an error that names the limit it breaks."""
    made = grid(**bounds)
    labels = [{"n": str(n)} for n in range(3)]
    made.add(0, labels[:2], np.zeros((2, 4)))
    with pytest.raises(error, match=words):
        made.add(0, labels, np.zeros((3, 4)))


@pytest.mark.parametrize("values", [[], [[np.nan]]], ids=["none", "NaN"])
def test_nothing_to_analyse_is_said(values):
    """A query without a sample is NoData; an infinite one is a sample."""
    made = grid()
    made.add(0, [{}] * len(values), np.array(values).reshape(len(values), 1))
    with pytest.raises(NoData):
        made.ordered(never)
    made.add(0, [{}], np.array([[np.inf]]))
    assert made.ordered(never)[1][0, 0] == np.inf


@given(order=st.integers(1, 12).flatmap(lambda n: st.permutations(range(n))))
def test_rows_are_sorted_in_place(order):
    """Any permutation in place is what a copy would have been."""
    values = np.arange(2.0 * len(order)).reshape(-1, 2)
    expected = values[list(order)]
    permute(values, list(order))
    np.testing.assert_array_equal(values, expected)


def test_a_frame_is_a_view_of_the_block():
    """A frame has the block's values under UTC times and names, without a copy."""
    block = np.array([[1.0, np.nan, 3.0], [np.inf, 5.0, -np.inf]])
    frame = to_frame(block, ["a", "b"], 5_000, 1_000)
    assert frame.index[0] == pd.Timestamp(5_000, unit="ms", tz="UTC")
    np.testing.assert_array_equal(frame.to_numpy().T, block)
    assert np.shares_memory(frame.to_numpy(), block)
