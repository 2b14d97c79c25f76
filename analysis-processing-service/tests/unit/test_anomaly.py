"""The laws of anomaly detection."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis_processing.analyses.anomaly.run import (
    AnomalyParams,
    Detector,
    directed,
    episodes,
    looks_like_counter,
    run_frame,
    threshold_of,
)
from analysis_processing.errors import IsCounter
from analysis_processing.frames import series_name, to_frame

SEASONS = (12, 48)
WARM_UP = 16

samples = st.one_of(
    st.floats(-1e6, 1e6, width=32),
    st.sampled_from([0.0, 1.0, 5.0, float("nan"), float("inf")]),
)
blocks = st.tuples(st.integers(1, 3), st.integers(1, 220)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=samples)
)
first_steps = st.integers(0, 10_000)


def judged(block, first_step=0, seasons=SEASONS, warm_up=WARM_UP):
    return Detector(block.shape[0], seasons, warm_up).advance(block, first_step)


def same(left, right):
    """Bit for bit, NaN included, in all three blocks."""
    pairs = zip(
        (left.expected, left.scales, left.scores),
        (right.expected, right.scales, right.scores),
        strict=True,
    )
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def params(**changed):
    base = {"sensitivity": 0.5, "season": "none", "direction": "both", "warm_up": 64}
    return AnomalyParams.from_json(base | {"refractory": 10} | changed, 60_000)


@given(block=blocks, first_step=first_steps, share=st.floats(0, 1))
def test_causality(block, first_step, share):
    """The judgement of a prefix is the prefix of the judgement, bit for bit."""
    cut = int(share * block.shape[1])
    whole = judged(block, first_step)
    prefix = judged(block[:, :cut], first_step)
    assert np.array_equal(prefix.scores, whole.scores[:, :cut], equal_nan=True)
    assert np.array_equal(prefix.expected, whole.expected[:, :cut], equal_nan=True)


@given(block=blocks, first_step=first_steps, cuts=st.lists(st.floats(0, 1), max_size=6))
def test_chunk_invariance_across_saved_states(block, first_step, cuts):
    """However the samples are cut, and the state saved and loaded between, the judgement is one."""
    bounds = [0, *sorted(int(cut * block.shape[1]) for cut in cuts), block.shape[1]]
    detector = Detector(block.shape[0], SEASONS, WARM_UP)
    parts = []
    for begin, end in pairwise(bounds):
        parts.append(detector.advance(block[:, begin:end], first_step + begin))
        detector = Detector.load(detector.save())
    whole = judged(block, first_step)
    assert np.array_equal(
        np.concatenate([part.scores for part in parts], axis=1), whole.scores, equal_nan=True
    )


@given(block=blocks, first_step=first_steps)
def test_series_do_not_know_each_other(block, first_step):
    """A series is judged alone as it is judged among others."""
    whole = judged(block, first_step)
    for row in range(block.shape[0]):
        alone = judged(block[row : row + 1], first_step)
        assert np.array_equal(alone.scores[0], whole.scores[row], equal_nan=True)


@given(block=blocks, exponent=st.integers(-20, 20))
def test_scale_equivariance(block, exponent):
    """In other units the expectation is in those units and the scores are the same.

    A power of two, so that not even rounding may differ.
    """
    plain, scaled = judged(block), judged(block * 2.0**exponent)
    assert np.array_equal(plain.scores, scaled.scores, equal_nan=True)
    assert np.array_equal(plain.expected * 2.0**exponent, scaled.expected, equal_nan=True)


@given(block=blocks)
def test_mirror(block):
    """What was unusually high is unusually low when the series is turned upside down."""
    plain, mirrored = judged(block), judged(-block)
    assert np.array_equal(plain.scores, -mirrored.scores, equal_nan=True)


@given(block=blocks)
def test_no_judgement_without_a_sample_or_in_the_warm_up(block):
    """NaN where there is no sample and in the warm-up; a finite bounded score elsewhere."""
    scores = judged(block).scores
    seen = np.cumsum(np.isfinite(block), axis=1) - np.isfinite(block)
    unjudged = ~np.isfinite(block) | (seen < WARM_UP)
    assert np.isnan(scores[unjudged]).all()
    known = scores[np.isfinite(scores)]
    assert (np.abs(known) <= 1000).all()


@given(
    value=st.floats(-1e9, 1e9),
    length=st.integers(100, 600),
    gaps=st.lists(st.integers(0, 599), max_size=50),
)
def test_no_alarm_on_a_constant(value, length, gaps):
    """A series that never moves scores 0, gaps or not."""
    block = np.full((1, length), value)
    block[0, [at for at in gaps if at < length]] = np.nan
    scores = judged(block).scores
    assert (np.nan_to_num(scores) == 0).all()


@given(seed=st.integers(0, 1000), share=st.floats(0.3, 0.7))
def test_no_alarm_on_two_values_taken_at_random(seed, share):
    """A coin that falls as it always fell is nothing unusual."""
    coin = (np.random.default_rng(seed).random((1, 2000)) < share).astype(float)
    scores = np.abs(judged(coin, warm_up=128).scores)
    assert np.nanmax(scores) < threshold_of(0.5)


def test_a_rare_value_of_a_still_series_is_an_alarm():
    """`up` that turns 0 after days of 1 is told, once."""
    up = np.ones((1, 3000))
    up[0, 2500:] = 0.0
    unusual = directed(judged(up).scores, "both")[0]
    assert [first for first, _, _ in episodes(unusual, 6.0, 10)] == [2500]


def test_what_keeps_coming_back_is_no_surprise():
    """After a dozen equal bursts of an otherwise still series the next is no alarm."""
    bursts = np.zeros((1, 4000))
    bursts[0, 100::97] = 3.0
    unusual = directed(judged(bursts, seasons=()).scores, "both")[0]
    alarms = episodes(unusual, 6.0, 10)
    assert 1 <= len(alarms) <= 12
    assert alarms[-1][1] < 100 + 97 * 13


@pytest.mark.parametrize("unusual", ["noise_spikes", "noise_shift", "daily_spikes", "daily_shift"])
def test_labelled_anomalies_are_found(unusual):
    """Spikes and shifts in noise and in daily waves: nearly all found, nearly nothing else."""
    found = spans = false = 0
    for row in range(10):
        values, labelled = synthetic.CASES[unusual](np.random.default_rng([3, row]))
        scores = judged(values[None], seasons=(12, 288, 2016), warm_up=64).scores[0]
        alarms = [one for one in episodes(np.abs(scores), 6.0, 10) if one[0] >= 2 * synthetic.DAY]
        spans += len(labelled)
        found += sum(any(a < end and b >= start for a, b, _ in alarms) for start, end in labelled)
        false += sum(
            not any(a <= end + 3 and b >= start - 3 for start, end in labelled)
            for a, b, _ in alarms
        )
    assert found >= 0.9 * spans
    assert false <= 1


@pytest.mark.parametrize(
    "usual",
    ["noise", "daily", "business_hours", "drift", "random_walk", "flat", "two_valued", "gaps"],
)
def test_usual_series_are_quiet(usual):
    """Noise, seasons, drift, walks, coins and gaps: at most one false alarm in 80 series-days."""
    alarms = 0
    for row in range(10):
        values, _ = synthetic.CASES[usual](np.random.default_rng([3, row]))
        scores = judged(values[None], seasons=(12, 288, 2016), warm_up=64).scores[0]
        alarms += sum(
            first >= 2 * synthetic.DAY for first, _, _ in episodes(np.abs(scores), 6.0, 10)
        )
    assert alarms <= 1


def test_only_a_season_knows_that_a_peak_is_missing():
    """A day without its daily rise is an anomaly to a detector with seasons, and to no other."""
    day, step = 288, np.arange(7 * 288)
    usual = 50 - 10 * np.cos(2 * np.pi * step / day)
    usual[5 * day : 5 * day + day // 2] = 40  # from the trough on, the sixth day does not rise
    values = usual + np.random.default_rng(1).normal(0, 0.5, usual.size)
    morning = slice(5 * day, 5 * day + day // 2)
    with_season = judged(values[None], seasons=(day,), warm_up=64).scores[0]
    without = judged(values[None], seasons=(), warm_up=64).scores[0]
    assert np.nanmax(np.abs(with_season[morning])) > 6
    assert np.nanmax(np.abs(without[morning])) < 6


def test_a_long_gap_is_not_an_alarm():
    """A series that comes back elsewhere after a long silence is learned anew, not alarmed."""
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(10, 1, 500), np.full(100, np.nan), rng.normal(200, 1, 500)])
    scores = judged(values[None], seasons=()).scores[0]
    assert np.nanmax(np.abs(scores)) < 6


@given(
    unusual=hnp.arrays(np.float64, st.integers(0, 80), elements=st.floats(0, 10)),
    threshold=st.floats(3, 9),
    refractory=st.integers(0, 12),
)
def test_one_alarm_an_episode(unusual, threshold, refractory):
    """Episodes hold every exceedance, lie more than a refractory time apart, and peak inside."""
    found = episodes(unusual, threshold, refractory)
    inside = np.zeros(unusual.size, dtype=bool)
    for first, last, peak in found:
        inside[first : last + 1] = True
        assert unusual[first] >= threshold
        assert unusual[last] >= threshold
        assert unusual[peak] == unusual[first : last + 1].max()
    assert inside[unusual >= threshold].all()
    gaps = [later[0] - earlier[1] for earlier, later in pairwise(found)]
    assert all(gap > refractory + 1 for gap in gaps)


@given(
    unusual=hnp.arrays(np.float64, st.integers(1, 80), elements=st.floats(0, 10)),
    cut=st.floats(0, 1),
)
def test_episodes_only_grow_at_their_end(unusual, cut):
    """More samples may lengthen the last episode or add some; none begins elsewhere than before."""
    early = episodes(unusual[: int(cut * unusual.size)], 6.0, 5)
    late = episodes(unusual, 6.0, 5)
    assert [first for first, _, _ in early] == [first for first, _, _ in late[: len(early)]]


@given(block=blocks, low=st.floats(0, 1), high=st.floats(0, 1))
def test_sensitivity_only_moves_the_threshold(block, low, high):
    """A more sensitive run alarms wherever a less sensitive one does; the scores are the same."""
    low, high = sorted((low, high))
    unusual = np.abs(judged(block).scores[0])
    less, more = (episodes(unusual, threshold_of(at), 0) for at in (low, high))
    assert all(any(a <= first <= b for a, b, _ in more) for first, _, _ in less)


def test_direction():
    """Only the side that matters counts."""
    scores = np.array([-7.0, np.nan, 7.0])
    assert np.array_equal(directed(scores, "up"), [0, np.nan, 7], equal_nan=True)
    assert np.array_equal(directed(scores, "down"), [7, np.nan, 0], equal_nan=True)
    assert np.array_equal(directed(scores, "both"), [7, np.nan, 7], equal_nan=True)


def test_a_foreign_state_is_refused(monkeypatch):
    """A state of another format is a ValueError, not a wrong answer."""
    saved = Detector(1, (), 16).save()
    monkeypatch.setattr(Detector, "FORMAT", 0)
    with pytest.raises(ValueError, match="format 2, not 0"):
        Detector.load(saved)


def test_run_over_a_frame():
    """A frame in, one row of expectation, bounds and score a series out, in the frame's order."""
    rng = np.random.default_rng(4)
    block = rng.normal(100, 2, (3, 400))
    block[1, 300] = 150
    names = [series_name({"host": host}) for host in "abc"]
    result = run_frame(to_frame(block, names, 1_700_000_040_000, 60_000), params())
    assert result.names == names
    assert [len(found) for found in result.anomalies] == [0, 1, 0]
    (found,) = result.anomalies[1]
    assert found.start_ms == found.peak_ms == 1_700_000_040_000 + 300 * 60_000
    assert found.peak_value == 150
    assert found.direction == "up"
    judged_part = np.isfinite(result.score)
    assert (result.lower[judged_part] < result.upper[judged_part]).all()
    outside = (block < result.lower) | (block > result.upper)
    assert np.array_equal(np.argwhere(outside), [[1, 300]])


def test_a_raw_counter_is_refused_with_advice():
    """A growing series that is still called …_total ends the job and names the rate to ask for."""
    block = np.cumsum(np.ones((1, 100)), axis=1)
    frame = to_frame(block, [series_name({"__name__": "http_requests_total"})], 0, 60_000)
    with pytest.raises(IsCounter, match=r"rate\(http_requests_total\[5m\]\)"):
        run_frame(frame, params())


@pytest.mark.parametrize(
    ("name", "values", "counter"),
    [
        ("x_total", [1, 2, 3, 0, 1], True),
        ("x_total", [1, 2, 3, 2.9, 3], False),
        ("x_total", [5, 5, 5], False),
        ("x_total", [-1, 2, 3], False),
        ("x_total", [np.nan, 2], False),
        ("x_bytes", [1, 2, 3], False),
        (None, [1, 2, 3], False),
    ],
    ids=["resets", "falls a little", "still", "negative", "one sample", "gauge", "rate"],
)
def test_what_looks_like_a_counter(name, values, counter):
    """Named as a counter, growing, and falling only to restart."""
    assert looks_like_counter(name, np.array(values, dtype=float)) is counter


def test_infinities_are_gaps():
    """An infinite sample is as good as none."""
    rng = np.random.default_rng(5)
    block = rng.normal(size=(1, 200))
    block[0, 150] = np.inf
    gap = block.copy()
    gap[0, 150] = np.nan
    frames = [to_frame(one, ["{}"], 0, 60_000) for one in (block, gap)]
    assert all(isinstance(frame, pd.DataFrame) for frame in frames)
    left, right = (run_frame(frame, params()) for frame in frames)
    assert np.array_equal(left.score, right.score, equal_nan=True)
