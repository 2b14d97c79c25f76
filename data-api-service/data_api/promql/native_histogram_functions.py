"""Functions of one native histogram: quantile, fraction, variance, and its text.

Source: Prometheus `promql/quantile.go`, `funcHistogram…` in `promql/functions.go`.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from data_api.model import F64
from data_api.native_histogram import Histogram
from data_api.promql.numerals import format_short

Note = Callable[[str], None]


def _finite_edges(histogram: Histogram) -> tuple[F64, F64, F64]:
    """Lower and upper bounds and counts of the filled buckets, ascending, as values are spread in
    them: the zero bucket on the sides that have others, the lowest custom one from 0.
    """
    keys, _ = histogram.filled()
    is_filled = histogram.numbers[2:] != 0
    lowers, uppers = (edges[is_filled] for edges in histogram.edges())
    counts = histogram.numbers[2:][is_filled]
    if histogram.layout.is_custom:
        lowers = np.where(np.isneginf(lowers) & (uppers > 0), 0.0, lowers)
        return lowers, uppers, counts
    has_negative, has_positive = bool((keys < 0).any()), bool((keys > 0).any())
    if has_positive and not has_negative:
        lowers = np.where(keys == 0, 0.0, lowers)
    elif has_negative and not has_positive:
        uppers = np.where(keys == 0, 0.0, uppers)
    return lowers, uppers, counts


def quantile(q: float, histogram: Histogram, info: Note) -> float:
    """The value below which the share `q` of the observations lies: the quantile.

    Counted from the nearer end; from below where NaN were observed, which are in no bucket.
    """
    total = histogram.count
    if math.isnan(q) or not 0 <= q <= 1 or total == 0:
        return -math.inf if q < 0 else math.inf if q > 1 else math.nan
    saw_nan = math.isnan(histogram.sum)
    lowers, uppers, counts = _finite_edges(histogram)
    from_below = saw_nan or q < 0.5
    rank = (q if from_below else 1 - q) * total
    running = np.cumsum(counts if from_below else counts[::-1])
    if saw_nan and not (running.size and running[-1] >= rank):
        info("input to histogram_quantile has NaN observations, result is NaN")
        return math.nan
    if saw_nan:
        info("input to histogram_quantile has NaN observations, result is skewed higher")
    if not running.size:
        return 0.0
    place = min(int(np.searchsorted(running, rank)), running.size - 1)
    seen = min(float(running[place]), total)
    bucket = place if from_below else running.size - 1 - place
    count = float(counts[bucket])
    share = (rank - (seen - count) if from_below else seen - rank) / count
    if seen < rank:  # rounding: the buckets do not add up to the count
        share = 1.0
    return _inside(float(lowers[bucket]), float(uppers[bucket]), share, histogram)


def _inside(low: float, high: float, share: float, histogram: Histogram) -> float:
    """The value at `share` of the way through a bucket: on a logarithmic scale between bounds of
    exponential buckets, else on a linear one; of an endless bucket its bound.
    """
    is_custom = histogram.layout.is_custom
    if is_custom and (math.isinf(low) or math.isinf(high)):
        return high if math.isinf(low) else low
    if is_custom or low <= 0 <= high:
        return low + (high - low) * share
    near, far = math.log2(abs(low)), math.log2(abs(high))
    if low > 0:
        return math.pow(2.0, near + (far - near) * share)
    return -math.pow(2.0, far + (near - far) * (1 - share))


def fraction(lower: float, upper: float, histogram: Histogram, info: Note) -> float:
    """The share of the observations between two values."""
    total = histogram.count
    if total == 0 or math.isnan(lower) or math.isnan(upper):
        return math.nan
    if math.isnan(histogram.sum):
        info(
            "input to histogram_fraction has NaN observations, which are excluded "
            "from all fractions"
        )
    if lower >= upper:
        return 0.0
    buckets = _finite_edges(histogram)
    below = [
        _below(bound, buckets, is_custom=histogram.layout.is_custom) for bound in (lower, upper)
    ]
    return (min(below[1], total) - min(below[0], total)) / total


def _below(bound: float, buckets: tuple[F64, F64, F64], *, is_custom: bool) -> float:
    """How many observations lie below `bound`."""
    lowers, uppers, counts = buckets
    whole = float(counts[uppers <= bound].sum())
    at = np.flatnonzero((lowers < bound) & (uppers > bound))
    if not at.size:
        return whole
    low, high, count = float(lowers[at[0]]), float(uppers[at[0]]), float(counts[at[0]])
    if math.isinf(low):
        return whole + count
    if is_custom or low <= 0 <= high:
        return whole + count * (bound - low) / (high - low)
    near, far, here = math.log2(abs(low)), math.log2(abs(high)), math.log2(abs(bound))
    share = (here - near) / (far - near) if bound > 0 else 1 - (here - far) / (near - far)
    return whole + count * share


def variance(histogram: Histogram) -> float:
    """Of the observations, each taken for the middle of its bucket."""
    lowers, uppers = histogram.edges()
    counts = histogram.numbers[2:]
    with np.errstate(all="ignore"):
        mean = np.float64(histogram.sum) / histogram.count
        if histogram.layout.is_custom:
            middles = (lowers + uppers) / 2
        else:
            middles = np.where(
                (lowers <= 0) & (uppers >= 0), 0.0, np.sign(uppers) * np.sqrt(lowers * uppers)
            )
        is_filled = counts != 0
        squares = counts[is_filled] * (middles[is_filled] - mean) ** 2
        return float(squares.sum() / np.float64(histogram.count))


def _average(histogram: Histogram) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(histogram.sum) / histogram.count)


PARTS: Final[dict[str, Callable[[Histogram], float]]] = {
    "histogram_count": lambda histogram: histogram.count,
    "histogram_sum": lambda histogram: histogram.sum,
    "histogram_avg": _average,
    "histogram_stdvar": variance,
    "histogram_stddev": lambda histogram: float(np.sqrt(variance(histogram))),
}


def text(histogram: Histogram) -> str:
    """As `count_values` writes it. Source: `FloatHistogram.String`."""
    parts = [f"count:{format_short(histogram.count)}", f"sum:{format_short(histogram.sum)}"]
    for low, high, count, rule in filled_buckets(histogram):
        left, right = "[" if rule in {1, 3} else "(", "]" if rule in {0, 3} else ")"
        edges = f"{format_short(low)},{format_short(high)}"
        parts.append(f"{left}{edges}{right}:{format_short(count)}")
    return f"{{{', '.join(parts)}}}"


def filled_buckets(histogram: Histogram) -> list[tuple[float, float, float, int]]:
    """Lower bound, upper bound, count and rule of each bucket that is not empty, ascending.

    The rule says which bounds belong to it: 0 the upper, 1 the lower, 2 none, 3 both.
    """
    is_filled = histogram.numbers[2:] != 0
    lowers, uppers = (edges[is_filled] for edges in histogram.edges())
    keys, counts = histogram.filled()
    if histogram.layout.is_custom:
        rules = np.where(np.isneginf(lowers), 3, 0)
    else:
        rules = np.where(keys > 0, 0, np.where(keys < 0, 1, 3))
    return list(zip(lowers.tolist(), uppers.tolist(), counts.tolist(), rules.tolist(), strict=True))
