"""The laws of correlation with one series."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis_processing.analyses.block import Block
from analysis_processing.analyses.correlation import CORRELATION, run
from analysis_processing.errors import DoesNotFit

STEPS = 600
PARAMS = {parameter.name: parameter.default for parameter in CORRELATION.parameters}
FIRST = PARAMS | {"target": 'load{series="0"}', "lag_steps": 10}


def block_of(values):
    labels = [{"__name__": "load", "series": str(row)} for row in range(len(values))]
    return Block(labels, 0, 60_000, np.ascontiguousarray(values, dtype=np.float64))


def judged(block, params=FIRST):
    context = run.prepare(block, params)
    results = run.run(block, params, context).series
    return results, run.conclude(results, params, context)


def noise(rows, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, STEPS))


def significant(results):
    return [row for row, result in enumerate(results) if result.facts.get("significant")]


APART = {
    "noise": noise,
    "walks": lambda rows: np.cumsum(noise(rows), axis=1),
    "slopes": lambda rows: np.arange(STEPS) / 10 + noise(rows),
    "hours": lambda rows: 5 * np.sin(2 * np.pi * np.arange(STEPS) / 60) + noise(rows),
    "slow_waves": lambda rows: (
        3 * np.sin(np.arange(STEPS) / np.random.default_rng(2).uniform(20, 90, (rows, 1)))
        + noise(rows)
    ),
    "rare_events": lambda rows: (noise(rows) > 2).astype(float),
    "gaps": lambda rows: np.where(noise(rows, 3) < -0.3, np.nan, np.cumsum(noise(rows), axis=1)),
}


@pytest.mark.parametrize("kind", APART)
def test_trends_and_waves_do_not_correlate_by_themselves(kind):
    """Of 300 series that have nothing to do with the target, hardly one is named."""
    results, _ = judged(block_of(APART[kind](300)))
    assert len(significant(results)) <= 1


@pytest.mark.parametrize("kind", sorted(set(APART) - {"rare_events", "gaps"}))
@pytest.mark.parametrize("lag", [-4, 0, 3])
def test_the_one_that_moves_along_is_named_with_its_lag(kind, lag):
    """A series that has half of the target's news, before it, with it or after it, is found."""
    values = APART[kind](60)
    values[7] += np.roll(values[0], -lag)
    results, summary = judged(block_of(values))
    assert significant(results) == [7]
    assert results[7].facts["lag_ms"] == lag * 60_000
    words = {-4: "follows by 4 min", 0: "at the same time", 3: "leads by 3 min"}[lag]
    assert results[7].facts["relation"] == words
    assert results[7].score == abs(results[7].facts["correlation"]) > 0.4
    assert summary["related"][0]["labels"] == {"__name__": "load", "series": "7"}
    assert f'1 move with load{{series="0"}}; {int(lag > 0)} of them' in summary["sentence"]


def test_opposite_moves_count_as_much():
    """The sign of a correlation is a fact; its size is the score."""
    values = noise(40)
    values[5] = -values[0] + values[5]
    results, _ = judged(block_of(values))
    assert results[5].facts["correlation"] < -0.6
    assert results[5].score > 0.6


@pytest.mark.parametrize(
    "target",
    [
        'load{series="3"}',
        '{series="3",}',
        '{ "__name__":"load", "series":"3"}',
        '{__name__="load", series = "3"}',
    ],
)
def test_the_target_is_named_by_selector_or_json(target):
    """Labels that fit one series are enough, in either spelling."""
    assert run.prepare(block_of(noise(5)), FIRST | {"target": target}).labels["series"] == "3"


def test_labels_may_hold_quotes():
    """A value with quotes and backslashes is found in either spelling."""
    labels = {"__name__": "load", "path": 'C:\\"x="'}
    assert run.labels_of(json.dumps(labels)) == labels
    assert run.labels_of('load{path="C:\\\\\\"x=\\""}') == labels


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("load", "it fits 5 of 5"),
        ("", "it fits 5 of 5"),
        ('load{series="9"}', "it fits 0 of 5"),
        ('load{series=~"9"}', "not a selector"),
        ('{"series": 3}', "not a selector"),
        ('{"series": "3"', "not a selector"),
        ('load{series="3', "not a selector"),
        ('load{series="4"}', "fewer than 32 samples or is constant"),
    ],
)
def test_a_target_that_is_not_one_series_is_refused(target, words):
    """The refusal says how many series the target fits, or what it should look like."""
    values = noise(5)
    values[4] = 1.0
    with pytest.raises(DoesNotFit, match=words):
        run.prepare(block_of(values), FIRST | {"target": target})


def test_constant_and_short_series_are_noted():
    """What cannot be correlated says why; the target is no news to itself."""
    values = noise(5)
    values[2] = 3.0
    values[3, 20:] = np.nan
    results, _ = judged(block_of(values))
    assert results[2].note == results[3].note is not None
    assert results[0].facts == {"relation": "is the target"}
    assert results[0].score == 0.0


@given(power=st.integers(-30, 30), cut=st.integers(1, 19))
def test_chunks_and_scale_change_nothing(power, cut):
    """Any chunk gives what the whole gives, to rounding, and so do scaled values."""
    values = noise(20)
    values[3] += values[0]
    whole, _ = judged(block_of(values))
    block = block_of(values * 2.0**power)
    context = run.prepare(block, FIRST)
    chunks = [block.rows(0, cut), block.rows(cut, 20)]
    results = [one for chunk in chunks for one in run.run(chunk, FIRST, context).series]
    assert [one.score for one in results] == pytest.approx([one.score for one in whole], abs=1e-3)
    assert significant(results) == [3]
    beside = results[3].columns["target"]
    assert np.corrcoef(beside, values[0])[0, 1] > 0.99
    assert np.ptp(beside) == pytest.approx(np.ptp(results[3].columns["values"]), rel=0.5)


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.just(STEPS // 10)),
        elements=st.one_of(
            st.floats(-10, 10),
            st.sampled_from([0.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]),
        ),
    )
)
def test_any_numbers_are_judged_or_noted(values):
    """Infinities, extremes and gaps: a finite correlation, or a note that says why not."""
    target = np.random.default_rng(1).normal(size=(1, values.shape[1]))
    for result in judged(block_of(np.concatenate((target, values))))[0]:
        assert result.note or np.isfinite(result.score)
