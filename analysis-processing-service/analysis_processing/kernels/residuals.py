"""A sliding window of absolute residuals that is kept sorted, so that its quantiles are exact.

    ring   [ r5 | r6 | r2 | r3 | r4 ]   in order of arrival; the cursor marks the oldest
    ranked [ r2 <= r6 <= r3 <= … ]      the same numbers, ascending

An exact window beats a recursive quantile here: no learning rate, the same answer whatever the
chunking, and an outlier leaves it after exactly WINDOW samples. 256 residuals are 2 KiB a model.
"""

import numpy as np

from analysis_processing.chassis.jit import float64, int64, kernel, types, void

WINDOW = 256
MEDIAN_TO_SIGMA = 1.4826  # median |r| of a normal distribution is sigma / 1.4826
TAIL = 0.98
TAIL_TO_SIGMA = 1.0 / 2.3263  # its 98 % quantile of |r| is 2.3263 sigma

ROW = types.Array(types.float32, 1, "C")
F64_ROW = types.Array(float64, 1, "C")


@kernel(int64(ROW, int64, float64))
def rank_of(ranked: np.ndarray, filled: int, wanted: float | np.floating) -> int:
    """Index of the first of the `filled` ascending numbers that is not below `wanted`."""
    low = 0
    high = filled
    while low < high:
        middle = (low + high) // 2
        if ranked[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@kernel(void(ROW, ROW, int64, int64, float64))
def push(ring: np.ndarray, ranked: np.ndarray, filled: int, cursor: int, residual: float) -> None:
    """`ring[cursor]` is `residual` and `ranked` again holds the ring's numbers, ascending.

    filled: how many were held before; when that is all of them, the one at the cursor leaves.
    """
    number = np.float32(residual)
    stored = filled
    if filled == ring.size:
        at = rank_of(ranked, filled, ring[cursor])
        for i in range(at, filled - 1):
            ranked[i] = ranked[i + 1]
        stored = filled - 1
    ring[cursor] = number
    at = rank_of(ranked, stored, number)
    for i in range(stored, at, -1):
        ranked[i] = ranked[i - 1]
    ranked[at] = number


@kernel(float64(ROW, int64))
def robust_sigma(ranked: np.ndarray, filled: int) -> float:
    """The standard deviation these absolute residuals suggest: by median or by tail, the larger.

    The median alone calls every burst of a heavy-tailed or mostly-still series an anomaly; the
    98 % quantile knows how far such a series goes on an ordinary day. 0 for an empty window.
    """
    if filled == 0:
        return 0.0
    middle = filled // 2
    median = ranked[middle]
    if filled % 2 == 0:
        median = 0.5 * (ranked[middle - 1] + ranked[middle])
    tail = ranked[min(int(TAIL * filled), filled - 1)]
    sigma: float = max(MEDIAN_TO_SIGMA * median, TAIL_TO_SIGMA * tail)
    return sigma


@kernel(float64(F64_ROW, int64))
def median_of(scratch: np.ndarray, count: int) -> float:
    """Median of the first `count` numbers, which are left sorted. `count` is small and positive."""
    for i in range(1, count):
        moving = scratch[i]
        j = i - 1
        while j >= 0 and scratch[j] > moving:
            scratch[j + 1] = scratch[j]
            j -= 1
        scratch[j + 1] = moving
    median: float = scratch[count // 2]
    if count % 2 == 0:
        median = 0.5 * (median + scratch[count // 2 - 1])
    return median
