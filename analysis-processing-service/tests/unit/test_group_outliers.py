"""The laws of outliers in a group."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis_processing.analyses.block import Block
from analysis_processing.analyses.group_outliers import GROUP_OUTLIERS, run

STEPS = 200
PARAMS = {parameter.name: parameter.default for parameter in GROUP_OUTLIERS.parameters}
BY_JOB = PARAMS | {"by": ["job"]}


def judged(values, size=10, params=BY_JOB):
    labels = [{"job": str(row // size), "series": str(row)} for row in range(len(values))]
    block = Block(labels, 0, 60_000, np.ascontiguousarray(values, dtype=np.float64))
    context = run.prepare(block, params)
    results = run.run(block, params, context).series
    return results, run.conclude(results, params, context)


def outliers(results):
    return [row for row, result in enumerate(results) if result.findings]


def noise(rows, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, STEPS))


ALIKE = {
    "noise": noise,
    "lognormal": lambda rows: np.exp(noise(rows)),
    "traffic": lambda rows: np.exp(2 * np.sin(np.arange(STEPS) / 20)) * (1 + 0.1 * noise(rows)),
    "gaps": lambda rows: np.where(noise(rows, 2) < -0.3, np.nan, noise(rows)),
    "rare_events": lambda rows: (noise(rows) > 1.5).astype(float),
    "equal": lambda rows: np.full((rows, STEPS), 1.0),
    "levels": lambda rows: noise(rows) / 10 + np.random.default_rng(3).normal(size=(rows, 1)),
}


@pytest.mark.parametrize("kind", ALIKE)
@pytest.mark.parametrize("size", [8, 40])
def test_a_group_whose_members_are_alike_has_no_outliers(kind, size):
    """Of 400 series that are like their siblings, at most one in a hundred is named."""
    results, _ = judged(ALIKE[kind](400), size)
    assert len(outliers(results)) <= 4


@pytest.mark.parametrize("kind", sorted(set(ALIKE) - {"levels", "rare_events"}))
def test_the_one_that_leaves_is_named_with_its_time(kind):
    """A series that goes ten deviations away is the outlier, since the step it left at."""
    values = ALIKE[kind](100)
    values[13, 150:] += 10 * (np.nanstd(values) or 1)
    results, summary = judged(values)
    assert outliers(results) == [13]
    finding = results[13].findings[0]
    assert abs(finding.start_ms // 60_000 - 150) <= 3
    assert finding.end_ms is None
    assert finding.direction == "up"
    assert summary["groups"][0]["outliers"] == 1
    assert summary["groups"][0]["worst"]["series"] == "13"
    assert summary["sentence"] == "of 100 series in 10 groups 1 depart from their siblings"


def test_a_stretch_that_is_over_has_an_end():
    """A series that comes back was an outlier from its first to its last step away."""
    values = noise(10) / 10
    values[4, 50:90] -= 9
    (finding,) = judged(values)[0][4].findings
    assert (finding.start_ms // 60_000, finding.end_ms // 60_000) == (50, 89)


def test_single_steps_are_no_outlier():
    """Far steps that are few are the business of anomaly detection."""
    values = noise(10)
    values[4, ::20] += 100
    assert outliers(judged(values)[0]) == []


def test_expected_is_the_median_of_the_group():
    """What a series is expected to be is what half of its siblings are above, and half below."""
    values = noise(11)
    results, _ = judged(values, size=11, params=PARAMS)
    assert np.allclose(results[0].columns["expected"], np.median(values, axis=0))


def test_small_groups_are_noted():
    """A series with too few siblings to compare with is not judged, and says why."""
    results, _ = judged(noise(14))
    assert {result.note for result in results[10:]} == {"its group has fewer than 5 series"}
    assert results[0].note is None


@given(power=st.integers(-30, 30), cut=st.integers(1, 19))
def test_chunks_and_scale_change_nothing(power, cut):
    """Any chunk gives the results of the whole, and so do the values times a power of two."""
    values = noise(20)
    values[3, 100:] += 20
    whole, _ = judged(values)
    labels = [result.labels for result in whole]
    block = Block(labels, 0, 60_000, values * 2.0**power)
    context = run.prepare(block, BY_JOB)
    chunks = [block.rows(0, cut), block.rows(cut, 20)]
    results = [one for chunk in chunks for one in run.run(chunk, BY_JOB, context).series]
    assert [one.score for one in results] == [one.score for one in whole]
    assert outliers(results) == [3]


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 7), st.integers(1, 20)),
        elements=st.one_of(
            st.floats(-10, 10),
            st.sampled_from([0.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]),
        ),
    )
)
def test_any_numbers_are_judged_or_noted(values):
    """Infinities, extremes and gaps: a finite score, or a note that says why there is none."""
    for result in judged(values, params=PARAMS)[0]:
        assert result.note or np.isfinite(result.score)
        assert all(np.isfinite(finding.size) for finding in result.findings)
