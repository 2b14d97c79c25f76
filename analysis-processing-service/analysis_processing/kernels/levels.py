"""Where a series rests, and whether its logarithms are normal: what makes a far sample ordinary.

    levels   a series that rests now here and now there is judged against the nearest such place
    logs     a series whose logarithms are normal has a known tail, hence a near and exact limit

A place is known once it holds SHARE of the time of the last days. So an outage, which is short,
is news each time, and a level to which a series keeps coming back is not.
"""

import numpy as np

from analysis_processing.chassis.jit import inlined

LEVELS = 6
APART = 2.0  # widths; what is nearer is the same level
NEAR = 0.05  # of the distance of the farthest levels: nearer is the same one, too
STILL = 1.0  # widths; the level has moved no more than this in a stride
SHARE = 0.05  # of the time, from which on a level is known
BEYOND = 0.5  # of the distance of the farthest known levels: no farther is no news
ACCEPTED_SHARE = 0.15  # of a level at which a shift has lasted: known for a week and more
STAY_MIN = 3.0  # strides (20 min) at a known level at least
DECAY = 1.0 / 504.0  # a stride: a week
LEVEL, STAY = range(2)

LOGS, LOG_1, LOG_2, LOG_3, LOG_4 = range(5)
LOG_FIELDS = 5
LOGS_MIN = 1000.0  # samples that tell whether logarithms are normal
LOG_SPREAD_MIN = 0.15  # below it a logarithm is as good as a straight line
SKEW_MAX, HEAVY_MAX, LIGHT_MAX = 0.25, 0.4, 0.5  # skewness; excess kurtosis up and down
YOUNG_LOGS = 30.0  # of n logarithms the limit lies (1 + YOUNG_LOGS / n) times as far
LOG_CLIP = 6.0  # deviations


@inlined
def nearest_level(x: float, levels: np.ndarray) -> tuple[float, float]:
    """The known level nearest to `x`, the longest while none is; how far is no news, 0 for one."""
    low, high = np.inf, -np.inf
    longest = 0
    total = 0.0
    for k in range(LEVELS):
        total += levels[k, STAY]
        if levels[k, STAY] > levels[longest, STAY]:
            longest = k
    nearest = levels[longest, LEVEL]
    wanted = max(SHARE * total, STAY_MIN)
    for k in range(LEVELS):
        at = levels[k, LEVEL]
        if levels[k, STAY] >= wanted:
            low, high = min(low, at), max(high, at)
            if abs(x - at) < abs(x - nearest):
                nearest = at
    return nearest, BEYOND * max(high - low, 0.0)


@inlined
def stay_at(at: float, width: float, stay: float, levels: np.ndarray) -> None:
    """The series has spent one more stride at this level, `stay` strides at least in all."""
    nearest = least = 0
    high = low = at
    for k in range(LEVELS):
        levels[k, STAY] *= 1.0 - DECAY
        if levels[k, STAY] < levels[least, STAY]:
            least = k
        if levels[k, STAY] > 0.0:
            high, low = max(high, levels[k, LEVEL]), min(low, levels[k, LEVEL])
        if levels[k, STAY] > 0.0 and (
            levels[nearest, STAY] == 0.0
            or abs(at - levels[k, LEVEL]) < abs(at - levels[nearest, LEVEL])
        ):
            nearest = k
    if levels[nearest, STAY] == 0.0 or abs(at - levels[nearest, LEVEL]) > max(
        APART * width, NEAR * (high - low)
    ):
        nearest = least
        levels[nearest, LEVEL], levels[nearest, STAY] = at, 0.0
    level = levels[nearest]
    level[STAY] = max(level[STAY] + 1.0, stay)
    level[LEVEL] += (at - level[LEVEL]) / level[STAY]


@inlined
def log_limit(depth: float, reference: float, logs: np.ndarray) -> float:
    """The value that `depth` deviations of the logarithm reach; Inf where those are not normal."""
    if logs[LOGS] < LOGS_MIN or reference <= 0.0:
        return np.inf
    mean = logs[LOG_1]
    square = logs[LOG_2] - mean * mean
    if square < LOG_SPREAD_MIN * LOG_SPREAD_MIN:
        return np.inf
    cube = logs[LOG_3] - 3.0 * mean * logs[LOG_2] + 2.0 * mean**3
    fourth = (
        logs[LOG_4] - 4.0 * mean * logs[LOG_3] + 6.0 * mean * mean * logs[LOG_2] - 3.0 * mean**4
    )
    heavy = fourth / (square * square) - 3.0
    if abs(cube) > SKEW_MAX * square**1.5 or heavy > HEAVY_MAX or heavy < -LIGHT_MAX:
        return np.inf
    depth *= 1.0 + YOUNG_LOGS / logs[LOGS]
    limit: float = reference * np.exp(mean + depth * np.sqrt(square))
    return limit


@inlined
def log_score(x: float, depth: float, reference: float, logs: np.ndarray) -> float:
    """How far above its mean the logarithm of `x` lies, in limits; 0 below. See `log_limit`."""
    deviation = np.sqrt(logs[LOG_2] - logs[LOG_1] ** 2)
    limit = depth * (1.0 + YOUNG_LOGS / logs[LOGS]) * deviation
    score: float = max((np.log(x / reference) - logs[LOG_1]) / limit, 0.0)
    return score


@inlined
def learn_log(x: float, reference: float, memory: float, logs: np.ndarray) -> None:
    """The logarithm of this sample over its reference is among those known."""
    if x <= 0.0 or reference <= 0.0:
        logs[LOGS] = 0.0
        return
    logs[LOGS] += 1.0
    share = 1.0 / min(logs[LOGS], memory)
    log = np.log(x / reference)
    if logs[LOGS] > 64.0:
        far = LOG_CLIP * np.sqrt(max(logs[LOG_2] - logs[LOG_1] ** 2, 0.0))
        log = min(max(log, logs[LOG_1] - far), logs[LOG_1] + far)
    power = log
    for k in range(LOG_1, LOG_4 + 1):
        logs[k] += share * (power - logs[k])
        power *= log
