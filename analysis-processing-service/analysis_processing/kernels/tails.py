"""How far a series goes once in a long while: the tail of its scores on one side, learned online.

Scores beyond START follow, nearly whatever their distribution, a generalized Pareto distribution:

    P(score > START + y) = share × (1 + shape × y / scale) ^ (-1 / shape)

shape 0 is an exponential tail, normal ones lie below, lognormal and Student's above. Every score
beyond START moves shape and scale one step of Fisher scoring, which forgets nothing in the first
MEMORY of them: five numbers a side, where a window as exact would be thousands. From there the
limit that a score exceeds at a wanted rate is one formula.
Source: Coles, An Introduction to Statistical Modeling of Extreme Values (2001), chapter 4.
"""

import numpy as np

from analysis_processing.chassis.jit import float64, kernel, void
from analysis_processing.kernels.residuals import F64_ROW

START = 1.5  # widths; about 7 % of normal noise lies beyond
MEMORY = 1000.0  # exceedances; then older ones fade
SHARE_MEMORY = 20_000.0  # scores
SHAPE_MIN, SHAPE_MAX = -0.1, 1.2
# what is believed of a series before it has shown anything, worth PRIOR exceedances
PRIOR, PRIOR_SHAPE, PRIOR_SCALE, PRIOR_SHARE = 25.0, 0.0, 0.5, 0.05
YOUNG = 150.0  # scores; the limit of a series that has shown n is (1 + YOUNG / n) times as far
FEW = 10.0

# columns of a tail
SCORES, EXCEEDANCES, SHARE, SHAPE, LOG_SCALE = range(5)
TAIL_FIELDS = 5


@kernel(void(F64_ROW, float64, float64))
def learn_tail(tail: np.ndarray, score: float, most: float) -> None:
    """The tail knows of one more score (on its side positive), `most` scales beyond at most."""
    if tail[SCORES] == 0.0:
        tail[SHARE], tail[SHAPE], tail[LOG_SCALE] = PRIOR_SHARE, PRIOR_SHAPE, np.log(PRIOR_SCALE)
    tail[SCORES] += 1.0
    beyond = score > START
    tail[SHARE] += (beyond - tail[SHARE]) / min(tail[SCORES] + 4.0 * PRIOR, SHARE_MEMORY)
    if not beyond:
        return
    tail[EXCEEDANCES] += 1.0
    gain = 1.0 / min(tail[EXCEEDANCES] + PRIOR, MEMORY)
    shape = tail[SHAPE]
    z = min((score - START) / np.exp(tail[LOG_SCALE]), most)
    inside = max(1.0 + shape * z, 1e-3)
    if abs(shape) < 1e-3:
        by_shape = 0.5 * z * z - z
    else:
        by_shape = np.log(inside) / (shape * shape) - (1.0 + 1.0 / shape) * z / inside
    by_scale = (1.0 + shape) * z / inside - 1.0
    turn = gain * (1.0 + shape)
    moved = shape + min(max(turn * ((1.0 + shape) * by_shape - by_scale), -0.1), 0.1)
    tail[SHAPE] = min(max(moved, SHAPE_MIN), SHAPE_MAX)
    tail[LOG_SCALE] += min(max(turn * (2.0 * by_scale - by_shape), -0.5), 0.5)


@kernel(float64(F64_ROW, float64, float64))
def limit_of(tail: np.ndarray, rate: float, changes: float) -> float:
    """The score that a sample exceeds with probability `rate`, with room for what is unknown.

    changes: how often the series has moved at all, which is what it has shown of itself.
    """
    if tail[SCORES] == 0.0:
        return np.inf
    error = 1.0 / np.sqrt(tail[EXCEEDANCES] + PRIOR)
    shape = tail[SHAPE] + 0.5 * error
    scale = np.exp(tail[LOG_SCALE])
    depth = max(np.log(tail[SHARE] / rate), 0.0)
    reach = scale * depth if abs(shape) < 1e-3 else scale * (np.exp(shape * depth) - 1.0) / shape
    limit: float = (START + reach) * (1.0 + YOUNG / (min(tail[SCORES], changes) + FEW))
    return limit
