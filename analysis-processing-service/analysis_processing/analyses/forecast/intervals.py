"""Intervals that the errors of the backtest justify: split-conformal, by step ahead.

The errors of neighbouring steps and of all origins together give the quantiles, each side its own.
Origins closer than one horizon share their future, so a short history has seen few errors, however
many numbers there are: its intervals are widened.
"""

import numpy as np

from analysis_processing.analyses.block import F64
from analysis_processing.analyses.forecast.history import History

LEVELS = np.array([0.025, 0.1, 0.9, 0.975])  # lower, lower_80, upper_80, upper
BOUNDS = ("lower", "lower_80", "upper_80", "upper")
KNOTS = 24
# Widening, measured on noise and on random walks (benchmarks/bench_forecast.py coverage): errors
# that last a horizon come once a horizon, others once a sample.
LASTING = 13.0
SCATTER = 15.0


def quantiles(errors: F64, levels: F64) -> F64:
    """(rows, levels) quantiles of each row of `errors` (rows, n), NaN left out; 0 without any.

    Conformal ranks: the level p of n errors is number p × (n + 1), at most the outermost.
    """
    ordered = np.sort(errors, axis=1)
    counts = np.isfinite(ordered).sum(axis=1)[:, None]
    ranks = np.clip(levels * (counts + 1) - 1, 0, np.maximum(counts - 1, 0))
    low = ranks.astype(np.int64)
    share = ranks - low
    high = np.minimum(low + 1, np.maximum(counts - 1, 0))
    at_low, at_high = (np.take_along_axis(ordered, at, axis=1) for at in (low, high))
    between: F64 = np.where(counts > 0, at_low + share * (at_high - at_low), 0.0)
    return between


def by_step(errors: F64) -> F64:
    """(series, ahead, 4) quantiles of `errors` (series, origins, ahead), smooth over the steps."""
    series, _, ahead = errors.shape
    knots = np.unique(np.linspace(0, ahead - 1, KNOTS).astype(np.int64))
    reach = reach_of(ahead)
    at_knots = np.stack(
        [
            quantiles(
                errors[:, :, max(knot - reach, 0) : knot + reach + 1].reshape(series, -1), LEVELS
            )
            for knot in knots
        ],
        axis=1,
    )
    steps = np.arange(ahead)
    after = np.clip(np.searchsorted(knots, steps), 1 if knots.size > 1 else 0, knots.size - 1)
    before = np.maximum(after - 1, 0)
    share = ((steps - knots[before]) / np.maximum(knots[after] - knots[before], 1))[:, None]
    bands: F64 = at_knots[:, before] * (1 - share) + at_knots[:, after] * share
    return bands


def own_bands(history: History, ahead: F64, future: F64) -> F64:
    """(series, ahead, 4) distances of the bounds from the forecast, by each series' own errors."""
    errors = future - ahead[:, :-1]
    lag = max(history.ahead // 8, 1)
    before, after = errors[:, :, :-lag], errors[:, :, lag:]
    both = np.isfinite(before) & np.isfinite(after)
    power = np.where(both, before**2 + after**2, 0.0).sum(axis=(1, 2)) / 2.0
    product = np.where(both, before * after, 0.0).sum(axis=(1, 2))
    lasting = np.clip(product / np.where(power > 0, power, 1.0), 0.0, 1.0)
    span = history.origins[:, -2] - history.origins[:, 0]
    few_horizons = LASTING * lasting**2 * (1.0 + span / history.ahead) ** -1.9
    few_samples = SCATTER * (span + 2.0 * reach_of(history.ahead) + 1.0) ** -1.25
    bands: F64 = by_step(errors) * (1.0 + few_horizons + few_samples)[:, None, None]
    return bands


def reach_of(ahead: int) -> int:
    """How many neighbours on each side lend a step their errors."""
    return max(1, ahead // 12)


def limits(values: F64, name: str, full_at: float | None) -> tuple[float, float]:
    """What a series never leaves: 0 below when it was never negative; 1 or 100 above for a share.

    A share has been wholly inside, and either has touched its end or says by its name that it is
    one. Whoever asks when it reaches more than that does not think it a share.
    """
    least, most = np.nanmin(values), np.nanmax(values)
    if least < 0:
        return -np.inf, np.inf
    named = name.endswith(("ratio", "percent", "percentage", "utilization", "utilisation"))
    ends = (end for end in (1.0, 100.0) if most == end or (named and most <= end))
    top = next(ends, np.inf)
    return 0.0, np.inf if full_at is not None and full_at > top else top
