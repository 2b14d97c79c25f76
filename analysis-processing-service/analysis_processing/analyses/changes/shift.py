"""How far series moved between two ranges, with their own wandering as the yardstick.

    before                     | after
    ───────────────────────────┼──────────────────────────  all of it
                               |────────────── ×3           each half, and the middle half
                               |─────── ×7                  each quarter, and those between

A mean of samples that follow each other is less certain than their number says. How uncertain is
read off the series itself, twice: from its running sum around the mean (a series that drifts or
wanders has a wide one) and from the means of eighths; the larger counts. So a random walk, a slope
or part of a daily wave is not news, while the same step in a steady series is.
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
# (first, last, how much further than all of `after` a random walk strays there): eighths of `after`
WINDOWS = (
    (0, 8, 1.0),
    (0, 4, 1.0),
    (2, 6, 1.6),
    (4, 8, 2.2),
    (0, 2, 1.0),
    (1, 3, 1.5),
    (2, 4, 1.8),
    (3, 5, 2.2),
    (4, 6, 2.4),
    (5, 7, 2.7),
    (6, 8, 2.8),
)
# The score that unchanged series exceed with a chance of 10⁰, 10⁻¹ … : 4 in 10 white noise, 5 AR(1)
# from 0.5 to 0.97, 1 a random walk. Source: benchmarks/bench_explain.py calibrate.
TAIL_SCORES = np.array([0.1, 3.2, 6.6, 10.4, 14.4, 19.0])


@dataclass(frozen=True, slots=True)
class Shifts:
    """All of shape (series,). scores: ≥ 0, NaN where not judged. windows: rows of WINDOWS."""

    scores: F64
    before: F64
    after: F64
    windows: I64


def shifts(values: F64, split: int) -> Shifts:
    """How far each row's level after column `split` is from its level before. NaN = no sample."""
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
        mean, variance = levels(scaled[:, :split])
        scores = np.zeros((len(WINDOWS), len(values)))
        means = np.zeros_like(scores)
        length = values.shape[1] - split
        edges = split + np.rint(np.arange(9) * length / 8).astype(np.int64)
        # A walk strays further from a short `before`, by the same simulation.
        short = max(1.0, length / split) ** 0.25
        for row, (first, last, stray) in enumerate(WINDOWS):
            means[row], spread = levels(scaled[:, edges[first] : edges[last]])
            moved = np.abs(means[row] - mean)
            yardstick = np.sqrt(variance + spread + jitter)
            scores[row] = np.where(moved > 0, moved / yardstick / (stray * short), moved)
        best = np.argmax(np.nan_to_num(scores, nan=-1.0), axis=0)
        at = (best, np.arange(len(values)))
        back = [4.0 * (level * units[:, 0] + origin[:, 0]) for level in (mean, means[at])]
    return Shifts(np.minimum(scores[at], SCORE_MAX), back[0], back[1], best)


def levels(values: F64) -> tuple[F64, F64]:
    """Each row's mean and the variance of that mean; NaN with fewer than SAMPLES_MIN samples."""
    valid = ~np.isnan(values)
    counts = np.count_nonzero(valid, axis=1).astype(np.float64)
    counts[counts < SAMPLES_MIN] = np.nan
    means = np.where(valid, values, 0.0).sum(axis=1) / counts
    running = np.cumsum(np.where(valid, values - means[:, None], 0.0), axis=1)
    by_sum = 6.0 * np.einsum("ij,ij,ij->i", running, running, valid) / counts**3
    ends = np.rint(np.arange(1, BLOCKS + 1) * values.shape[1] / BLOCKS).astype(np.int64) - 1
    blocks = np.diff(running[:, np.maximum(ends, 0)], axis=1, prepend=0.0)
    by_block = BLOCKS / (BLOCKS - 1) * np.einsum("ij,ij->i", blocks, blocks) / counts**2
    return means, np.maximum(by_sum, by_block)


def chance(scores: F64) -> F64:
    """How likely an unchanged series is to score as high; a power law beyond the table."""
    table = np.log(TAIL_SCORES)
    places = np.log(np.maximum(scores, TAIL_SCORES[0]))
    decades = np.interp(places, table, np.arange(table.size))
    decades += np.maximum(places - table[-1], 0.0) / (table[-1] - table[-2])
    likely: F64 = 10.0**-decades
    return likely


def step_at(values: F64) -> int:
    """The column from which one row of numbers is on another level: the best split by squares."""
    sums = np.cumsum(values - values.mean())[:-1]
    sizes = np.arange(1, values.size)
    return int(np.argmax(sums**2 / (sizes * (values.size - sizes)))) + 1
