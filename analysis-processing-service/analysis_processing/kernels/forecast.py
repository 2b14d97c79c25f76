"""What lies ahead of a series, seen from many origins in one pass; and what a booster learns from.

Everywhere: `values` is (series, time), NaN = no sample; a series starts at `begins[s]`; an origin o
means that only samples before index o are read, and out[…, k] speaks of index o + k. A season of 0
steps is none; of two, the longer is a multiple of the shorter.
"""

# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from analysis_processing.chassis.jit import (
    F64_ROWS,
    F64_ROWS_OUT,
    I64_ROWS,
    I64S,
    float64,
    inlined,
    int64,
    kernel,
    types,
    void,
)

CUBE_OUT = types.Array(float64, 3, "C")
SEASON_RATE = 0.05
LAGS = 7  # same phase, so many cycles back
FAR_LAGS = 3  # same phase of the longer season, so many cycles back
OWN = LAGS + 3 + FAR_LAGS + 4  # features of one step ahead
SHARED = 25  # features of an origin
FEATURES = OWN + SHARED


@inlined
def mean_between(series: np.ndarray, first: int, last: int) -> float:
    """Mean of the samples in [first, last), NaN where there is none."""
    total, count = 0.0, 0
    for i in range(max(first, 0), min(last, series.size)):
        if not np.isnan(series[i]):
            total += series[i]
            count += 1
    return total / count if count else np.nan


@inlined
def change(series: np.ndarray, first: int, last: int, lag: int, absolute: bool) -> float:
    """Mean of the samples in [first, last) less those `lag` earlier, of pairs; NaN without any."""
    total, count = 0.0, 0
    for i in range(max(first, lag), min(last, series.size)):
        move = series[i] - series[i - lag]
        if not np.isnan(move):
            total += abs(move) if absolute else move
            count += 1
    return total / count if count else np.nan


@inlined
def at(series: np.ndarray, index: int, origin: int) -> float:
    """The sample at `index`, NaN outside [0, origin)."""
    return series[index] if 0 <= index < origin else np.nan


@inlined
def first_profiles(
    series: np.ndarray, begin: int, cycles: int, near: int, far: int, profiles: np.ndarray
) -> tuple[float, float]:
    """The level and slope at the end of the first cycles; `profiles` are their seasons.

    A phase without a sample is NaN in the short season and 0 in the long one.
    """
    season = max(near, far)
    end = begin + cycles * season
    level = mean_between(series, begin, end)
    slope = 0.0
    if cycles == 2:
        slope = change(series, begin + season, end, season, False) / season
        slope = 0.0 if np.isnan(slope) else slope
    centre = begin + (cycles * season - 1) / 2.0
    short, whole = profiles[0], profiles[1]
    for phase in range(season):
        total, count = 0.0, 0
        for i in range(begin + (phase - begin) % season, end, season):
            if not np.isnan(series[i]):
                total += series[i] - level - slope * (i - centre)
                count += 1
        whole[phase] = total / count if count else np.nan
    for phase in range(near):
        total, count = 0.0, 0
        for i in range(phase, season, near):
            if not np.isnan(whole[i]):
                total += whole[i]
                count += 1
        short[phase] = total / count if count else np.nan
    for phase in range(far):
        rest = whole[phase] - short[phase % near]
        whole[phase] = 0.0 if np.isnan(rest) else rest
    return level + slope * (end - 1 - centre), slope


@kernel(void(F64_ROWS, I64S, I64_ROWS, I64_ROWS, F64_ROWS, F64_ROWS_OUT, CUBE_OUT))
def smooth(
    values: np.ndarray,
    begins: np.ndarray,
    origins: np.ndarray,
    seasons: np.ndarray,
    gains: np.ndarray,
    profiles: np.ndarray,
    out: np.ndarray,
) -> None:
    """Exponential smoothing: a level, a slope that is damped, and up to two seasons.

    origins: (series, origins) ascending. seasons: (series, 2), shorter and longer, 0 = none.
    gains: (series, 3): level, slope, damping; no slope where the damping is 0. Gains begin as those
    of a mean and of a least-squares line, and end at these. out: (series, origins, ahead), NaN
    where the first origin comes before one whole season. profiles: scratch (2, longest season).
    Source: Hyndman et al., Forecasting with Exponential Smoothing, ETS(A,Ad,A) in its error form.
    """
    ahead = out.shape[2]
    for s in range(values.shape[0]):
        series, begin = values[s], begins[s]
        near, far = seasons[s, 0], seasons[s, 1]
        season = max(near, far)
        alpha, beta, phi = gains[s, 0], gains[s, 1], gains[s, 2]
        level, slope, t, seen = 0.0, 0.0, begin, 0.0
        if season > 0:
            cycles = min((origins[s, 0] - begin) // season, 2)
            if cycles < 1:
                out[s] = np.nan
                continue
            level, slope = first_profiles(series, begin, cycles, near, far, profiles)
            t = begin + cycles * season
            seen = float(t - begin) if cycles == 2 else max(season / 4.0, 4.0)
            slope = slope if phi > 0.0 else 0.0
        for o in range(origins.shape[1]):
            while t < origins[s, o]:
                short = profiles[0, t % near] if near > 0 else 0.0
                long = profiles[1, t % far] if far > 0 else 0.0
                slope *= phi
                level += slope
                error = series[t] - level - short - long
                if not np.isnan(error):
                    seen += 1.0
                    rate = max(alpha, 1.0 / seen)
                    if phi > 0.0:
                        line = 2.0 * (2.0 * seen - 1.0) / (seen * (seen + 1.0))
                        rate = min(max(alpha, line), 1.0)
                        if seen > 1.0:
                            slope += error * max(alpha * beta, 6.0 / (seen * (seen + 1.0)))
                    level += rate * error
                    rest = (1.0 - rate) * error
                    if near > 0:
                        profiles[0, t % near] += rest * max(SEASON_RATE, near / (t - begin + near))
                    if far > 0:
                        profiles[1, t % far] += rest * max(SEASON_RATE, far / (t - begin + far))
                elif near > 0 and np.isnan(short) and not np.isnan(series[t]):
                    profiles[0, t % near] = series[t] - level - long
                t += 1
            damped, growth = 1.0, 0.0
            for k in range(ahead):
                damped *= phi
                growth += damped * slope
                short = profiles[0, (t + k) % near] if near > 0 else 0.0
                long = profiles[1, (t + k) % far] if far > 0 else 0.0
                out[s, o, k] = level + growth + long + (0.0 if np.isnan(short) else short)


@kernel(void(F64_ROWS, I64_ROWS, I64_ROWS, CUBE_OUT))
def repeat(values: np.ndarray, origins: np.ndarray, seasons: np.ndarray, out: np.ndarray) -> None:
    """The mean of the last short season and the last long one, shifted to today's level.

    With one season the "long" one is two of it. Where a sample is missing, an earlier cycle's
    stands for it. seasons, out: as in `smooth`; without a season NaN.
    """
    for s in range(values.shape[0]):
        series = values[s]
        near = seasons[s, 0] if seasons[s, 0] > 0 else seasons[s, 1]
        far = max(seasons[s, 1], 2 * near) if seasons[s, 1] > near else 2 * near
        for o in range(origins.shape[1]):
            origin = origins[s, o]
            if near == 0 or origin < near:
                out[s, o] = np.nan
                continue
            shift, shifted = 0.0, -1
            for k in range(out.shape[2]):
                i = origin + k - near * (k // near + 1)
                while i >= near and np.isnan(series[i]):
                    i -= near
                recent = series[i]
                back = far * (k // far + 1)
                if back != shifted:
                    shift = change(series, origin - near, origin, back, False)
                    shifted = back
                earlier = at(series, origin + k - back, origin) + shift
                if np.isnan(recent):
                    out[s, o, k] = earlier
                elif np.isnan(earlier):
                    out[s, o, k] = recent
                else:
                    out[s, o, k] = 0.5 * (recent + earlier)
                if np.isnan(out[s, o, k]):  # never seen: as the step before it
                    out[s, o, k] = (
                        out[s, o, k - 1] if k else mean_between(series, origin - near, origin)
                    )


@inlined
def origin_features(
    series: np.ndarray, origin: int, near: int, far: int, unit: np.ndarray, row: np.ndarray
) -> None:
    """The features that all steps ahead share, in units of `unit` (level, scale); fills both."""
    level = mean_between(series, origin - near, origin)
    scale = change(series, origin - 7 * near, origin, near, True)
    unit[0], unit[1] = level, scale
    n = 0
    for back in (1, 2, 3, 4, 6, 12):
        row[n] = (at(series, origin - back, origin) - level) / scale
        n += 1
    for span in (3, 6, max(near // 2, 1), 2 * near, max(far, 3 * near), 2 * max(far, 3 * near)):
        row[n] = (mean_between(series, origin - span, origin) - level) / scale
        n += 1
    for back in (1, 2):
        first = origin - (back + 1) * near
        row[n] = (mean_between(series, first, first + near) - level) / scale
        n += 1
    # now against the same time of the cycle before: the last sample, the last 3, the last 6
    for span in (1, 3, 6):
        row[n] = (
            mean_between(series, origin - span, origin)
            - mean_between(series, origin - near - span, origin - near)
        ) / scale
        n += 1
    least, most = np.inf, -np.inf
    for i in range(max(origin - near, 0), origin):
        if not np.isnan(series[i]):
            least, most = min(least, series[i]), max(most, series[i])
    row[n] = (least - level) / scale
    row[n + 1] = (most - level) / scale
    row[n + 2] = change(series, origin - near, origin, near, True) / scale
    row[n + 3] = change(series, origin - near, origin, 1, True) / scale
    n += 4
    # how alike neighbours, days and weeks are
    for lag in (1, 2 * near, far):
        row[n] = change(series, origin - 14 * near, origin, lag, True) / scale
        n += 1
    row[n] = level / scale


@kernel(void(F64_ROWS, I64S, I64S, I64_ROWS, int64, int64, int64, F64_ROWS_OUT, CUBE_OUT))
def features(
    values: np.ndarray,
    rows: np.ndarray,
    origins: np.ndarray,
    steps: np.ndarray,
    near: int,
    far: int,
    first_step: int,
    units: np.ndarray,
    out: np.ndarray,
) -> None:
    """What the booster sees of each (series, origin, step ahead), in the series' own units.

    rows, origins: (n,); steps: (n, ahead) steps ahead, from 0. first_step: number of column 0 since
    the epoch, so that phases are times of day. units: (n, 2) level and scale: the mean of the last
    short season, and how far a sample lies from the one a season earlier. out: (n, ahead,
    FEATURES).
    """
    for n in range(rows.size):
        series, origin = values[rows[n]], origins[n]
        shared = out[n, 0, OWN:]
        origin_features(series, origin, near, far, units[n], shared)
        level, scale = units[n, 0], units[n, 1]
        for j in range(steps.shape[1]):
            row, k = out[n, j], steps[n, j]
            if j > 0:
                row[OWN:] = shared
            cycles = k // near + 1
            total, count = 0.0, 0
            for lag in range(LAGS):
                sample = at(series, origin + k - near * (cycles + lag), origin)
                row[lag] = (sample - level) / scale
                if not np.isnan(sample):
                    total += row[lag]
                    count += 1
            f = LAGS
            row[f] = total / count if count else np.nan
            row[f + 1] = (at(series, origin + k - near * cycles - 1, origin) - level) / scale
            row[f + 2] = (at(series, origin + k - near * cycles + 1, origin) - level) / scale
            f += 3
            total, count = 0.0, 0
            for lag in range(FAR_LAGS):
                row[f + lag] = np.nan
                if far > 0:
                    back = far * (k // far + 1 + lag)
                    then = mean_between(series, origin - back - near, origin - back)
                    row[f + lag] = (at(series, origin + k - back, origin) - then) / scale
                if not np.isnan(row[f + lag]):
                    total += row[f + lag]
                    count += 1
            f += FAR_LAGS
            row[f] = total / count if count else np.nan
            row[f + 1] = float(k)
            row[f + 2] = float((first_step + origin + k) % near)
            row[f + 3] = float((first_step + origin + k) % far) if far > 0 else 0.0
