"""The laws of the booster: trained on the past, chosen where it is better, missing in peace."""

import pickle

import numpy as np
import pytest

from analysis_processing.analyses.block import Block, progress
from analysis_processing.analyses.forecast import FORECAST, booster, run
from analysis_processing.analyses.forecast.history import history_of
from analysis_processing.analyses.parameters import resolve

HOUR_MS = 3_600_000
SERIES, STEPS = 110, 240
PARAMS = resolve(FORECAST.parameters, {"horizon": "6h", "season": "8h"}, HOUR_MS)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """Small enough for a test."""
    monkeypatch.setattr(booster, "TREES", 25)
    monkeypatch.setattr(booster, "ROWS_MAX", 6_000)
    monkeypatch.setattr(booster, "SECONDS_MAX", 600.0)
    small = {"num_leaves": 15, "learning_rate": 0.2, "min_data_in_leaf": 10}
    monkeypatch.setattr(booster, "SETTINGS", booster.SETTINGS | small)


@pytest.fixture
def lightgbm():
    """It can be loaded here."""
    if booster.library() is None:
        pytest.skip("LightGBM cannot be loaded: it needs libgomp")


def block_of(values):
    labels = [{"n": str(row)} for row in range(len(values))]
    return Block(labels, 472_000 * HOUR_MS, HOUR_MS, values)


@pytest.fixture
def echoes():
    """Series whose next 6 samples mirror their last ones: nothing that smoothing knows."""
    rng = np.random.default_rng(3)
    values = np.zeros((SERIES, STEPS))
    for start in range(0, STEPS, 12):
        first = rng.normal(size=(SERIES, 6))
        values[:, start : start + 6] = first
        values[:, start + 6 : start + 12] = -3 * first[:, ::-1]
    return block_of(values + 20)


def test_the_held_out_end_is_never_learned_from(lightgbm, echoes):
    """Another end of the history, the same model, letter by letter; and twice the same."""
    history = history_of(echoes, PARAMS)
    changed = echoes.values.copy()
    changed[:, -history.held_out :] = 1e6
    models = [
        booster.train(history_of(block_of(values), PARAMS), (8, 0))
        for values in (echoes.values, echoes.values, changed)
    ]
    assert models[0] is not None
    assert models[0] == models[1] == models[2]


def test_training_ends_when_its_time_is_over(lightgbm, echoes, monkeypatch):
    """What is learned by then is a model that forecasts: one tree, where there is no time."""
    monkeypatch.setattr(booster, "SECONDS_MAX", 0.0)
    history = history_of(echoes, PARAMS)
    model = booster.train(history, (8, 0))
    assert model.count("Tree=") == 1
    assert np.isfinite(booster.paths(history, model, (8, 0))).all()


def test_training_tells_its_progress_and_ends_when_told(lightgbm, echoes):
    """Each tree is told of; what is raised then, as by a cancelled job, ends it there."""
    told = []

    def tell(message):
        told.append(message)
        if message.startswith("booster: trained 3 "):
            raise InterruptedError

    token = progress.set(tell)
    try:
        with pytest.raises(InterruptedError):
            booster.train(history_of(echoes, PARAMS), (8, 0))
    finally:
        progress.reset(token)
    assert told[0] == "booster: read 0 of 660 origins"
    trained = [message for message in told if "trained" in message]
    assert trained == [f"booster: trained {tree} of at most 25 trees" for tree in (1, 2, 3)]


def test_the_booster_serves_the_series_whose_backtest_it_wins(lightgbm, echoes):
    """Where all series and the series itself say so, and nowhere else; its context travels."""
    context = pickle.loads(pickle.dumps(run.prepare(echoes, PARAMS)))
    assert context.model is not None
    history = history_of(echoes, PARAMS)
    _, baseline = run.baseline_of(history, history.future(), "auto")
    boosted = booster.paths(history, context.model, context.seasons)
    ratios = run.log_ratios(history.future(), baseline, boosted)
    part = run.run(echoes, PARAMS, context)
    methods = np.array([result.facts["method"] for result in part.series])
    np.testing.assert_array_equal(methods == "booster", ratios + run.TRUST * context.advantage < 0)
    for result in part.series:
        names = ("lower", "lower_80", "expected", "upper_80", "upper")
        assert (np.diff([result.columns[name] for name in names], axis=0) >= 0).all()


def test_a_booster_that_does_worse_serves_nobody(lightgbm, echoes, monkeypatch):
    """One that is always off by 10 is had by its name only."""
    paths = booster.paths
    monkeypatch.setattr(booster, "paths", lambda *of: paths(*of) + 10)
    context = run.prepare(echoes, PARAMS)
    assert context.advantage > 0
    methods = run.conclude(run.run(echoes, PARAMS, context).series, PARAMS, context)["methods"]
    assert "booster" not in methods
    by_name = run.run(echoes, PARAMS | {"method": "booster"}, context).series
    assert {result.facts["method"] for result in by_name} == {"booster"}


@pytest.mark.parametrize("count", [1, booster.SERIES_MIN - 1])
def test_few_series_have_no_booster(echoes, count):
    """Below SERIES_MIN the baselines serve, and the summary's sentence says why."""
    few = echoes.rows(0, count)
    context = run.prepare(few, PARAMS)
    assert context.model is None
    sentence = run.conclude(run.run(few, PARAMS, context).series, PARAMS, context)["sentence"]
    assert f"No booster: {count} series are long enough, it needs 100" in sentence


def test_without_lightgbm_the_baselines_serve(echoes, monkeypatch):
    """A machine without libgomp forecasts all the same and says what is missing."""
    monkeypatch.setattr(booster, "library", lambda: None)
    context = run.prepare(echoes, PARAMS)
    part = run.run(echoes, PARAMS, context)
    assert all(result.note is None for result in part.series)
    assert "LightGBM cannot be loaded" in run.conclude(part.series, PARAMS, context)["sentence"]
