"""The slow terms of a judgement: what a single sample does not show.

    shift, drift   mean of half an hour, without its season, against that of the last day
    spread         how far it usually goes from sample to sample        (log, 45 min)
    rhythm         how far it usually is from its own half-hour mean    (log, 45 min)
    stuck          equal samples in a row against the longest such row seen
    missing        steps without a sample against the longest such gap seen

The first three are judged by their own past: HISTORY values, 20 minutes apart, hence two days,
once there are HISTORY_MIN. A limit lies REACH times as far from their median as their 2.5 % and
97.5 % quantiles do: the tail of the statistic itself, whatever it is made from.
Rows and gaps have exponential tails: what n of them have not
exceeded is exceeded by chance only far beyond, the sooner the fewer they were.
Samples are clipped before they are averaged, so that no single one makes a shift.
"""

# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from analysis_processing.chassis.jit import inlined
from analysis_processing.kernels.baseline import GAP, PERIOD, SEEN, SLOW_BIN, SLOW_BINS, SLOW_FIRST
from analysis_processing.kernels.residuals import push

HISTORY = 128
HISTORY_MIN = 72  # a day; fewer values judge nothing
REACH = 2.0
YOUNG = 48.0  # values; of n of them the limits lie (1 + YOUNG / n) times as far
FARTHER = 2.2  # a limit is so many times as far as anything in the past but the last 3 hours
RECENT_PAST = 9
SEASON_RATE = 0.3  # what the latest turn counts, at least
CLIPPED = 3.0  # widths
MEAN_CLIPPED = 2.0
RESTING, SEASONAL = 0.75, 1.5  # `lean` of a series that rests on levels, and by a season
QUIET = 0.35  # of a limit; when a statistic was last so small is when its change began
RUNS_MIN = 20
EXTRA = 7.0  # ln(1 / how rarely, in rows, one is exceeded by chance)
EXTRA_MAX = 3.0

# what the terms are told: steps, but SHARE_* (of one step in a mean's length), KEEN and RATE
WARM_UP, REFRACTORY, SIDE, RATE, KEEN, DAY, STRIDE, GAP_MIN, RUN_MIN, ACCEPTED = range(10)
SUDDEN, SHARE_MEAN, SHARE_SPREAD, NARROW, NARROW_LOG, DEPTH, LOG_MEMORY = range(10, 17)
RULES = 17
# columns of `means`, one row a model
MEAN, LONG, COUNT, BIN, BIN_SUM, BIN_COUNT, SUM, BINS, TURNED, TREND = range(10)
MEAN_FIELDS = 10
# columns of `pasts`, one row a model, then one for the spread and one for the rhythm
NOW, FILLED, CURSOR, CENTRE, LOW, HIGH = range(6)
PAST_FIELDS = 6
# what is known besides
LAST, LAST_X, EQUAL, LONGEST_RUN, RUNS, LONGEST_GAP, GAPS, SWING, SCATTER = range(9)
QUIET_STEP, SHIFTED, SPREADING, STRIDES, CRIES, CRIED, LOUDNESS, BORN = range(9, 17)
LAST_LEVEL = 17
HABITS = 18
# rows of `verdict`; a higher one names an episode that shows several
SPIKE, RHYTHM, SPREAD, DRIFT, SHIFT, STUCK, MISSING = range(1, 8)
KINDS = 8
# columns of `verdict`: times its limit (signed), and the two numbers that tell it
SEVERITY, USUAL, SHOWN = range(3)


@inlined
def allowance(longest: float, count: float, shortest: float, keen: float) -> float:
    """The length beyond which a row or gap is no chance, after `count` up to `longest`."""
    if count == 0.0:
        return shortest
    extra: float = min(EXTRA * keen / np.log(count + 1.0), EXTRA_MAX)
    return max(shortest, longest * (1.0 + extra))


@inlined
def judge_gap(rules: np.ndarray, mark: np.ndarray, habits: np.ndarray, verdict: np.ndarray) -> None:
    """MISSING: there is no sample at this step either."""
    if mark[SEEN] < rules[WARM_UP]:
        return
    longest = habits[LONGEST_GAP]
    allowed = allowance(longest, habits[GAPS], rules[GAP_MIN], rules[KEEN])
    verdict[MISSING, SEVERITY] = mark[GAP] / allowed
    verdict[MISSING, USUAL], verdict[MISSING, SHOWN] = longest, mark[GAP]


@inlined
def end_gap(rules: np.ndarray, mark: np.ndarray, habits: np.ndarray) -> None:
    """The gap before this sample counts among the gaps seen, an alarming one not wholly."""
    if mark[GAP] > 0.0 and mark[SEEN] > 0.0:
        allowed = allowance(habits[LONGEST_GAP], habits[GAPS], rules[GAP_MIN], rules[KEEN])
        habits[LONGEST_GAP] = max(habits[LONGEST_GAP], min(mark[GAP], allowed))
        habits[GAPS] += 1.0


@inlined
def judge_run(
    raw: float, rules: np.ndarray, mark: np.ndarray, habits: np.ndarray, verdict: np.ndarray
) -> None:
    """STUCK: the sample is equal to those before; one that is not ends their row."""
    allowed = allowance(habits[LONGEST_RUN], habits[RUNS], rules[RUN_MIN], rules[KEEN])
    if mark[SEEN] > 0.0 and raw == habits[LAST]:
        habits[EQUAL] += 1.0
        if habits[RUNS] >= RUNS_MIN and mark[SEEN] >= max(rules[WARM_UP], 0.5 * rules[DAY]):
            verdict[STUCK, SEVERITY] = habits[EQUAL] / allowed
            verdict[STUCK, USUAL], verdict[STUCK, SHOWN] = habits[LONGEST_RUN], habits[EQUAL]
    else:
        if mark[SEEN] > 0.0:
            habits[LONGEST_RUN] = max(habits[LONGEST_RUN], min(habits[EQUAL], allowed))
            habits[RUNS] += 1.0
        habits[EQUAL] = 1.0
    habits[LAST] = raw


@inlined
def remember_past(past: np.ndarray, ring: np.ndarray, ranked: np.ndarray) -> None:
    """NOW is in the past, as far as its limits at most, and the limits are of that past."""
    filled = int(past[FILLED])
    value = past[NOW]
    if filled >= HISTORY_MIN:
        value = min(max(value, past[LOW]), past[HIGH])
    push(ring, ranked, filled, int(past[CURSOR]), value)
    filled = min(filled + 1, HISTORY)
    past[FILLED] = float(filled)
    past[CURSOR] = float((int(past[CURSOR]) + 1) % HISTORY)
    aside = filled // 40
    centre = float(ranked[filled // 2])
    reach = REACH * (1.0 + YOUNG / filled)
    up, down = ranked[filled - 1 - aside] - centre, centre - ranked[aside]
    past[CENTRE] = centre
    most = least = 0.0
    for back in range(RECENT_PAST, filled):
        off = ring[(int(past[CURSOR]) - 1 - back) % HISTORY] - centre
        most, least = max(most, off), max(least, -off)
    past[LOW] = centre - max(reach * max(down, 0.5 * up), FARTHER * least)
    past[HIGH] = centre + max(reach * max(up, 0.5 * down), FARTHER * most)


@inlined
def excess(past: np.ndarray, keen: float, narrow: float) -> float:
    """NOW's distance from the centre of its past, in limits; 0 while that past is too short."""
    if past[FILLED] < HISTORY_MIN:
        return 0.0
    off = past[NOW] - past[CENTRE]
    limit = past[HIGH] - past[CENTRE] if off > 0.0 else past[CENTRE] - past[LOW]
    limit = max(keen * limit, narrow)
    return off / limit if limit > 0.0 else 0.0


@inlined
def end_bin(
    bins: int,
    narrow: float,
    mean: np.ndarray,
    past: np.ndarray,
    raws: np.ndarray,
    shape: np.ndarray,
) -> None:
    """The mean of the stretch that is over is in the season, unless it is part of an alarm."""
    at = int(mean[BIN]) - 1
    if at >= 0 and abs(excess(past, 1.0, narrow)) < 1.0:
        raw = np.float32(mean[BIN_SUM] / mean[BIN_COUNT])
        old = raws[at]
        raws[at] = raw
        if np.isnan(old):
            mean[BINS] += 1.0
            mean[SUM] += raw
        else:
            mean[TURNED] += 1.0
            mean[TREND] += (raw - old - mean[TREND]) / min(mean[TURNED], float(bins))
            share = max(SEASON_RATE, bins / mean[TURNED])
            if np.isnan(shape[at]):
                shape[at] = raw - mean[LONG]
            else:
                shape[at] += min(share, 1.0) * (raw - mean[LONG] - shape[at])
            mean[SUM] += raw - old
        mean[LONG] = mean[SUM] / mean[BINS]
    mean[BIN_SUM] = mean[BIN_COUNT] = 0.0


@inlined
def season_base(at: int, mean: np.ndarray, raws: np.ndarray, shape: np.ndarray) -> float:
    """What the season adds at this time: from all turns, or from the first; NaN before."""
    if not np.isnan(shape[at]):
        return float(shape[at])
    first: float = raws[at] + mean[TREND] - mean[LONG]
    return first


@inlined
def move_means(
    x: float,
    at_step: int,
    width: float,
    rules: np.ndarray,
    seasons: np.ndarray,
    means: np.ndarray,
    pasts: np.ndarray,
    raws: np.ndarray,
    shape: np.ndarray,
    base: np.ndarray,
) -> None:
    """Each season's means of what is left of the series without it, and their distance."""
    narrow = rules[NARROW] * width
    for m in range(seasons.shape[0]):
        mean, bins, first = means[m], seasons[m, SLOW_BINS], seasons[m, SLOW_FIRST]
        if m > 0:
            base[m] = 0.0
            if bins == 0:
                continue
            at = at_step % seasons[m, PERIOD] // seasons[m, SLOW_BIN]
            if mean[BIN] == 0.0:
                raws[first : first + bins] = np.nan
                shape[first : first + bins] = np.nan
            if at + 1 != mean[BIN]:
                stretches = slice(first, first + bins)
                end_bin(bins, narrow, mean, pasts[m], raws[stretches], shape[stretches])
                mean[BIN] = at + 1
            base[m] = season_base(first + at, mean, raws, shape)
            mean[BIN_COUNT] += 1.0
            if np.isnan(base[m]):
                mean[BIN_SUM] += x
                continue
        mean[COUNT] += 1.0
        move = x - base[m] - mean[MEAN]
        if mean[COUNT] > 16.0:
            move = min(max(move, -MEAN_CLIPPED * width), MEAN_CLIPPED * width)
        mean[BIN_SUM] += base[m] + mean[MEAN] + move
        mean[MEAN] += move * max(rules[SHARE_MEAN], 1.0 / mean[COUNT])
        if m == 0 and abs(excess(pasts[m], 1.0, narrow)) < 1.0:
            mean[LONG] += (mean[MEAN] - mean[LONG]) / min(mean[COUNT], rules[DAY])
        pasts[m, NOW] = mean[MEAN] - mean[LONG]


@inlined
def narrowest(pasts: np.ndarray, models: int, lean: float) -> int:
    """The model whose mean strays least, of those with a past; -1 for none.

    lean: what the first, the series without a season, counts as straying, in terms of what it does.
    """
    best, least = -1, np.inf
    for m in range(models):
        reach = pasts[m, HIGH] - pasts[m, LOW]
        if m == 0:
            reach *= lean
        if pasts[m, FILLED] >= HISTORY_MIN and reach < least:
            best, least = m, reach
    return best


@inlined
def move_spreads(
    x: float,
    width: float,
    off: float,
    floor: float,
    rules: np.ndarray,
    mark: np.ndarray,
    habits: np.ndarray,
    pasts: np.ndarray,
) -> None:
    """SWING, SCATTER and their logarithms, of `floor` at least, count this sample.

    off: how far it is from the mean.
    """
    spread, rhythm = pasts[pasts.shape[0] - 2], pasts[pasts.shape[0] - 1]
    share = max(rules[SHARE_SPREAD], 1.0 / (mark[SEEN] + 1.0))
    swing = min(abs(x - habits[LAST_X]), CLIPPED * max(width, habits[SWING]))
    scatter = min(abs(off), CLIPPED * max(width, habits[SCATTER]))
    if mark[SEEN] > 0.0:
        habits[SWING] += share * (swing - habits[SWING])
        habits[SCATTER] += share * (scatter - habits[SCATTER])
    habits[LAST_X] = x
    if width > 0.0:
        spread[NOW] = np.log(max(habits[SWING], floor))
        rhythm[NOW] = np.log(max(habits[SCATTER], floor))
