"""One pass over the samples of many series: judged by all terms, joined into episodes, learned.

    sample ─▶ far from what `baseline` expects?  (limits by `tails`)  ┐
           ─▶ slow terms (`terms`)                                    ┴▶ score ─▶ episode
           ─▶ learned by baseline, tails and terms, whatever it was called

Causal: a sample is judged before it is learned from, and an episode only grows at its end. What is
known of a series is one row of float64 and one of float32; values are kept in its own `unit`, the
power of two of its first sample, so that ±1e308 is as good as 1.

"""

# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import math

import numpy as np

from analysis_processing.chassis.jit import (
    F64_ROWS,
    F64_ROWS_OUT,
    F64S,
    F64S_OUT,
    I64_ROWS,
    I64S_OUT,
    inlined,
    int64,
    kernel,
    types,
    void,
    walker,
)
from analysis_processing.kernels import baseline, episodes, slow, terms
from analysis_processing.kernels.baseline import step
from analysis_processing.kernels.episodes import FAR_CAUTION, SLOW_CAUTION
from analysis_processing.kernels.layout import Desk, Known, cut, lay
from analysis_processing.kernels.levels import (
    LEVEL,
    STAY,
    STILL,
    learn_log,
    log_limit,
    log_score,
    stay_at,
)
from analysis_processing.kernels.tails import LIMIT, SCORE_MAX, learn_tails, score_of

# of what is no news: levels without noise stray by less, which is no change of their spread
LEVEL_FLOOR = 0.05
OFF_LEVEL = 4.0  # usual distances; farther from its level a sample is on its way to another one
FAR = 1e30  # units; beyond it a sample is as good as infinite: an event that teaches nothing

# rows of `judgement`
EXPECTED, LOWER, UPPER, SCORE = range(4)

F32_ROWS = types.Array(types.float32, 2, "C", readonly=True)
MEMORY_OUT = types.Array(types.float32, 2, "C")
JUDGEMENT_OUT = types.Array(types.float64, 3, "C")


@inlined
def phases_of(seasons: np.ndarray) -> int:
    """How many phases the seasons have together, at least 1."""
    total = 1
    for m in range(1, seasons.shape[0]):
        total += (seasons[m, baseline.PERIOD] + seasons[m, baseline.BIN] - 1) // seasons[
            m, baseline.BIN
        ]
    return total


@inlined
def unit_of(raw: float) -> float:
    """The power of two that brings a sample to between a half and 1."""
    _, exponent = math.frexp(raw)
    return math.ldexp(1.0, min(-exponent, 1000))


@step
def in_units(raw: float, at_step: int, known: Known) -> float:
    """The sample in the series' own unit, which its first number other than 0 decides."""
    mark = known.mark
    if np.isnan(raw):
        x = raw
    else:
        if mark[baseline.UNIT] == 0.0 and raw != 0.0 and np.isfinite(raw):
            mark[baseline.UNIT] = unit_of(raw)
        x = raw * mark[baseline.UNIT] if mark[baseline.UNIT] > 0.0 else raw
    if mark[baseline.SEEN] == 0.0:
        known.habits[terms.BORN] = at_step
        known.levels[0, LEVEL], known.levels[0, STAY] = x if np.isfinite(x) else 0.0, 0.01
    return x


@step
def judge_far(
    x: float,
    judge: int,
    room: float,
    louder: float,
    unit: float,
    rules: np.ndarray,
    known: Known,
    desk: Desk,
) -> tuple[float, float]:
    """SPIKE: what was expected, and the limit above it; a limit of NaN where nothing is judged.

    room: how far from `base[0]`, the nearest level, is no news.
    """
    now, judged, spike = desk.now, desk.judged, desk.verdict[terms.SPIKE]
    width, expected = now[judge, baseline.WIDTH], now[judge, baseline.GUESS]
    if room > 0.0:
        for m in range(now.shape[0]):
            if abs(x - desk.base[0]) < abs(now[m, baseline.ERROR]):
                now[m, baseline.NEWS] = x - desk.base[0]
        if now[judge, baseline.NEWS] != now[judge, baseline.ERROR]:
            expected = desk.base[0]
    up, down = known.tails[judge, 0, LIMIT], known.tails[judge, 1, LIMIT]
    restarting = known.mark[baseline.RESTARTING] > 0.0 and judge == 0
    if known.mark[baseline.SEEN] < rules[terms.WARM_UP] or restarting or down == 0.0:
        return expected, np.nan
    if width > 0.0:
        up, down = max(up, room / width), max(down, room / width)
    above = expected + up * louder * width
    judged[EXPECTED] = episodes.bounded(expected, unit)
    judged[LOWER] = episodes.bounded(expected - down * louder * width, unit)
    judged[UPPER] = episodes.bounded(above, unit)
    score = score_of(now[judge, baseline.NEWS], width)
    spike[terms.SEVERITY] = score / (up if score > 0.0 else down)
    spike[terms.USUAL], spike[terms.SHOWN] = expected, x
    return expected, above


@step
def pass_stride(x: float, at_step: int, width: float, rules: np.ndarray, k: Known, d: Desk) -> None:
    """Now and then, each STRIDE: levels and pasts are remembered, cries fade."""
    stride = at_step // rules[terms.STRIDE]
    if stride == k.habits[terms.STRIDES] or k.mark[baseline.SEEN] < 32.0:
        return
    k.habits[terms.STRIDES] = stride
    faded = rules[terms.STRIDE] / (episodes.CRIES_DAYS * rules[terms.DAY])
    k.habits[terms.CRIES] *= max(1.0 - faded, 0.0)
    level = k.learned[0, baseline.OFFSET]
    if abs(level - k.habits[terms.LAST_LEVEL]) <= STILL * width:
        stay_at(level, width, 0.0, k.levels)
        slow.settle(x, width, d.base, k.means[0], k.pasts[0], k.levels)
    k.habits[terms.LAST_LEVEL] = level
    models = k.means.shape[0]
    for m in range(models + 2):
        if m >= models or k.means[m, terms.COUNT] >= 32.0:
            terms.remember_past(k.pasts[m], k.past_rings[m], k.past_ranks[m])


@step
def learn(
    x: float,
    at_step: int,
    reference: float,
    seasons: np.ndarray,
    rules: np.ndarray,
    k: Known,
    d: Desk,
) -> None:
    """The sample is in what is known, less of it while an alarm lasts."""
    before, habits = k.episode[episodes.BEFORE], k.habits
    echo = before > 0.0 and at_step - before <= baseline.RECENT
    echo &= at_step - k.episode[episodes.SINCE] <= rules[terms.ACCEPTED]
    often = habits[terms.CRIES] >= episodes.FREE_CRIES
    if not echo:
        learn_log(x, reference, rules[terms.LOG_MEMORY], k.logs)
    learn_tails(rules[terms.RATE], echo, often, habits[terms.RUNS], d.now, k.learned, k.tails)
    baseline.learn(x, at_step, echo, seasons, k, d)


@step
def judge_number(
    raw: float,
    x: float,
    at_step: int,
    louder: float,
    unit: float,
    seasons: np.ndarray,
    rules: np.ndarray,
    k: Known,
    d: Desk,
) -> None:
    """The verdict on a finite sample; then it is learned."""
    mark, habits, now, base = k.mark, k.habits, d.now, d.base
    terms.end_gap(rules, mark, habits)
    baseline.notice_gap(mark)
    for m in range(1, seasons.shape[0]):
        d.phases[m] = baseline.phase_of(seasons[m], at_step)
    any_seen = mark[baseline.SEEN] > 0.0
    baseline.predict(x, any_seen, d.phases, k.learned, k.profile, k.visits, now)
    judge = baseline.choose_judge(seasons, k.learned, now)
    width = now[judge, baseline.WIDTH]
    ours, room, lean = slow.choose_reference(x, seasons, k.learned, k.pasts, k.levels, base)
    expected, above = judge_far(x, judge, room, louder, unit, rules, k, d)
    # bursts widen what a single sample may do, not what a mean takes from it
    scatter = 1.25 * habits[terms.SCATTER]
    robust = max(min(width, scatter) if scatter > 0.0 else width, room)
    terms.judge_run(raw, rules, mark, habits, d.verdict)
    terms.move_means(x, at_step, robust, rules, seasons, k.means, k.pasts, k.raws, k.shape, base)
    off = x - base[ours] - k.means[ours, terms.MEAN]
    reference = base[ours] + k.means[ours, terms.LONG] + k.pasts[ours, terms.CENTRE]
    far = log_limit(louder * rules[terms.DEPTH], reference, k.logs)
    if far < above:
        d.judged[UPPER] = episodes.bounded(far, unit)
        if x > expected:
            severity = log_score(x, rules[terms.DEPTH], reference, k.logs)
            d.verdict[terms.SPIKE, terms.SEVERITY] = severity
    if room == 0.0 or abs(off) <= OFF_LEVEL * habits[terms.SCATTER]:
        from_level = x - base[0] if room > 0.0 else x  # to another level is no swing
        floor = max(1e-3 * width, min(LEVEL_FLOOR * room, 0.5 * width))
        terms.move_spreads(from_level, width, off, floor, rules, mark, habits, k.pasts)
    if not np.isnan(above):
        slow.judge_slow(at_step, room, lean, width, rules, seasons, k, d)
    pass_stride(x, at_step, width, rules, k, d)
    learn(x, at_step, reference, seasons, rules, k, d)


@walker(
    int64(
        F64_ROWS,
        int64,
        I64_ROWS,
        F64S,
        F64_ROWS_OUT,
        MEMORY_OUT,
        F64S_OUT,
        I64S_OUT,
        JUDGEMENT_OUT,
        F64_ROWS_OUT,
    )
)
def advance(
    values: np.ndarray,
    first_step: int,
    seasons: np.ndarray,
    rules: np.ndarray,
    state: np.ndarray,
    memory: np.ndarray,
    room: np.ndarray,
    phases: np.ndarray,
    judgement: np.ndarray,
    events: np.ndarray,
) -> int:
    """`judgement` is of every step, state and memory have moved past them; how many events.

    values: (series, time), NaN = no sample; column i is step `first_step + i` since the epoch.
    seasons: (models, 3), see `baseline`; the first is none. rules: see `terms`. state, memory:
    (series, widths). judgement: (4, series, time), NaN where nothing was judged. events: (room,
    EVENT), room for time // (refractory + 2) + 2 a series.
    """
    models = seasons.shape[0]
    desk = lay(room, phases)
    judged, verdict = desk.judged, desk.verdict
    count = 0
    for s in range(values.shape[0]):
        known = cut(state[s], memory[s], models, phases_of(seasons))
        mark, habits = known.mark, known.habits
        for i in range(values.shape[1]):
            raw, at_step = values[s, i], first_step + i
            judged[:] = np.nan
            verdict[:] = 0.0
            x = in_units(raw, at_step, known)
            louder = slower = episodes.backed_off(habits)
            louder = max(louder, episodes.caution(FAR_CAUTION, at_step, rules, habits))
            slower = max(slower, episodes.caution(SLOW_CAUTION, at_step, rules, habits))
            unit = mark[baseline.UNIT] if mark[baseline.UNIT] > 0.0 else 1.0
            if np.isnan(raw):
                mark[baseline.GAP] += 1.0
                terms.judge_gap(rules, mark, habits, verdict)
            elif abs(x) <= FAR:
                judge_number(raw, x, at_step, louder, unit, seasons, rules, known, desk)
            else:
                mark[baseline.GAP] = 0.0
                if mark[baseline.SEEN] >= rules[terms.WARM_UP]:
                    verdict[terms.SPIKE, terms.SEVERITY] = louder * SCORE_MAX * np.sign(x)
                    verdict[terms.SPIKE, terms.USUAL] = known.learned[0, baseline.OFFSET]
                    verdict[terms.SPIKE, terms.SHOWN] = x
            severity, naming = episodes.severity_of(louder, slower, rules, verdict)
            if not np.isnan(raw):
                episodes.count_cry(at_step, rules, habits, verdict)
            judged[SCORE] = severity
            if naming == 0 if np.isnan(raw) else mark[baseline.SEEN] <= rules[terms.WARM_UP]:
                judged[SCORE] = np.nan
            count = episodes.follow(
                s, at_step, raw, severity, naming, rules, known, desk, unit, events, count
            )
            for row in range(4):
                judgement[row, s, i] = judged[row]
        if known.episode[episodes.CHANGED] > 0.0:
            unit = mark[baseline.UNIT] if mark[baseline.UNIT] > 0.0 else 1.0
            count = episodes.emit(s, False, unit, known.episode, events, count)
    return count


@kernel(void(F64_ROWS, F32_ROWS, I64_ROWS, F64_ROWS_OUT))
def describe(
    state: np.ndarray, memory: np.ndarray, seasons: np.ndarray, judges: np.ndarray
) -> None:
    """judges: (series, 3): the models that judge a sample and the means now, and the back-off.

    -1 for the means while too little is known.
    """
    models = seasons.shape[0]
    base = np.zeros(models)
    for s in range(state.shape[0]):
        known = cut(state[s], memory[s], models, phases_of(seasons))
        learned, pasts = known.learned, known.pasts
        best = judges[s, 0] = 0.0
        for m in range(1, models):
            gain = learned[m, baseline.GAIN]
            if learned[m, baseline.TRIAL] >= seasons[m, baseline.PERIOD] and gain > best:
                best, judges[s, 0] = gain, m
        reference, _, lean = slow.choose_reference(0.0, seasons, learned, pasts, known.levels, base)
        judges[s, 1] = reference if terms.narrowest(pasts, models, lean) >= 0 else -1.0
        judges[s, 2] = episodes.backed_off(known.habits)
