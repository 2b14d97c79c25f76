"""An operator's own function, from its file to columns of a result."""

import numpy as np
import pytest

from analysis_processing.analyses.block import Block
from analysis_processing.analyses.own import run as own
from analysis_processing.errors import InvalidJob

BLOCK = Block(
    [{"__name__": "load", "host": name} for name in "abc"],
    60_000,
    60_000,
    np.array([[1.0, 2.0, 3.0, 4.0], [np.nan, 2.0, 2.0, 2.0], [0.0, 0.0, 8.0, 0.0]]),
)


@pytest.fixture
def answer(tmp_path, monkeypatch):
    """What a function's text gives for BLOCK, chunk by chunk."""
    monkeypatch.setenv("APS_OWN_ANALYSES", str(tmp_path))

    def run(text, *, chunk=3, **given):
        (tmp_path / "mine.py").write_text(text)
        params = {"function": "", "arguments": "{}", "sample": 0} | given
        context = own.prepare(BLOCK, params)
        return [
            series
            for first in range(0, 3, chunk)
            for series in own.run(BLOCK.rows(first, first + chunk), params, context).series
        ]

    return run


def test_columns_of_the_series_go_with_them(answer):
    """Whatever the chunks; the index is the job's times, and what is left out is noted."""
    text = """
def run(frame, params):
    assert str(frame.index.tz) == "UTC"
    return frame.rolling(params["window"]).mean().iloc[1:]
"""
    for chunk in (1, 3):
        results = answer(text, chunk=chunk, arguments='{"window": 2}')
        assert [one.labels for one in results] == BLOCK.labels
        np.testing.assert_array_equal(results[0].columns["expected"], [np.nan, 1.5, 2.5, 3.5])
        np.testing.assert_array_equal(results[0].columns["values"], BLOCK.values[0])


def test_a_column_of_another_name_is_a_series_of_its_own(answer):
    """And the series that have no column are noted."""
    results = answer("def run(frame, params):\n return frame.sum(axis=1).to_frame('total')")
    assert [one.note is None for one in results] == [False, False, False, True]
    assert results[-1].labels == {"__name__": "total"}
    np.testing.assert_array_equal(results[-1].columns["values"], [1, 4, 13, 6])


def test_a_number_for_each_series_ranks_them(answer):
    """A Series by name; what has no number says so."""
    results = answer("def run(frame, params):\n return frame.max()[lambda most: most > 2]")
    assert [one.score for one in results] == [4, 0, 8]
    assert results[1].note == "the function gave no number for it"


def test_a_dry_run_sees_the_first_series_only(answer):
    """The rest says so, also where a chunk has none of them."""
    results = answer("def run(frame, params):\n return frame", chunk=1, sample=2)
    assert [one.note is None for one in results] == [True, True, False]


def test_the_function_cannot_change_what_was_observed(answer):
    """It has a copy."""
    before = BLOCK.values.copy()
    answer("def run(frame, params):\n frame[:] = 7\n return frame")
    np.testing.assert_array_equal(BLOCK.values, before)


@pytest.mark.parametrize(
    ("text", "given", "shown"),
    [
        ("def run(frame, params):\n\n return 1 / 0", {}, "mine.py:3: ZeroDivisionError"),
        ("def run(frame params):", {}, "SyntaxError"),
        ("def ran(frame, params): return frame", {}, "KeyError: 'run'"),
        ("def run(frame, params): return 7", {}, "run gave a int"),
        ("def run(frame, params): return frame", {"function": "../x"}, "there are: mine"),
        ("def run(frame, params): return frame", {"arguments": "["}, "not JSON"),
        ("def run(frame, params): return frame", {"arguments": "[]"}, "not a JSON object"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(answer, text, given, shown):
    """The operator reads the error in the job."""
    with pytest.raises(InvalidJob, match=shown.replace("(", r"\(")):
        answer(text, **given)


def test_without_a_folder_there_is_no_function(monkeypatch):
    """The variable is named."""
    monkeypatch.delenv("APS_OWN_ANALYSES", raising=False)
    with pytest.raises(InvalidJob, match="APS_OWN_ANALYSES"):
        own.prepare(BLOCK, {"function": "", "arguments": "{}", "sample": 0})
