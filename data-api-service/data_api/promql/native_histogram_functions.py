"""Functions of one native histogram: quantile, fraction, variance, and its text.

Source: Prometheus `promql/quantile.go`, `funcHistogram…` in `promql/functions.go`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from data_api.model import F64, I64
from data_api.native_histogram import BUCKETS, Histogram
from data_api.promql.numerals import format_short

Note = Callable[[str], None]


def _finite_edges(histogram: Histogram) -> tuple[F64, F64, F64]:
    """Lower and upper bounds and counts of the filled buckets, ascending, as values are spread in
    them: the zero bucket on the sides that have others, the lowest custom one from 0.
    """
    keys, _ = histogram.filled()
    is_filled = histogram.numbers[BUCKETS] != 0
    lowers, uppers = (edges[is_filled] for edges in histogram.edges())
    counts = histogram.numbers[BUCKETS][is_filled]
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
    lowers, uppers, counts = _finite_edges(histogram)
    edges = lowers, uppers, histogram.layout.is_custom
    below = [min(float(counts @ _shares_below(bound, *edges)), total) for bound in (lower, upper)]
    return (below[1] - below[0]) / total


def _shares_below(bound: float, lowers: F64, uppers: F64, is_custom: bool) -> F64:
    """The share of each bucket's observations below `bound`, spread in it as in `_inside`; of an
    endless bucket all where it begins at -Inf, none where it ends at +Inf.
    """
    shares = (uppers <= bound).astype(np.float64)
    for at in np.flatnonzero((lowers < bound) & (uppers > bound)).tolist():
        low, high = float(lowers[at]), float(uppers[at])
        if math.isinf(low) or math.isinf(high):
            shares[at] = float(math.isinf(low))
        elif is_custom or low <= 0 <= high:
            shares[at] = (bound - low) / (high - low)
        else:
            near, far, here = math.log2(abs(low)), math.log2(abs(high)), math.log2(abs(bound))
            shares[at] = (here - near) / (far - near)
    return shares


def trimmed(bound: float, histogram: Histogram, *, keeps_below: bool) -> Histogram:
    """Without the observations above `bound`, or below it; the sum is that of the buckets' middles
    where something is left out. Source: `TrimBuckets`.
    """
    lowers, uppers, counts = _finite_edges(histogram)
    shares = _shares_below(bound, lowers, uppers, histogram.layout.is_custom)
    left = counts * (shares if keeps_below else 1 - shares)
    if (left == counts).all():
        return histogram
    if keeps_below:
        uppers = np.minimum(uppers, bound)
    else:
        lowers = np.maximum(lowers, bound)
    keys, is_left = histogram.filled()[0], left > 0
    middles = _middles(lowers, uppers, keys, histogram)
    numbers = np.concatenate(([left.sum(), left[is_left] @ middles[is_left]], left))
    return replace(histogram, keys=keys, numbers=numbers)


def _middles(lowers: F64, uppers: F64, keys: I64, histogram: Histogram) -> F64:
    """The middle of each bucket: geometric, but for the zero bucket and custom bounds; of an
    endless one its bound.
    """
    with np.errstate(all="ignore"):
        is_linear = histogram.layout.is_custom | (keys == 0)
        geometric = np.sign(lowers + uppers) * np.sqrt(lowers * uppers)
        middles = np.where(is_linear, (lowers + uppers) / 2, geometric)
    return np.where(np.isinf(lowers), uppers, np.where(np.isinf(uppers), lowers, middles))


def variance(histogram: Histogram) -> float:
    """Of the observations, each taken for the middle of its bucket."""
    is_filled = histogram.numbers[BUCKETS] != 0
    keys, counts = histogram.filled()
    lowers, uppers = (edges[is_filled] for edges in histogram.edges())
    middles = _middles(lowers, uppers, keys, histogram)
    with np.errstate(all="ignore"):
        squares = (middles - _average(histogram)) ** 2
        return float(counts @ squares / np.float64(histogram.count))


def _average(histogram: Histogram) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(histogram.sum) / histogram.count)


COUNTS: Final = frozenset({"histogram_avg", "histogram_count", "histogram_sum"})
"""What needs no buckets."""
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
    is_filled = histogram.numbers[BUCKETS] != 0
    lowers, uppers = (edges[is_filled] for edges in histogram.edges())
    keys, counts = histogram.filled()
    if histogram.layout.is_custom:
        rules = np.where(np.isneginf(lowers), 3, 0)
    else:
        rules = np.where(keys > 0, 0, np.where(keys < 0, 1, 3))
    return list(zip(lowers.tolist(), uppers.tolist(), counts.tolist(), rules.tolist(), strict=True))
