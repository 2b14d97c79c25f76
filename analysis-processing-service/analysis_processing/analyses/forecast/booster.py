"""One gradient booster over all series of a job: LightGBM, direct, all steps ahead in one model.

Trained on samples before the held-out end only, so that the backtest of the last origins is of what
it has never seen. Where LightGBM cannot be loaded (its libgomp is missing) there is no booster.
"""

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis_processing.analyses.block import F64, I64, progress
from analysis_processing.analyses.forecast.history import HELD_OUT_ORIGINS, History
from analysis_processing.kernels import forecast as kernels

SERIES_MIN = 100
TRAINED_SERIES_MAX = 2_000
ROWS_MAX = 600_000
STEPS_OF_AN_ORIGIN = 8  # rows of one training origin, at random steps ahead
TREES = 700
SECONDS_MAX = 75.0  # of training; what is learned by then serves, if it does well enough
CYCLES_MIN = 3  # short seasons before the first training origin
FAR_OUT = 30.0  # scales; a target beyond is left out
PIECE = 4_096  # (series, origin) pairs whose features are in memory at once
SETTINGS = {
    "objective": "l1",
    "num_leaves": 127,
    "learning_rate": 0.05,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "max_bin": 127,
    # one thread: the same model on every machine, and no waiting where cores are shared
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbosity": -1,
}


def library() -> Any:
    """LightGBM, or None where it cannot be loaded."""
    try:
        import lightgbm  # noqa: PLC0415  200 MB that only this needs
    except (ImportError, OSError):
        return None
    return lightgbm


def seasons_of(seasons: tuple[int, ...]) -> tuple[int, int]:
    """The two longest that fit each other, of ascending lengths: short, long (0 = none)."""
    far = seasons[-1]
    near = next((season for season in reversed(seasons[:-1]) if far % season == 0), 0)
    return (near, far) if near else (far, 0)


def usable(history: History, near: int) -> I64:
    """Numbers of the series that are long enough to learn from."""
    room = history.values.shape[1] - history.held_out - history.begins
    good = np.array([note is None for note in history.notes], dtype=bool)
    rows: I64 = np.flatnonzero(good & (room >= (CYCLES_MIN + 1) * near + 1))
    return rows


def train(history: History, seasons: tuple[int, int]) -> str | None:
    """The model as text, or None when there is no library or too little to learn from.

    Tells `progress` of each piece and tree; what that raises ends the training.
    seasons: of `seasons_of`.
    """
    lightgbm = library()
    near = seasons[0]
    series = usable(history, near)
    if lightgbm is None or series.size == 0:
        return None
    rng = np.random.default_rng(1)
    end = history.values.shape[1] - history.held_out
    series = np.sort(rng.permutation(series)[:TRAINED_SERIES_MAX])
    count = max(min(ROWS_MAX // (STEPS_OF_AN_ORIGIN * series.size), end), 1)
    rows = np.repeat(series, count)
    firsts = history.begins[rows] + CYCLES_MIN * near
    origins = firsts + (rng.random(rows.size) * (end - firsts)).astype(np.int64)
    steps = rng.integers(0, history.ahead, (rows.size, STEPS_OF_AN_ORIGIN))
    seen, targets = [], []
    for first in range(0, rows.size, PIECE):
        progress.get()(f"booster: read {first} of {rows.size} origins")
        piece = slice(first, first + PIECE)
        inputs, units = _inputs(history, seasons, rows[piece], origins[piece], steps[piece])
        at = origins[piece, None] + steps[piece]
        target = history.values[rows[piece, None], np.minimum(at, end - 1)]
        with np.errstate(invalid="ignore", divide="ignore"):
            target = (target - units[:, :1]) / units[:, 1:]
        good = (at < end) & (np.abs(target) < FAR_OUT)
        seen.append(inputs[good])
        targets.append(target[good])
    if not sum(target.size for target in targets):
        return None
    data = lightgbm.Dataset(np.concatenate(seen), np.concatenate(targets), free_raw_data=True)
    end_s = time.monotonic() + SECONDS_MAX

    def after_a_tree(state: Any) -> None:
        progress.get()(f"booster: trained {state.iteration + 1} of at most {TREES} trees")
        if time.monotonic() >= end_s:
            raise lightgbm.callback.EarlyStopException(state.iteration, [])

    model = lightgbm.train(SETTINGS, data, num_boost_round=TREES, callbacks=[after_a_tree])
    return str(model.model_to_string())


def _inputs(
    history: History, seasons: tuple[int, int], rows: I64, origins: I64, steps: I64
) -> tuple[npt.NDArray[np.float32], F64]:
    """(n, ahead, features) and (n, 2) level and scale of these origins."""
    units = np.empty((rows.size, 2))
    out = np.empty((*steps.shape, kernels.FEATURES))
    kernels.features(history.values, rows, origins, steps, *seasons, history.first_step, units, out)
    return out.astype(np.float32), units


def paths(history: History, model: str, seasons: tuple[int, int]) -> F64:
    """(series, HELD_OUT_ORIGINS + 1, ahead) after the latest origins, NaN where it cannot tell."""
    lightgbm = library()
    count, ahead = len(history.values), history.ahead
    out = np.full((count, HELD_OUT_ORIGINS + 1, ahead), np.nan)
    if lightgbm is None:
        return out
    booster = lightgbm.Booster(model_str=model)
    rows = np.repeat(np.arange(count), HELD_OUT_ORIGINS + 1)
    origins = np.ascontiguousarray(history.origins[:, -HELD_OUT_ORIGINS - 1 :]).reshape(-1)
    flat = out.reshape(-1, ahead)
    for first in range(0, rows.size, PIECE):
        piece = slice(first, first + PIECE)
        steps = np.tile(np.arange(ahead), (rows[piece].size, 1))
        inputs, units = _inputs(history, seasons, rows[piece], origins[piece], steps)
        forecast = booster.predict(inputs.reshape(-1, kernels.FEATURES), num_threads=1)
        flat[piece] = units[:, :1] + units[:, 1:] * forecast.reshape(-1, ahead)
        flat[piece][~(units[:, 1] > 0)] = np.nan
    return out
