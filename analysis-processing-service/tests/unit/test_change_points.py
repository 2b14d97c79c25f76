"""The laws of change points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis_processing.analyses.block import Block
from analysis_processing.analyses.change_points import CHANGE_POINTS, run

PARAMS = {parameter.name: parameter.default for parameter in CHANGE_POINTS.parameters}
LENGTH = 900
STEPS_AT = (200, 420, 700)


def judged(values, step_ms=60_000):
    block = Block(
        [{"series": str(row)} for row in range(len(values))],
        0,
        step_ms,
        np.ascontiguousarray(values, dtype=np.float64),
    )
    return run.run(block, PARAMS, None).series


def noise(rows, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, LENGTH))


def starts(result):
    return [finding.start_ms // 60_000 for finding in result.findings]


def remembering(rows):
    values = noise(rows)
    for column in range(1, LENGTH):
        values[:, column] += 0.6 * values[:, column - 1]
    return values


QUIET = {
    "noise": noise,
    "memory": remembering,
    "waves": lambda rows: 3 * np.sin(np.arange(LENGTH) / 20) + noise(rows),
    "heavy_tails": lambda rows: np.random.default_rng(3).standard_t(3, (rows, LENGTH)),
    "two_valued": lambda rows: (noise(rows) > 0.5).astype(float),
}


@pytest.mark.parametrize("kind", QUIET)
def test_series_of_one_level_have_no_steps(kind):
    """Of 40 series that keep their level at most one is cut, whatever their noise is like."""
    assert sum(bool(result.findings) for result in judged(QUIET[kind](40))) <= 1


DRIFTING = {
    "slopes": lambda rows: np.arange(LENGTH) / 60 + noise(rows),
    "heavy": lambda rows: np.exp(1.5 * noise(rows)),
    "walks": lambda rows: np.cumsum(noise(rows), axis=1),
}


@pytest.mark.parametrize("kind", DRIFTING)
def test_what_drifts_is_not_cut_into_stairs(kind):
    """Of 40 slopes, walks or series with heavy tails most have no step at all."""
    assert sum(bool(result.findings) for result in judged(DRIFTING[kind](40))) <= 8


def test_steps_of_two_deviations_are_found_where_they_are():
    """Steps of twice the noise are all found within a few samples, and nothing else."""
    values = noise(20)
    for sign, at in zip((2, -2, 2), STEPS_AT, strict=True):
        values[:, at:] += sign
    for result in judged(values):
        assert len(result.findings) == len(STEPS_AT)
        assert np.abs(np.subtract(starts(result), STEPS_AT)).max() <= 8
        assert [finding.direction for finding in result.findings] == ["up", "down", "up"]


def test_levels_before_and_after_are_those_of_the_series():
    """`expected` is the median of each stretch; a finding says from what to what."""
    values = noise(1) / 10
    values[0, 300:] += 5
    (result,) = judged(values)
    (finding,) = result.findings
    assert starts(result) == [300]
    assert finding.expected == pytest.approx(result.columns["expected"][0], rel=1e-5)
    assert result.columns["expected"][0] == pytest.approx(0, abs=0.05)
    assert result.columns["expected"][-1] == pytest.approx(5, abs=0.05)
    assert finding.text.startswith("rose from")
    assert result.score == finding.size > 20


def test_what_moved_together_is_told_so():
    """The time at which most series moved stands in the summary, with how many did."""
    values = noise(6) / 10
    values[:4, 300:] += 5
    summary = run.conclude(judged(values), PARAMS, None)
    assert summary["times"] == [{"start_ms": 300 * 60_000, "series": 4}]
    words = "4 of 6 series moved to another level; 4 of them around 1970-01-01 05:00 UTC"
    assert summary["sentence"] == words


def test_a_long_series_is_cut_to_the_sample():
    """A series far longer than what is searched at once is thinned, and its step refined after."""
    values = np.random.default_rng(4).normal(size=(1, 20 * run.POINTS_MAX)) / 10
    values[0, 23_456:] += 2
    (result,) = judged(values)
    assert starts(result) == [23_456]


def test_gaps_do_not_move_a_step():
    """Missing samples are skipped: the step is at the first sample of the new level."""
    values = noise(1) / 10
    values[0, 300:] += 5
    values[0, 250:320] = np.nan
    assert starts(judged(values)[0]) == [320]


@given(power=st.integers(-30, 30), row=st.integers(0, 4))
@settings(max_examples=10)
def test_scale_and_neighbours_change_nothing(power, row):
    """Values times a power of two have the same steps and score; so has a series alone."""
    values = noise(5)
    values[:, 500:] += 3
    whole = judged(values)[row]
    alone = judged(values[row : row + 1] * 2.0**power)[0]
    assert starts(alone) == starts(whole)
    assert alone.score == whole.score


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 2), st.integers(1, 60)),
        elements=st.one_of(
            st.floats(-10, 10),
            st.sampled_from([0.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]),
        ),
    )
)
def test_any_numbers_are_judged_or_noted(values):
    """Infinities, extremes and gaps: a finite score, or a note that says why there is none."""
    for result in judged(values):
        assert result.note in (None, "constant", "fewer than 16 samples")
        assert np.isfinite(result.score)
