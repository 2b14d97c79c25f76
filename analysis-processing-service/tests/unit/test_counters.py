"""Counters are recognised and become rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis_processing.jobs.counters import is_counter, rate, take_rate

GROWING, FALLING = np.array([1.0, 2.0, 5.0, 0.5, 1.0]), np.array([5.0, 4.0, 3.0, 4.0, 3.5])


@pytest.mark.parametrize(
    ("name", "values", "types", "expected"),
    [
        ("x_total", GROWING, {}, True),
        ("x_total", FALLING, {}, False),
        ("x_total", np.full(5, np.nan), {}, False),
        ("x", GROWING, {}, False),
        (None, GROWING, {}, False),
        ("x", FALLING, {"x": "counter"}, True),
        ("x_total", GROWING, {"x_total": "gauge"}, False),
        ("x_total", FALLING, {"x": "counter"}, True),
        ("x_bucket", FALLING, {"x": "histogram"}, True),
        ("x_total", GROWING, {"x_total": "unknown"}, True),
    ],
)
def test_what_is_a_counter(name, values, types, expected):
    """The metric's type decides; without one its name, growth and restarts do."""
    assert is_counter(name, values, types) is expected


def test_a_restart_counts_from_nothing():
    """Growth a second between samples, over gaps too; after a fall all of the new value grew."""
    values = np.array([np.nan, 10.0, 30.0, np.nan, 50.0, 5.0])
    np.testing.assert_allclose(rate(values, 10_000), [np.nan, np.nan, 2, np.nan, 1, 0.5])


@given(
    growth=st.lists(st.integers(0, 1000), min_size=2, max_size=40),
    missing=st.sets(st.integers(0, 39)),
)
def test_rates_add_up_to_the_growth(growth, missing):
    """Rates times the time between samples are what the counter grew, whatever is missing."""
    values = np.cumsum(np.array(growth, dtype=float))
    values[[at for at in missing if at < values.size]] = np.nan
    at = np.flatnonzero(~np.isnan(values))
    rates = rate(values, 2_000)
    grown = (rates[at[1:]] * np.diff(at) * 2).sum()
    expected = values[at[-1]] - values[at[0]] if at.size else 0
    assert grown == pytest.approx(expected)


def test_only_counters_change():
    """A series that is no counter keeps its samples."""
    values = np.stack([GROWING, GROWING])
    names = ("x_total", "x")
    were = [
        take_rate({"__name__": n}, row, 1_000, {}) for n, row in zip(names, values, strict=True)
    ]
    assert were == [True, False]
    np.testing.assert_array_equal(values, [[np.nan, 1, 3, 0.5, 0.5], GROWING])
