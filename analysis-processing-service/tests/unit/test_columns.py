"""Stored columns and assembled results."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis_processing.jobs import columns

shapes = st.tuples(st.integers(1, 4), st.just(5), st.integers(1, 30))


@given(block=shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape)))
def test_columns_round_trip(block):
    """What was stored is read back, bit for bit."""
    series = [{"labels": {"n": str(row)}, "anomalies": []} for row in range(block.shape[0])]
    header = {"start_ms": 0, "step_ms": 10, "steps": block.shape[2], "series": series}
    payload = columns.encode(header, [column.tobytes() for rows in block for column in rows])
    read, held = columns.decode(payload)
    assert read == header
    for row, found in enumerate(held):
        for place, name in enumerate(columns.COLUMNS):
            assert found[name].tobytes() == block[row, place].tobytes()


def test_a_series_as_json():
    """A series is the object of the contract; what JSON has no number for is null."""
    block = np.arange(15, dtype=float).reshape(5, 3)
    block[1] = [np.nan, np.inf, -np.inf]
    header = {
        "start_ms": 1000,
        "step_ms": 10,
        "steps": 3,
        "series": [{"labels": {"NaN": "Infinity \u2028"}, "anomalies": [{"start_ms": 1010}]}],
    }
    (text,) = columns.as_json(columns.encode(header, [row.tobytes() for row in block]))
    assert json.loads(text) == {
        "labels": {"NaN": "Infinity \u2028"},
        "timestamps_ms": [1000, 1010, 1020],
        "values": [0, 1, 2],
        "expected": [None, None, None],
        "lower": [6, 7, 8],
        "upper": [9, 10, 11],
        "score": [12, 13, 14],
        "anomalies": [{"start_ms": 1010}],
    }


def test_columns_of_the_wrong_length_are_a_defect():
    """A payload that could not be read again is never written."""
    header = {"start_ms": 0, "step_ms": 1, "steps": 2, "series": [{}]}
    with pytest.raises(AssertionError):
        columns.encode(header, [b"\0" * 16] * 4)
