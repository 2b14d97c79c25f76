"""Forecasts that need one series only: its seasons repeated, and exponential smoothing.

Each tries its seasons and gains on the rolling backtest of the series and goes on with the best.
Both are equivariant: a shifted or scaled history gives a shifted or scaled forecast.
"""

from dataclasses import dataclass

import numpy as np

from analysis_processing.analyses.block import F64, I64
from analysis_processing.analyses.forecast.history import HELD_OUT_ORIGINS, History
from analysis_processing.kernels import forecast as kernels

STILL = (0.2, 0.0, 0.0)  # level, slope, damping
GAINS = [
    (level, slope, damping)
    for slope, damping in ((0.0, 0.0), (0.02, 1.0), (0.2, 0.9))
    for level in (0.0, 0.05, 0.2, 0.5, 1.0)
]
HANDICAP = 1.03  # a season or a slope must lower the error by so much to be believed


@dataclass(frozen=True, slots=True)
class Paths:
    """What one method says after each origin.

    ahead: (series, origins, steps ahead), the last origin's is the forecast. seasons: (series, 2)
    steps, 0 = none. errors: (series,) mean absolute error of the backtest, inf where the method
    cannot serve. late_errors: of the held-out origins alone, of what the earlier ones would have
    chosen: as honest as those of a booster that has not seen them.
    """

    ahead: F64
    seasons: I64
    errors: F64
    late_errors: F64


def mean_errors(ahead: F64, future: F64) -> F64:
    """(series,) mean |error| of all origins but the last; inf where there is no forecast."""
    errors = np.abs(ahead[:, :-1] - future)
    counts = np.isfinite(errors).sum(axis=(1, 2))
    missing = np.isnan(ahead).any(axis=(1, 2)) | (counts == 0)
    means: F64 = np.where(missing, np.inf, np.nansum(errors, axis=(1, 2)) / np.maximum(counts, 1))
    return means


def trial(ahead: F64, future: F64, handicap: float = 1.0) -> F64:
    """(3, series) mean |error| of all origins and of the earlier ones, × handicap; of the late."""
    late = HELD_OUT_ORIGINS
    return np.stack(
        [
            mean_errors(ahead, future) * handicap,
            mean_errors(ahead[:, :-late], future[:, :-late]) * handicap,
            mean_errors(ahead[:, -late - 1 :], future[:, -late:]),
        ]
    )


def late_errors(trials: F64) -> F64:
    """(series,) late errors of what does best earlier; trials: (tries, 3, series)."""
    errors: F64 = trials[trials[:, 1].argmin(axis=0), 2, np.arange(trials.shape[2])]
    return errors


def season_pairs(seasons: tuple[int, ...]) -> list[tuple[int, int]]:
    """No season, each, and each two of which one is a multiple of the other."""
    pairs = [(near, far) for near in seasons for far in seasons if far > near and far % near == 0]
    return [(0, 0), *((season, 0) for season in seasons), *pairs]


def damped(history: History, future: F64) -> Paths:
    """Exponential smoothing: first its seasons are chosen, then its gains."""
    scratch = np.zeros((2, max((1, *history.seasons))))

    def ahead(seasons: I64, gains: F64) -> F64:
        out = np.empty((*history.origins.shape, history.ahead))
        kernels.smooth(
            history.values, history.begins, history.origins, seasons, gains, scratch, out
        )
        return out

    count = len(history.values)
    pairs = [np.array(pair, dtype=np.int64) for pair in season_pairs(history.seasons)]
    still = np.tile(STILL, (count, 1))
    errors = [
        mean_errors(ahead(np.tile(pair, (count, 1)), still), future)
        * HANDICAP ** np.count_nonzero(pair)
        for pair in pairs
    ]
    seasons = np.stack(pairs)[np.argmin(errors, axis=0)]
    trials = np.stack(
        [
            trial(ahead(seasons, np.tile(gains, (count, 1))), future, HANDICAP ** (gains[2] > 0))
            for gains in GAINS
        ]
    )
    paths = ahead(seasons, np.array(GAINS)[trials[:, 0].argmin(axis=0)])
    return Paths(paths, seasons, mean_errors(paths, future), late_errors(trials))


def seasonal(history: History, future: F64) -> Paths:
    """The mean of yesterday and of last week at today's level, or of what the seasons are."""

    def ahead(seasons: I64) -> F64:
        out = np.empty((*history.origins.shape, history.ahead))
        kernels.repeat(history.values, history.origins, seasons, out)
        return out

    pairs = [np.array(pair, dtype=np.int64) for pair in season_pairs(history.seasons)]
    count = len(history.values)
    trials = np.stack([trial(ahead(np.tile(pair, (count, 1))), future) for pair in pairs])
    seasons = np.stack(pairs)[trials[:, 0].argmin(axis=0)]
    paths = ahead(seasons)
    return Paths(paths, seasons, mean_errors(paths, future), late_errors(trials))


def naive(history: History, seasons: I64) -> F64:
    """(series, origins, ahead): the last sample, or the one a season earlier."""
    steps = np.arange(history.values.shape[1])
    latest = np.maximum.accumulate(np.where(np.isnan(history.values), 0, steps), axis=1)
    filled = np.take_along_axis(history.values, latest, axis=1)
    near = np.maximum(seasons[:, :1], 1)[:, :, None]
    back = np.arange(history.ahead) - near * (np.arange(history.ahead) // near + 1)
    at = np.maximum(history.origins[:, :, None] + back, 0)
    paths: F64 = filled[np.arange(len(filled))[:, None, None], at]
    return paths
