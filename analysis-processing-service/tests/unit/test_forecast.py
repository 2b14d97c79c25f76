"""The laws of forecasts: baselines, intervals, time to full, what is written back."""

import futures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis_processing.analyses.block import Block
from analysis_processing.analyses.forecast import FORECAST, baselines, capacity, run
from analysis_processing.analyses.forecast.history import AHEAD_MAX, history_of
from analysis_processing.analyses.parameters import resolve
from analysis_processing.errors import InvalidJob
from analysis_processing.kernels import forecast as kernels

HOUR_MS = 3_600_000
START_MS = 472_000 * HOUR_MS
ORDER = ("lower", "lower_80", "expected", "upper_80", "upper")

integers = st.integers(-50, 50).map(float)
blocks = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(40, 120)),
    elements=st.one_of(integers, st.just(float("nan"))),
    fill=integers,
)


def block_of(values, step_ms=HOUR_MS, **labels):
    values = np.atleast_2d(np.asarray(values, dtype=float))
    names = [{"__name__": "load", "n": str(row)} | labels for row in range(len(values))]
    return Block(names, START_MS, step_ms, values)


def params(step_ms=HOUR_MS, **given_params):
    return resolve(FORECAST.parameters, {"horizon": "12h"} | given_params, step_ms)


def forecast(values, step_ms=HOUR_MS, **given_params):
    return run.run(block_of(values, step_ms), params(step_ms, **given_params), None)


def table(part):
    """(series, 5, ahead) of the columns in their order, NaN for what was not judged."""
    return np.array(
        [
            [result.columns.get(name, np.full(part.steps, np.nan)) for name in ORDER]
            for result in part.series
        ]
    )


WAVE = np.round(20 * np.sin(2 * np.pi * np.arange(24) / 24)) + np.arange(24) % 5


@pytest.mark.parametrize("method", ["seasonal", "damped", "auto"])
@given(values=blocks, shift=st.integers(-1000, 1000), power=st.integers(-8, 8))
def test_a_shifted_and_scaled_history_gives_a_shifted_and_scaled_forecast(
    method, values, shift, power
):
    """Bit for bit where the arithmetic is exact: whole numbers, and powers of two."""
    signed = np.concatenate([np.full((len(values), 1), -60.0), values], axis=1)
    plain = history_of(block_of(signed), params(season="8h"))
    moved = history_of(block_of((signed + shift) * 2.0**power), params(season="8h"))
    forecasts = [
        run.forecast(history, params(season="8h", method=method), run.Context())
        for history in (plain, moved)
    ]
    assert forecasts[0].methods == forecasts[1].methods
    for part in ("ahead", "bands"):
        before, after = (getattr(of, part) for of in forecasts)
        np.testing.assert_array_equal(before * 2.0**power, after)


@pytest.mark.parametrize("method", ["seasonal", "damped"])
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_a_pure_season_is_forecast_exactly_and_surely(method, gaps):
    """Also with a third of the samples missing: the bounds are the forecast."""
    values = np.resize(WAVE, 24 * 14) + 7
    holes = np.random.default_rng(2).random(values.size) < gaps
    part = forecast(np.where(holes, np.nan, values), method=method)
    np.testing.assert_allclose(table(part)[0], np.tile(values[:12], (5, 1)), atol=1e-6)


def test_two_days_suffice_to_repeat_a_day():
    """A range of twice the horizon has one origin, after one whole season; a gap is bridged."""
    values = np.resize(WAVE, 72)
    part = forecast(values[:48], horizon="24h")
    np.testing.assert_allclose(table(part)[0, 2], values[48:], atol=1e-6)
    values[[10, 34]] = np.nan
    part = forecast(values[:48], horizon="24h", method="seasonal")
    expected = values[48:].copy()
    expected[10] = values[9]
    np.testing.assert_allclose(table(part)[0, 2], expected, atol=1e-6)


def test_a_week_within_days_is_forecast_exactly():
    """Days that differ by weekday are told from three weeks of them."""
    values = np.resize(WAVE, 24 * 23) * np.resize(np.repeat([1, 1, 1, 1, 1, 2, 3], 24), 24 * 23)
    part = forecast(values[: 24 * 21], horizon="48h")
    np.testing.assert_allclose(table(part)[0, 2], values[24 * 21 :], atol=1e-6)


def test_a_constant_series_stays_what_it_is():
    """Expectation and bounds are the very number."""
    assert (table(forecast(np.full(200, 0.1))) == 0.1).all()


@given(values=blocks)
def test_bounds_are_in_order_and_finite(values):
    """The 80 % interval lies in the 95 % one, and the expectation in both, whatever the history."""
    part = forecast(values, season="8h")
    columns = table(part)[[result.note is None for result in part.series]]
    assert np.isfinite(columns).all()
    assert (np.diff(columns, axis=1) >= 0).all()


@given(values=blocks, cut=st.integers(1, 2))
def test_a_series_is_forecast_the_same_alone_and_among_others(values, cut):
    """Chunks may be of any size, and run twice: the same numbers."""
    whole = table(forecast(values))
    parts = [table(forecast(rows)) for rows in (values[:cut], values[cut:]) if len(rows)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@given(values=hnp.arrays(np.float64, (2, 120), elements=integers), end=st.integers(60, 119))
def test_at_an_origin_the_future_is_never_read(values, end):
    """Whatever comes after it, forecasts and features of an origin stay the same."""
    other = values.copy()
    other[:, end:] = 1e6
    origins = np.full((2, 1), end)
    seasons = np.tile(np.array([8, 24]), (2, 1))
    answers = []
    for block in (values, other):
        smoothed, repeated = np.empty((2, 1, 10)), np.empty((2, 1, 10))
        begins, gains = np.zeros(2, dtype=np.int64), np.tile([0.2, 0.1, 0.9], (2, 1))
        kernels.smooth(block, begins, origins, seasons, gains, np.zeros((2, 24)), smoothed)
        kernels.repeat(block, origins, seasons, repeated)
        seen, units = np.empty((2, 10, kernels.FEATURES)), np.empty((2, 2))
        steps = np.tile(np.arange(10), (2, 1))
        kernels.features(block, np.arange(2), origins[:, 0], steps, 8, 24, 5, units, seen)
        answers.append((smoothed, repeated, seen, units))
    for before, after in zip(*answers, strict=True):
        np.testing.assert_array_equal(before, after)


@given(values=hnp.arrays(np.float64, 60, elements=integers))
def test_smoothing_begins_as_a_mean_and_as_a_line(values):
    """With gains of 0 it is the mean or the least-squares line; with a level gain of 1 the last."""
    steps = np.arange(60)
    slope, level = np.polyfit(steps, values, 1)
    out = np.empty((3, 1, 5))
    gains = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    none, begins = np.zeros((3, 2), dtype=np.int64), np.zeros(3, dtype=np.int64)
    rows = np.tile(values, (3, 1))
    kernels.smooth(rows, begins, np.full((3, 1), 60), none, gains, np.zeros((2, 1)), out)
    np.testing.assert_allclose(out[0, 0], values.mean(), atol=1e-9)
    np.testing.assert_allclose(out[1, 0], level + slope * np.arange(60, 65), atol=1e-6)
    np.testing.assert_allclose(out[2, 0], values[-1], atol=1e-9)


@pytest.mark.parametrize("case", futures.CASES)
def test_intervals_hold_what_they_promise(case):
    """80 and 95 % of the next day are inside, within 5 points and one for 150 series' luck."""
    values = np.stack([futures.CASES[case](np.random.default_rng([1, n]), 360) for n in range(150)])
    columns = table(forecast(values[:, :336], horizon="24h"))
    ahead = values[:, 336:]
    for share, lower, upper in ((0.8, 1, 3), (0.95, 0, 4)):
        inside = (ahead >= columns[:, lower]) & (ahead <= columns[:, upper])
        assert inside.mean() == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.r_[np.full(190, np.nan), np.arange(10.0)], "too short"),
        (np.full(200, np.nan), "too short"),
        (np.r_[np.arange(150.0), np.full(50, np.nan)], "no sample within one horizon"),
        (np.full(200, 1e300), "too short"),
    ],
    ids=["new", "empty", "ended", "huge"],
)
def test_what_cannot_be_forecast_says_why(values, reason):
    """A note, no columns, and the other series are forecast all the same."""
    bad, good = forecast(np.stack([values, np.arange(200.0)])).series
    assert reason in bad.note
    assert not bad.columns
    assert good.note is None


def test_what_never_was_negative_stays_so_and_shares_stay_below_their_end():
    """0 bounds below; 1 or 100 only where all history is inside and has touched it."""
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 1, (3, 300))
    values = np.stack([np.maximum(noise[0], 0), np.clip(98 + noise[1], 0, 100), 98 + 2 * noise[2]])
    columns = table(forecast(values))
    assert columns[0].min() == 0
    assert columns[1].max() <= 100
    assert columns[2].max() > 100


@pytest.mark.parametrize("step_ms", [15_000, 60_000, 300_000, HOUR_MS, 24 * HOUR_MS])
def test_the_axis_begins_one_step_after_the_end_and_covers_the_horizon(step_ms):
    """At any step from seconds to days, in at most AHEAD_MAX steps that seasons are wholes of."""
    values = np.resize(np.arange(7.0), 20 * 24 * HOUR_MS // step_ms if step_ms < HOUR_MS else 700)
    block = block_of(values, step_ms)
    horizon_ms = 24 * HOUR_MS if step_ms <= HOUR_MS else 240 * HOUR_MS
    part = run.run(block, params(step_ms, horizon=f"{horizon_ms}ms"), None)
    end_ms = int(block.times_ms[-1])
    assert part.start_ms == end_ms + part.step_ms
    assert part.steps * part.step_ms == horizon_ms
    assert part.steps <= AHEAD_MAX
    assert (24 * HOUR_MS) % part.step_ms == 0


def test_the_horizon_is_at_most_half_of_the_range():
    """It is cut, and the sentence says so."""
    part = forecast(np.arange(40.0), horizon="30d")
    assert part.steps == 20
    sentence = run.conclude(part.series, params(horizon="30d"), None)["sentence"]
    assert "1 of 1 series are forecast 20h ahead" in sentence
    assert "cut to half" in sentence


def filling(growth, rng):
    return 100 + growth * np.arange(300) + rng.normal(0, 1.0, 300)


def test_what_fills_first_comes_first():
    """Score and `soonest` rank by the time to full; the times and the sentence are in order."""
    rng = np.random.default_rng(5)
    values = np.stack([filling(growth, rng) for growth in (0.05, 1.0, 0.9, 0.0, 2.0)])
    wanted = params(horizon="100h", full_at=430)
    part = run.run(block_of(values), wanted, None)
    ranked = sorted(part.series, key=lambda result: -result.score)
    assert [result.labels["n"] for result in ranked[:3]] == ["4", "1", "2"]
    soon = ranked[1]
    assert soon.facts["full_in_ms"] == pytest.approx(31 * HOUR_MS, rel=0.15)
    facts = [soon.facts[name] for name in ("full_earliest_ms", "full_in_ms", "full_latest_ms")]
    assert facts == sorted(facts)
    finding = soon.findings[0]
    assert finding.kind == "full"
    assert finding.start_ms == part.start_ms - part.step_ms + soon.facts["full_in_ms"]
    assert finding.text.startswith("reaches 430 in 1.3 days (")
    assert ranked[0].findings[0].text.endswith(", at or over 430 already")
    summary = run.conclude(part.series, wanted, None)
    assert [row["labels"]["n"] for row in summary["soonest"]] == ["4", "1", "2"]
    assert summary["sentence"].startswith("3 of 5 series are expected to reach 430 within 100h")


def test_a_limit_below_is_reached_downwards():
    """With full_direction down the earliest is where the lower bound crosses."""
    values = filling(-0.2, np.random.default_rng(6))
    result = forecast(values, horizon="100h", full_at=30, full_direction="down").series[0]
    assert result.findings[0].text.startswith("falls to 30 in ")
    assert result.facts["full_earliest_ms"] <= result.facts["full_in_ms"]


def test_a_limit_that_only_may_be_reached_says_so():
    """Where the bound crosses and the expectation does not, the finding promises nothing."""
    walk = np.cumsum(np.random.default_rng(8).normal(size=300))
    columns = forecast(walk, horizon="100h").series[0].columns
    limit = float(columns["upper"].max() + columns["expected"].max()) / 2
    part = forecast(walk, horizon="100h", full_at=limit)
    assert part.series[0].facts["full_in_ms"] is None
    assert "may be at" in part.series[0].findings[0].text
    assert 0 < part.series[0].score < 34


def test_what_is_written_back_is_not_of_the_future():
    """At the end of the range: the value one horizon later, its bounds, the seconds to full."""
    values = filling(1.0, np.random.default_rng(7))
    wanted = params(horizon="100h", full_at=430)
    part = run.run(block_of(values), wanted, None)
    series = run.written(part, wanted)
    ends = {(one.labels["__name__"], one.labels["bound"]): float(one.values[0]) for one in series}
    assert all(one.times_ms.tolist() == [part.start_ms - part.step_ms] for one in series)
    assert series[0].labels == {
        "__name__": "cloudopshub_forecast",
        "source_metric": "load",
        "n": "0",
        "bound": "expected",
        "horizon": "100h",
    }
    columns = part.series[0].columns
    for bound in ("expected", "lower", "upper"):
        assert ends["cloudopshub_forecast", bound] == columns[bound][-1]
    assert ends["cloudopshub_seconds_to_full", "expected"] == pytest.approx(31 * 3600, rel=0.15)
    assert run.written(part, wanted | {"write_back": False}) == []


def test_parameters_are_checked_where_they_are_given():
    """The horizon is a duration in bounds and reaches `run` in ms; no limit is the default."""
    resolved = params()
    assert resolved["horizon"] == 12 * HOUR_MS
    assert resolved["full_at"] is None
    for bad in ({"horizon": "1s"}, {"horizon": 5}, {"full_at": "much"}, {"method": "magic"}):
        with pytest.raises(InvalidJob):
            params(**bad)


@pytest.mark.parametrize(
    ("number", "text"),
    [(5e11, "500 G"), (430, "430"), (0, "0"), (-2500, "-2.5 k"), (0.25, "0.25")],
)
def test_numbers_for_people(number, text):
    """Three digits, thousands in letters."""
    assert capacity.readable(number) == text


def test_naive_repeats_the_last_season():
    """With a season the samples a season earlier, without the last one; gaps are filled."""
    history = history_of(block_of(np.r_[np.resize(WAVE, 71), np.nan]), params())
    seasons = np.array([[24, 0]])
    expected = np.resize(WAVE, 84)[72:] - WAVE[0]
    np.testing.assert_array_equal(baselines.naive(history, seasons)[0, -1], expected)
    last = WAVE[70 % 24] - WAVE[0]
    assert (baselines.naive(history, np.zeros((1, 2), dtype=int))[0, -1] == last).all()
