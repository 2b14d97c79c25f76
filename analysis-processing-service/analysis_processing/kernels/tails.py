"""How far a series goes once in a long while: the tail of its scores on one side, learned online.

Scores beyond START follow, nearly whatever their distribution, a generalized Pareto distribution:

    P(score > START + y) = share × (1 + shape × y / scale) ^ (-1 / shape)

shape 0 is an exponential tail, normal ones lie below, lognormal and Student's above. Every score
beyond START moves shape and scale one step of Fisher scoring, which forgets nothing in the first
MEMORY of them: six numbers a side, where a window as exact would be thousands. From there the
limit that a score exceeds at a wanted rate is one formula.
Source: Coles, An Introduction to Statistical Modeling of Extreme Values (2001), chapter 4.
"""

# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from analysis_processing.chassis.jit import float64, inlined, kernel, void
from analysis_processing.kernels.baseline import FILLED, NEWS, READY, RUN, SETTLED, WIDTH
from analysis_processing.kernels.residuals import F64_ROW

START = 1.5  # widths; about 7 % of normal noise lies beyond
MEMORY = 1000.0  # exceedances; then older ones fade
SHARE_MEMORY = 20_000.0  # scores
SHAPE_MIN, SHAPE_MAX = -0.15, 1.2
# what is believed of a series before it has shown anything, worth PRIOR exceedances
PRIOR, PRIOR_SHAPE, PRIOR_SCALE, PRIOR_SHARE = 25.0, 0.0, 0.5, 0.05
YOUNG = 130.0  # scores; the limit of a series that has shown n is (1 + YOUNG / n) times as far
FEW = 10.0
# exceedances; the shape may be this share of them heavier than it looks, and more where a tail has
# shown by a few that it is a heavy one
DOUBT, DOUBT_HEAVY, HEAVY = 10.0, 300.0, 0.2

# columns of a tail
SCORES, EXCEEDANCES, SHARE, SHAPE, LOG_SCALE, LIMIT = range(6)
TAIL_FIELDS = 6
MILD, STRONG = 10.0, 60.0  # scales
SCORE_MAX = 1000.0


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
    share = 1.0 / (tail[EXCEEDANCES] + PRIOR)
    heavy = max(tail[SHAPE] - HEAVY, 0.0) * tail[EXCEEDANCES] * share * share
    shape = tail[SHAPE] + DOUBT * share * (1.0 + DOUBT_HEAVY * heavy)
    scale = np.exp(tail[LOG_SCALE])
    depth = max(np.log(tail[SHARE] / rate), 0.0)
    reach = scale * depth if abs(shape) < 1e-3 else scale * (np.exp(shape * depth) - 1.0) / shape
    limit: float = (START + reach) * (1.0 + YOUNG / (min(tail[SCORES], changes) + FEW))
    return limit


@inlined
def score_of(error: float, width: float) -> float:
    """`error` in widths, within ±SCORE_MAX; any error at all is beyond a width of 0."""
    if error == 0.0:
        return 0.0
    score = error / width if width > 0.0 else np.inf * np.sign(error)
    return min(max(score, -SCORE_MAX), SCORE_MAX)


@inlined
def learn_tails(
    rate: float,
    echo: bool,
    often: bool,
    changes: float,
    now: np.ndarray,
    learned: np.ndarray,
    tails: np.ndarray,
) -> None:
    """Every model's tails know how far it was off, an alarming sample no more than MILD scales.

    echo: an alarm has just been; what follows from it is not how the series usually is. often:
    alarms are. changes: see `limit_of`.
    """
    for m in range(now.shape[0]):
        if now[m, READY] == 0.0 or learned[m, FILLED] < SETTLED:
            continue
        score = score_of(now[m, NEWS], now[m, WIDTH])
        for side in range(2):
            tail = tails[m, side]
            signed = -score if side == 1 else score
            if signed > START and (echo or abs(learned[m, RUN]) > 1.0):
                continue
            mild = signed >= tail[LIMIT] and not often
            learn_tail(tail, signed, MILD if mild else STRONG)
            if signed > START or tail[SCORES] % 64.0 == 1.0:
                tail[LIMIT] = limit_of(tail, rate, changes)
