"""How far series moved between two ranges, with their own wandering as the yardstick.

    before                     | after
    ───────────────────────────┼──────────────────────────  all of it
                               |───────────────────── ×2    but the first or the last eighth
                               |────────────── ×3           each half, and the middle half
                               |─────── ×7                  each quarter, and those between

A mean of samples that follow each other is less certain than their number says. How uncertain is
read off the series itself, twice: from its running sum around the mean (a series that drifts or
wanders has a wide one) and from the means of eighths; and off all series of the query whose
neighbouring samples are as alike, since one expression gives them one memory. The largest counts:
a random walk, a slope or part of a daily wave is not news, the same step in a steady series is.
"""

from dataclasses import dataclass

import numpy as np

from analysis_processing.analyses.block import F64, I64
from analysis_processing.analyses.robust import bounded, quantiles

SAMPLES_MIN = 8
BLOCKS = 8
FAR = 1e9  # units; nothing is told apart beyond
JITTER = 1e-9  # of the level; floating-point noise of a constant is no change
SCORE_MAX = 1000.0
GROUPS_MAX = 24  # of series that are equally alike
GROUP_MIN = 40
MEDIAN_TO_MEAN = 1.1  # of a variance that eight blocks tell
# (first, last, how much further than all of `after` a random walk strays there): eighths of `after`
WINDOWS = (
    (0, 8, 1.0),
    (0, 4, 1.0),
    (1, 8, 1.3),
    (2, 6, 1.4),
    (4, 8, 1.9),
    (0, 2, 1.0),
    (1, 3, 1.0),
    (2, 4, 1.3),
    (3, 5, 1.5),
    (4, 6, 1.7),
    (5, 7, 1.9),
    (6, 8, 2.1),
)
# The score that unchanged series exceed with a chance of 10⁰, 10⁻¹ …: noise; and 4 in 10 noise, 5
# AR(1) from 0.5 to 0.97, 1 a random walk, so that walks alone are one place further on.
# Source: benchmarks/bench_explain.py calibrate.
STEADY_TAIL = np.array([0.1, 1.7, 2.7, 3.5, 4.4, 5.3])
WANDERING_TAIL = np.array([0.1, 2.2, 4.6, 8.0, 11.0, 14.0, 17.5])
DECADES_SEEN = 3
EXCEEDING_MIN = 4  # series that a quantile is read off


@dataclass(frozen=True, slots=True)
class Shifts:
    """All of shape (series,). scores: ≥ 0, NaN where not judged. windows: rows of WINDOWS.

    alike: correlation of neighbouring samples before the split. shares: of the variance there that
    is the variance of the mean.
    """

    scores: F64
    before: F64
    after: F64
    windows: I64
    alike: F64
    shares: F64


def shifts(values: F64, split: int, memory: F64 | None = None) -> Shifts:
    """How far each row's level after column `split` is from its level before. NaN = no sample.

    memory: of all series of the query, of `memory_of`; without it each stands alone.
    """
    quarter = bounded(values)
    halves = (quarter[:, :split], quarter[:, split:])
    marks = [quantiles(half, 0.1, 0.5, 0.9)[:, :, None] for half in halves]
    spans = [high - low for low, _, high in marks]
    origin = marks[0][1]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        clipped = np.concatenate(
            [
                np.where(reach > 0, np.clip(half, low - reach, high + reach), half)
                for half, (low, _, high), reach in zip(halves, marks, spans, strict=True)
            ],
            axis=1,
        )
        distances = clipped - origin
        widest = np.fmax.reduce(np.abs(distances), axis=1, keepdims=True, initial=0.0)
        units = np.fmax(*spans)
        units = np.where(units > 0, units, np.where(widest > 0, widest, 1.0))
        scaled = np.clip(distances / units, -FAR, FAR)
        jitter = (JITTER * origin / units)[:, 0] ** 2
        before = scaled[:, :split]
        mean, own, power_before = levels(before)
        alike = likeness(before, mean)
        share = np.zeros(len(values)) if memory is None else np.interp(alike, *memory)
        variance = np.fmax(own, share * power_before)
        scores = np.zeros((len(WINDOWS), len(values)))
        means = np.zeros_like(scores)
        length = values.shape[1] - split
        edges = split + np.rint(np.arange(9) * length / 8).astype(np.int64)
        # A walk strays further from a short `before`, by the same simulation.
        short = max(1.0, length / split) ** 0.25
        for row, (first, last, stray) in enumerate(WINDOWS):
            means[row], spread, power = levels(scaled[:, edges[first] : edges[last]])
            fewer = max(split / max(edges[last] - edges[first], 1), 1.0)
            spread = np.fmax(spread, share * fewer * np.fmax(power, power_before))
            moved = np.abs(means[row] - mean)
            yardstick = np.sqrt(variance + spread + jitter)
            scores[row] = np.where(moved > 0, moved / yardstick / (stray * short), moved)
        best = np.argmax(np.nan_to_num(scores, nan=-1.0), axis=0)
        at = (best, np.arange(len(values)))
        back = [4.0 * (level * units[:, 0] + origin[:, 0]) for level in (mean, means[at])]
        shares = np.where(power_before > 0, own / power_before, np.nan)
    return Shifts(np.minimum(scores[at], SCORE_MAX), back[0], back[1], best, alike, shares)


def levels(values: F64) -> tuple[F64, F64, F64]:
    """Each row's mean, the variance of that mean, and of a sample; NaN without SAMPLES_MIN."""
    valid = ~np.isnan(values)
    counts = np.count_nonzero(valid, axis=1).astype(np.float64)
    counts[counts < SAMPLES_MIN] = np.nan
    means = np.where(valid, values, 0.0).sum(axis=1) / counts
    centred = np.where(valid, values - means[:, None], 0.0)
    power = np.einsum("ij,ij->i", centred, centred) / counts
    running = np.cumsum(centred, axis=1)
    by_sum = 6.0 * np.einsum("ij,ij,ij->i", running, running, valid) / counts**3
    ends = np.rint(np.arange(1, BLOCKS + 1) * values.shape[1] / BLOCKS).astype(np.int64) - 1
    blocks = np.diff(running[:, np.maximum(ends, 0)], axis=1, prepend=0.0)
    by_block = BLOCKS / (BLOCKS - 1) * np.einsum("ij,ij->i", blocks, blocks) / counts**2
    return means, np.maximum(by_sum, by_block), power


def likeness(values: F64, means: F64) -> F64:
    """(series,) correlation of neighbouring samples, 0 without any."""
    centred = np.nan_to_num(values - means[:, None])
    products = np.einsum("ij,ij->i", centred[:, 1:], centred[:, :-1])
    powers = np.einsum("ij,ij->i", centred, centred)
    alike: F64 = np.nan_to_num(products / powers)
    return alike


def memory_of(alike: F64, shares: F64) -> F64 | None:
    """(2, groups) likeness of groups of series, ascending, and their usual share; None without any.

    All of a query's series that are equally alike share their memory; one alone tells it badly.
    """
    usable = np.flatnonzero(np.isfinite(shares))
    if not usable.size:
        return None
    groups = min(max(usable.size // GROUP_MIN, 1), GROUPS_MAX)
    ordered = np.array_split(usable[np.argsort(alike[usable], kind="stable")], groups)
    middles = [[np.median(column[one]) for one in ordered] for column in (alike, shares)]
    return np.array(middles) * [[1.0], [MEDIAN_TO_MEAN]]


def tail_of(quiet: F64, scores: F64, growth: float) -> F64:
    """Scores that unchanged series exceed by chances of 10⁰, 10⁻¹ …, as `quiet` ones do; no NaN.

    quiet: of halves of the range before, which are shorter than what `scores` are of: how much that
    matters is read off nine in ten of these. Where too few exceed, the table or the last two places
    go on. Never below noise or above walks: an event before the split hides little after it.
    """
    tail, wholes = STEADY_TAIL.copy(), 1.0
    for decade in range(1, tail.size):
        if quiet.size >= EXCEEDING_MIN * 10**decade:
            level = float(np.quantile(quiet, 1.0 - 10.0**-decade))
            if decade == 1 and level > 0:
                wholes = min(float(np.quantile(scores, 0.9)) / level, 1.0)
            level *= wholes
        elif decade <= DECADES_SEEN:
            ratio = WANDERING_TAIL[decade] / WANDERING_TAIL[decade - 1]
            level = tail[decade - 1] * ratio**growth
        else:
            level = 2.0 * tail[decade - 1] - tail[decade - 2]
        tail[decade] = np.clip(level, STEADY_TAIL[decade], WANDERING_TAIL[decade + 1])
    return tail


def chance(scores: F64, tail: F64) -> F64:
    """How likely an unchanged series is to score as high; a power law beyond the table."""
    table = np.log(tail)
    places = np.log(np.maximum(scores, tail[0]))
    decades = np.interp(places, table, np.arange(table.size))
    decades += np.maximum(places - table[-1], 0.0) / (table[-1] - table[-2])
    likely: F64 = 10.0**-decades
    return likely


def step_at(values: F64) -> int:
    """The column from which one row of numbers is on another level: the best split by squares."""
    sums = np.cumsum(values - values.mean())[:-1]
    sizes = np.arange(1, values.size)
    return int(np.argmax(sums**2 / (sizes * (values.size - sizes)))) + 1
