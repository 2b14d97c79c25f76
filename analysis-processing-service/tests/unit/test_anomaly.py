"""The laws of anomaly detection."""

from itertools import pairwise

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis_processing.analyses import resolved_params
from analysis_processing.analyses.anomaly.detector import Detector
from analysis_processing.analyses.anomaly.run import findings, run, written
from analysis_processing.analyses.block import Block

MINUTE_MS = 60_000
DAY = 1440

samples = st.one_of(
    st.floats(-1e6, 1e6, width=32),
    st.sampled_from([0.0, 1.0, 5.0, float("nan"), float("nan"), float("inf"), float("-inf")]),
)
blocks = st.tuples(st.integers(1, 3), st.integers(1, 220)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=samples)
)
first_steps = st.integers(0, 10_000)


def detector(series, step_ms=5 * MINUTE_MS, **changed):
    params = {"warm_up": 16, "season": "1h"} | changed
    return Detector(series, resolved_params("anomaly", params, step_ms), step_ms)


def judged(block, first_step=0, **changed):
    return detector(len(block), **changed).advance(block, first_step)


def episodes_of(block, step_ms=MINUTE_MS, **changed):
    """The episodes of each series, judged at default settings."""
    made = [[] for _ in block]
    params = {"warm_up": 64, "season": "auto"} | changed
    for one in judged(np.asarray(block), step_ms=step_ms, **params).episodes:
        made[one.series].append(one)
    return made


def same(left, right):
    """Bit for bit, NaN included."""
    names = ("expected", "lower", "upper", "score")
    return all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=True) for name in names
    )


@given(block=blocks, first_step=first_steps, share=st.floats(0, 1))
def test_causality(block, first_step, share):
    """The judgement of a prefix is the prefix of the judgement, bit for bit."""
    cut = int(share * block.shape[1])
    whole, prefix = judged(block, first_step), judged(block[:, :cut], first_step)
    assert np.array_equal(prefix.score, whole.score[:, :cut], equal_nan=True)
    assert np.array_equal(prefix.expected, whole.expected[:, :cut], equal_nan=True)
    over = [(one.series, one.start_step, one.end_step) for one in prefix.episodes if one.closed]
    assert set(over) <= {(one.series, one.start_step, one.end_step) for one in whole.episodes}


@given(block=blocks, first_step=first_steps, cuts=st.lists(st.floats(0, 1), max_size=6))
def test_batching_and_saved_states_change_nothing(block, first_step, cuts):
    """However the samples are cut, and the state saved and loaded between, the judgement is one."""
    bounds = [0, *sorted(int(cut * block.shape[1]) for cut in cuts), block.shape[1]]
    moving = detector(block.shape[0])
    scores, last = [], {}
    for begin, end in pairwise(bounds):
        part = moving.advance(block[:, begin:end], first_step + begin)
        scores.append(part.score)
        for one in part.episodes:
            known = (one.series, one.start_step) in last
            assert one.opened is not known
            last[one.series, one.start_step] = (one.kind, one.end_step, one.size, one.closed)
        moving = Detector.load(moving.save())
    whole = judged(block, first_step)
    assert np.array_equal(np.concatenate(scores, axis=1), whole.score, equal_nan=True)
    assert last == {
        (one.series, one.start_step): (one.kind, one.end_step, one.size, one.closed)
        for one in whole.episodes
    }


@given(block=blocks, first_step=first_steps)
def test_series_do_not_know_each_other(block, first_step):
    """A series is judged alone as it is among others, whatever its row."""
    whole = judged(block, first_step)
    for row in range(len(block)):
        alone = judged(block[row : row + 1], first_step)
        assert np.array_equal(alone.score[0], whole.score[row], equal_nan=True)


def test_threads_change_nothing():
    """A block large enough for threads is judged as its rows are."""
    block = np.random.default_rng(1).normal(size=(3, 70_000))
    whole = judged(block)
    assert [one.series for one in whole.episodes] == sorted(one.series for one in whole.episodes)
    for row in range(3):
        assert np.array_equal(
            judged(block[row : row + 1]).score[0], whole.score[row], equal_nan=True
        )


def test_arranged_series_go_on():
    """Rows may be put in another order, dropped and joined by fresh ones; each goes on."""
    block = np.random.default_rng(2).normal(size=(2, 600))
    first = detector(2)
    first.advance(block[:, :300], 0)
    second = first.arranged([1, -1, 0])
    moved = second.advance(block[[1, 0, 0], 300:], 300)
    whole = judged(block)
    assert np.array_equal(moved.score[[2, 0]], whole.score[:, 300:], equal_nan=True)
    assert np.array_equal(moved.score[1], judged(block[:1, 300:], 300).score[0], equal_nan=True)


@given(block=blocks, exponent=st.integers(-20, 20))
def test_other_units(block, exponent):
    """In other units the expectation is in those units and the scores are the same, bit for bit.

    A power of two, so that not even rounding may differ.
    """
    plain, scaled = judged(block), judged(block * 2.0**exponent)
    assert np.array_equal(plain.score, scaled.score, equal_nan=True)
    assert np.array_equal(plain.expected * 2.0**exponent, scaled.expected, equal_nan=True)


@pytest.mark.parametrize(("times", "plus"), [(3.0, 0.0), (0.7, -40.0), (1000.0, 12345.0)])
def test_other_units_and_another_zero(times, plus):
    """Multiplied and moved, a series has the same alarms, of nearly the same size."""
    made = [case(np.random.default_rng(3))[0] for case in list(synthetic.CASES.values())[1:8]]
    block = np.stack(made)
    plain = judged(block, season="auto")
    moved = judged(block * times + plus, season="auto")
    assert np.nanmedian(np.abs(plain.score - moved.score)) < 1e-3
    assert [(one.series, one.kind, one.start_step) for one in plain.episodes] == [
        (one.series, one.kind, one.start_step) for one in moved.episodes
    ]


@pytest.mark.parametrize(
    "values",
    [
        np.full(400, 1.7e308),
        np.resize([1.7e308, -1.7e308], 400),
        np.resize([1e308, 1e-308, 0.0], 400),
        np.full(400, np.nan),
        np.full(400, np.inf),
        np.array([1.0]),
        np.array([]),
        np.concatenate([np.zeros(200), np.full(200, -5e-324)]),
    ],
    ids=["largest", "alternating", "mixed", "no sample", "infinite", "one", "empty", "subnormal"],
)
def test_hostile_values(values):
    """Whatever the numbers, what is said of them is finite or nothing."""
    answer = judged(values[None])
    for column in (answer.expected, answer.lower, answer.upper, answer.score):
        assert column.shape == (1, values.size)
        assert not np.isinf(column).any()
    for one in findings(answer.episodes, MINUTE_MS):
        assert 1 <= one.size <= 1000
        assert one.text


@given(
    value=st.floats(-1e300, 1e300),
    length=st.integers(100, 600),
    gaps=st.lists(st.integers(0, 599), max_size=50),
)
def test_no_alarm_on_a_constant(value, length, gaps):
    """A series that never moves scores 0 but for rounding, gaps or not, and is not stuck."""
    block = np.full((1, length), value)
    block[0, [at for at in gaps if at < length]] = np.nan
    answer = judged(block)
    assert (np.nan_to_num(answer.score[np.isfinite(block)]) < 0.01).all()
    assert not [one for one in answer.episodes if one.kind != "missing"]


@given(block=blocks)
def test_no_judgement_in_the_warm_up(block):
    """NaN where a sample is one of the first; a finite bounded score later."""
    scores = judged(block).score
    before = np.cumsum(np.isfinite(block), axis=1) - np.isfinite(block)
    assert np.isnan(scores[before < 16]).all()
    numbers = scores[~np.isnan(scores)]
    assert ((numbers >= 0) & (numbers <= 1000)).all()


def recall(base, kind, series=8):
    """The share of series whose break raises an alarm no earlier than 2 h before it."""
    found = 0
    days = 15 if base == "daily+weekly" else 5
    rows, places = [], []
    for row in range(series):
        rng = np.random.default_rng([7, row])
        at = days * DAY + int(rng.integers(0, DAY // 2))
        values = synthetic.BASES[base](rng, at + 400, DAY)
        rows.append(
            np.pad(synthetic.broken(rng, values, kind, at)[0], (0, DAY), constant_values=np.nan)
        )
        places.append(at)
    width = min(map(len, rows))
    for at, episodes in zip(places, episodes_of(np.stack([r[:width] for r in rows])), strict=True):
        found += any(at - 120 <= one.start_step <= at + 180 for one in episodes)
    return found / series


@pytest.mark.parametrize("base", ["noise", "daily", "lognormal", "trend+daily", "40% gaps"])
@pytest.mark.parametrize("kind", ["shift", "stuck", "no data", "zero", "wider", "narrower", "ramp"])
def test_what_breaks_is_noticed(base, kind):
    """Shifts of 3 σ, ramps, stuck values, missing data, changed spread: nearly always noticed."""
    assert recall(base, kind) >= 0.85


@pytest.mark.parametrize("base", ["noise", "daily", "lognormal", "trend+daily"])
def test_spikes_are_noticed(base):
    """Single samples 8 σ off are noticed in what is normal, and in what its logarithm makes so."""
    assert recall(base, "spike") >= 0.85


@pytest.mark.parametrize("kind", ["shift", "stuck", "no data", "spike"])
def test_weeks_are_known(kind):
    """After two weeks the working week is known, and what breaks it noticed."""
    assert recall("daily+weekly", kind, series=4) >= 0.75


@pytest.mark.parametrize("name", synthetic.ORDINARY)
def test_ordinary_series_are_quiet(name):
    """Whatever its distribution, a series that nothing breaks raises at most 0.25 alarms a day.

    Bursts and jumps between levels, which are events to anybody who has not seen a few: 1 a day.
    """
    make = synthetic.ORDINARY[name]
    block = [make(np.random.default_rng([8, row]), 4 * DAY) for row in range(6)]
    most = 24 if name in {"bursts", "sticky levels", "noisy levels"} else 6
    assert sum(map(len, episodes_of(block))) <= most


@pytest.mark.parametrize("case", ["noise_spikes", "noise_shift", "daily_spikes", "daily_shift"])
def test_labelled_anomalies_are_found(case):
    """Spikes and shifts at another step: nearly all found, nearly nothing else."""
    made = [synthetic.CASES[case](np.random.default_rng([3, row])) for row in range(8)]
    alarms = episodes_of([values for values, _ in made], step_ms=5 * MINUTE_MS)
    spans = found = false = 0
    for (_, labelled), episodes in zip(made, alarms, strict=True):
        later = [one for one in episodes if one.start_step >= 2 * synthetic.DAY]
        spans += len(labelled)
        found += sum(
            any(one.start_step < end and one.end_step >= start for one in later)
            for start, end in labelled
        )
        false += sum(
            not any(
                one.start_step <= end + 3 and one.end_step >= start - 3 for start, end in labelled
            )
            for one in later
        )
    assert found >= 0.85 * spans
    assert false <= 2


def test_a_level_that_was_seen_is_no_news():
    """A series that keeps returning to two levels raises no alarm by it; a third level is one."""
    rng = np.random.default_rng(10)
    values = np.repeat(np.resize([10.0, 30.0], 40), 6 * 60) + rng.normal(size=40 * 360)
    values[13_000:] += 60.0
    later = [one for one in episodes_of(values[None])[0] if one.end_step > 3 * DAY]
    assert [one.start_step for one in later] == [13_000]


def test_a_rare_value_of_a_still_series_is_an_alarm():
    """`up` that turns 0 after days of 1 is told, once."""
    up = np.ones((1, 3000))
    up[0, 2500:] = 0.0
    assert [one.start_step for one in episodes_of(up)[0]] == [2500]


def test_a_series_that_ends_for_good_is_told_once():
    """After a last sample there is one alarm, `missing`, that stays open."""
    values = np.random.default_rng(4).normal(size=(1, 4000))
    values[0, 2000:] = np.nan
    (one,) = episodes_of(values)[0]
    assert (one.kind, one.start_step, one.end_step, one.closed) == ("missing", 2000, 3999, False)
    (finding,) = findings([one], MINUTE_MS)
    assert finding.end_ms is None
    assert finding.text == "0 samples for 33.3 h; there was no gap before"


def test_infinities_are_events():
    """An infinite sample among finite ones is an alarm of finite size, and teaches nothing."""
    values = np.random.default_rng(5).normal(size=(2, 800))
    values[0, 600] = -np.inf
    episodes = episodes_of(values)
    assert not episodes[1]
    (finding,) = findings(episodes[0], MINUTE_MS)
    assert (finding.kind, finding.size, finding.value) == ("spike", 1000, None)
    assert finding.text == "the value is -inf"


@given(
    spikes=st.lists(st.integers(400, 590), min_size=1, max_size=8, unique=True),
    refractory=st.integers(0, 30),
)
def test_one_alarm_an_episode(spikes, refractory):
    """Episodes hold every exceedance, lie more than a refractory time apart, and peak inside."""
    block = np.random.default_rng(6).normal(size=(1, 600))
    block[0, spikes] += 500.0
    answer = judged(block, refractory=refractory)
    over = np.flatnonzero(np.nan_to_num(answer.score[0]) >= 1)
    inside = [at for one in answer.episodes for at in range(one.start_step, one.end_step + 1)]
    assert set(over) <= set(inside)
    assert all(one.start_step <= one.peak_step <= one.end_step for one in answer.episodes)
    gaps = [later.peak_step - earlier.end_step for earlier, later in pairwise(answer.episodes)]
    assert all(gap > refractory for gap in gaps)


def test_direction():
    """Only the side that matters counts."""
    block = np.random.default_rng(7).normal(size=(1, 3000))
    block[0, [2000, 2500]] = [60.0, -60.0]
    starts = {
        side: [one.start_step for one in episodes_of(block, direction=side)[0]]
        for side in ("up", "down", "both")
    }
    assert starts == {"up": [2000], "down": [2500], "both": [2000, 2500]}


def test_sensitivity_is_a_rate():
    """The more false alarms a week are accepted, the closer the limits lie."""
    block = np.random.default_rng(8).standard_t(3, size=(4, 5 * DAY))
    reach = [
        np.nanmedian(answer.upper - answer.lower)
        for answer in (judged(block, sensitivity=at) for at in (0.0, 0.5, 1.0))
    ]
    assert reach[0] > 1.2 * reach[1] > 1.2 * 1.2 * reach[2]


def test_a_foreign_state_is_refused(monkeypatch):
    """A state of another format is a ValueError, not a wrong answer."""
    saved = detector(1).save()
    monkeypatch.setattr(Detector, "FORMAT", 0)
    with pytest.raises(ValueError, match="format 4, not 0"):
        Detector.load(saved)


def test_run_over_a_block():
    """A block in; expectation, bounds, score, findings and facts of each series out."""
    values = np.random.default_rng(9).normal(100, 2, (4, 2000))
    values[1, 1500] = 180
    values[3, 5:] = np.nan
    labels = [{"__name__": "load", "host": host} for host in "abcd"]
    params = resolved_params("anomaly", {}, MINUTE_MS)
    part = run(Block(labels, 1_700_000_040_000, MINUTE_MS, values), params, None)
    assert [result.labels for result in part.series] == labels
    assert [len(result.findings) for result in part.series] == [0, 1, 0, 0]
    assert part.series[3].note == "5 samples; 65 are needed to judge one"
    (finding,) = part.series[1].findings
    assert finding.start_ms == finding.peak_ms == 1_700_000_040_000 + 1500 * MINUTE_MS
    assert (finding.kind, finding.value, finding.direction) == ("spike", 180, "up")
    columns = part.series[1].columns
    outside = (values[1] < columns["lower"]) | (values[1] > columns["upper"])
    assert np.flatnonzero(outside).tolist() == [1500]
    assert part.series[0].facts == {"season": "none", "reference": "none", "backed_off": 1.0}
    back = written(part, params)
    assert [one.labels["__name__"] for one in back] == [
        "cloudopshub_anomaly_alarm",
        *["cloudopshub_anomaly_score"] * 3,
    ]
    assert back[0].labels["anomaly_kind"] == "spike"
    at = np.flatnonzero(np.isfinite(back[0].values))
    lasted = (finding.end_ms - finding.start_ms) // MINUTE_MS + 1
    assert at.tolist() == list(range(1500, 1500 + lasted + 1))
    assert back[0].values[at].tolist() == [1.0] * lasted + [0.0]
    assert len(written(part, params | {"write_back": False})) == 1


def test_a_sample_far_off_is_found_in_the_first_hours():
    """A young series is judged cautiously, and not blindly: 280 deviations are an alarm."""
    n = np.arange(240)
    quiet = 20.0 + n * 7 % 5 + n % 3
    broken = np.where(n == 200, 500.0, quiet)
    alarms, none = episodes_of([broken, quiet])
    assert [one.peak_step for one in alarms] == [200]
    assert none == []


def test_a_sample_far_off_is_found_in_the_first_days_of_a_wave():
    """Its heights are no levels that it may jump between: 40 deviations are an alarm."""
    n = np.arange(2000)
    quiet = 50 + 5 * np.sin(n / 200) + np.random.default_rng(7).normal(size=n.size)
    alarms, none = episodes_of([np.where(n == 1500, quiet + 40, quiet), quiet])
    assert [one.peak_step for one in alarms] == [1500]
    assert none == []
