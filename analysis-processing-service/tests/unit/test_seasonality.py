"""The laws of rhythms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis_processing.analyses.block import Block
from analysis_processing.analyses.robust import clock
from analysis_processing.analyses.seasonality import SEASONALITY, run

PARAMS = {parameter.name: parameter.default for parameter in SEASONALITY.parameters}
STEP_MS = 900_000
DAY, WEEK = 96, 672
STEPS = 5 * WEEK
TIMES = np.arange(STEPS)


def judged(values, step_ms=STEP_MS, start_ms=0):
    labels = [{"series": str(row)} for row in range(len(values))]
    block = Block(labels, start_ms, step_ms, np.ascontiguousarray(values, dtype=np.float64))
    results = run.run(block, PARAMS, None).series
    return results, run.conclude(results, PARAMS, None)


def noise(rows, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, STEPS))


QUIET = {
    "noise": noise,
    "walks": lambda rows: np.cumsum(noise(rows), axis=1),
    "slopes": lambda rows: np.arange(STEPS) * np.ones((rows, 1)),
    "rare_events": lambda rows: (noise(rows) > 2.3).astype(float),
}


@pytest.mark.parametrize("kind", QUIET)
def test_what_does_not_repeat_has_no_rhythm(kind):
    """Of 100 series without a rhythm at most two are given one: noise, walks, slopes, events."""
    results, _ = judged(QUIET[kind](100))
    assert sum(result.facts["rhythm"] is not None for result in results) <= 2


@pytest.mark.parametrize(
    ("wave", "rhythm"),
    [
        (np.sin(2 * np.pi * TIMES / DAY), "1 d"),
        (TIMES / 50 + np.sin(2 * np.pi * TIMES / DAY), "1 d"),
        ((TIMES % WEEK > 5 * DAY) * 2.0, "7 d"),
        (np.sin(2 * np.pi * TIMES / 40), "10 h"),
    ],
)
def test_the_rhythm_that_rules_is_named(wave, rhythm):
    """A wave under as much noise is found: a day, a week, and one without a name."""
    results, summary = judged(wave * 2 + noise(5))
    assert {result.facts["rhythm"] for result in results} == {rhythm}
    assert summary["sentence"] == f"5 of 5 series repeat every {rhythm}"
    assert all(result.score == result.facts["strength"] > 0.3 for result in results)


def test_strength_is_the_share_of_variance_foretold():
    """A wave of variance 2 under noise of variance 1 foretells about two thirds, never more."""
    results, _ = judged(2 * np.sin(2 * np.pi * TIMES / DAY) + noise(20))
    strengths = [result.facts["strength_1 d"] for result in results]
    assert np.mean(strengths) == pytest.approx(2 / 3, abs=0.04)


def test_the_highest_hour_is_told_in_utc():
    """A peak at 14:00 of each day is named, and so is its depth at 02:00."""
    values = np.cos(2 * np.pi * (TIMES - 14 * 4) / DAY)[None, :] + noise(1) / 1000
    results, summary = judged(values)
    assert results[0].facts["highest"] == "14:00 UTC"
    assert results[0].facts["lowest"] == "02:00 UTC"
    assert summary["rhythms"][0]["highest"] == "14:00 UTC"


def test_a_rhythm_without_a_name_says_when_it_was_last_highest():
    """Ten hours are no part of a day: the last peak is told by its date."""
    values = np.cos(2 * np.pi * (TIMES - 12) / 40)[None, :] + noise(1) / 1000
    last_ms = int(TIMES[TIMES % 40 == 12][-1]) * STEP_MS
    assert judged(values)[0][0].facts["highest"] == f"last at {clock(last_ms)}"


def test_weekdays_are_those_of_the_calendar():
    """The epoch began on a Thursday: a peak on its third day is a Saturday's."""
    values = ((TIMES % WEEK) // DAY == 2)[None, :] * 1.0 + noise(1) / 10
    assert judged(values)[0][0].facts["highest"].startswith("Saturday")


@given(row=st.integers(0, 4), power=st.integers(-30, 30))
@settings(max_examples=10)
def test_scale_and_neighbours_change_nothing(row, power):
    """A series alone, times a power of two, has the rhythm it has among others."""
    values = np.sin(2 * np.pi * TIMES / DAY) + noise(5)
    values[2, 100:400] = np.nan
    whole = judged(values)[0][row]
    alone = judged(values[row : row + 1] * 2.0**power)[0][0]
    assert alone.facts == whole.facts


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(1, 90)),
        elements=st.one_of(
            st.floats(-10, 10),
            st.sampled_from([0.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]),
        ),
    )
)
def test_any_numbers_are_judged_or_noted(values):
    """Infinities, extremes and gaps: a finite strength, or a note that says why there is none."""
    for result in judged(values, step_ms=300_000)[0]:
        assert result.note in (None, "constant", "fewer than 32 samples")
        assert np.isfinite(result.score)
