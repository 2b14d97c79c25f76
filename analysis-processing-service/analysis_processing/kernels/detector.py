"""One pass over the samples of many series: judged by all terms, joined into episodes, learned.

    sample ─▶ far from what `baseline` expects?  (limits by `tails`)  ┐
           ─▶ slow terms (`terms`)                                    ┴▶ score ─▶ episode
           ─▶ learned by baseline, tails and terms, whatever it was called

Causal: a sample is judged before it is learned from, and an episode only grows at its end. What is
known of a series is one row of float64 and one of float32; values are kept in its own `unit`, the
power of two of its first sample, so that ±1e308 is as good as 1.

    state:  marks | models | recent | tails | means | pasts | habits | episode
    memory: rings | ranks | profile | visits | pasts' rings | pasts' ranks | stretches | shapes
"""

# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import math

import numpy as np

from analysis_processing.chassis.jit import (
    F64_ROWS,
    F64_ROWS_OUT,
    F64S,
    I64_ROWS,
    inlined,
    int64,
    kernel,
    types,
    void,
)
from analysis_processing.kernels import terms
from analysis_processing.kernels.baseline import (
    BIN,
    ERROR,
    GAIN,
    GAP,
    GUESS,
    LEARNED,
    NOW_FIELDS,
    OFFSET,
    PERIOD,
    RECENT,
    RESTARTING,
    SEEN,
    TRIAL,
    UNIT,
    NEWS,
    WIDTH,
    choose_judge,
    learn,
    notice_gap,
    phase_of,
    predict,
)
from analysis_processing.kernels.episodes import (
    BEFORE,
    CHANGED,
    CRIES_DAYS,
    EPISODE,
    FREE_CRIES,
    SINCE,
    backed_off,
    bounded,
    caution,
    count_cry,
    emit,
    follow,
    severity_of,
)
from analysis_processing.kernels.levels import (
    LEVEL,
    LEVELS,
    LOG_FIELDS,
    STAY,
    STILL,
    learn_log,
    log_limit,
    log_score,
    nearest_level,
    stay_at,
)
from analysis_processing.kernels.residuals import WINDOW
from analysis_processing.kernels.tails import LIMIT, SCORE_MAX, TAIL_FIELDS, learn_tails, score_of

MARKS = 6
FAR = 1e30  # units; beyond it a sample is as good as infinite: an event that teaches nothing

# rows of `judgement`
EXPECTED, LOWER, UPPER, SCORE = range(4)

MEMORY_OUT = types.Array(types.float32, 2, "C")
JUDGEMENT_OUT = types.Array(types.float64, 3, "C")


def widths(models: int, phases: int, stretches: int) -> tuple[int, int]:
    """How many float64 and how many float32 are known of one series."""
    state = (
        MARKS + models * (LEARNED + terms.MEAN_FIELDS + terms.PAST_FIELDS) + 2 * terms.PAST_FIELDS
    )
    state += 2 * RECENT + 2 * models * (TAIL_FIELDS) + terms.HABITS + EPISODE
    state += 2 * LEVELS + LOG_FIELDS
    return state, 2 * (models * WINDOW + phases + (models + 2) * terms.HISTORY + stretches)


@inlined
def cut_state(state: np.ndarray, models: int) -> tuple[np.ndarray, ...]:
    """The parts of a series' state, as views, in the order of the drawing above."""
    a = MARKS
    b = a + models * LEARNED
    c = b + 2 * RECENT
    d = c + 2 * models * (TAIL_FIELDS)
    e = d + models * terms.MEAN_FIELDS
    f = e + (models + 2) * terms.PAST_FIELDS
    g = f + terms.HABITS
    h = g + EPISODE
    i = h + 2 * LEVELS
    return (
        state[:a],
        state[a:b].reshape(models, LEARNED),
        state[b:c].reshape(2, RECENT),
        state[c:d].reshape(models, 2, TAIL_FIELDS),
        state[d:e].reshape(models, terms.MEAN_FIELDS),
        state[e:f].reshape(models + 2, terms.PAST_FIELDS),
        state[f:g],
        state[g:h],
        state[h:i].reshape(LEVELS, 2),
        state[i:],
    )


@inlined
def cut_memory(memory: np.ndarray, models: int, phases: int) -> tuple[np.ndarray, ...]:
    """The parts of a series' memory, as views, in the order of the drawing above."""
    a = models * WINDOW
    b = 2 * a
    c = b + phases
    d = c + phases
    e = d + (models + 2) * terms.HISTORY
    f = e + (models + 2) * terms.HISTORY
    g = (f + memory.size) // 2
    return (
        memory[:a].reshape(models, WINDOW),
        memory[a:b].reshape(models, WINDOW),
        memory[b:c],
        memory[c:d],
        memory[d:e].reshape(models + 2, terms.HISTORY),
        memory[e:f].reshape(models + 2, terms.HISTORY),
        memory[f:g],
        memory[g:],
    )


@inlined
def phases_of(seasons: np.ndarray) -> int:
    """How many phases the seasons have together, at least 1."""
    total = 1
    for m in range(1, seasons.shape[0]):
        total += (seasons[m, PERIOD] + seasons[m, BIN] - 1) // seasons[m, BIN]
    return total


@inlined
def unit_of(raw: float) -> float:
    """The power of two that brings a sample to between a half and 1."""
    _, exponent = math.frexp(raw)
    return math.ldexp(1.0, min(-exponent, 1000))


@kernel(
    int64(F64_ROWS, int64, I64_ROWS, F64S, F64_ROWS_OUT, MEMORY_OUT, JUDGEMENT_OUT, F64_ROWS_OUT)
)
def advance(
    values: np.ndarray,
    first_step: int,
    seasons: np.ndarray,
    rules: np.ndarray,
    state: np.ndarray,
    memory: np.ndarray,
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
    n_phases = phases_of(seasons)
    now = np.zeros((models, NOW_FIELDS))
    phases = np.zeros(models, dtype=np.int64)
    base = np.zeros(models)
    scratch = np.zeros(RECENT)
    verdict = np.zeros((terms.KINDS, 3))
    judged = np.zeros(4)
    count = 0
    for s in range(values.shape[0]):
        mark, learned, recent, tails, means, pasts, habits, episode, levels, logs = cut_state(
            state[s], models
        )
        rings, ranks, profile, visits, past_rings, past_ranks, raws, shape = cut_memory(
            memory[s], models, n_phases
        )
        for i in range(values.shape[1]):
            raw = values[s, i]
            at_step = first_step + i
            judged[:] = np.nan
            verdict[:] = 0.0
            spike = verdict[terms.SPIKE]
            x = raw
            if not np.isnan(raw):
                if mark[UNIT] == 0.0 and raw != 0.0 and np.isfinite(raw):
                    mark[UNIT] = unit_of(raw)
                x = raw * mark[UNIT] if mark[UNIT] > 0.0 else raw
            if mark[SEEN] == 0.0:
                habits[terms.BORN] = at_step
                levels[0, LEVEL], levels[0, STAY] = x if np.isfinite(x) else 0.0, 0.01
            louder = max(backed_off(habits), caution(at_step, rules, habits))
            unit = mark[UNIT] if mark[UNIT] > 0.0 else 1.0
            learnable = abs(x) <= FAR
            if np.isnan(raw):
                mark[GAP] += 1.0
                terms.judge_gap(rules, mark, habits, verdict)
            elif not learnable:
                mark[GAP] = 0.0
                if mark[SEEN] >= rules[terms.WARM_UP]:
                    spike[terms.SEVERITY] = louder * SCORE_MAX * np.sign(x)
                    spike[terms.USUAL], spike[terms.SHOWN] = (
                        learned[0, OFFSET],
                        x,
                    )
            else:
                terms.end_gap(rules, mark, habits)
                notice_gap(mark)
                for m in range(1, models):
                    phases[m] = phase_of(seasons[m], at_step)
                predict(x, mark[SEEN] > 0.0, phases, learned, profile, visits, now)
                judge = choose_judge(seasons, learned, now)
                width = now[judge, WIDTH]
                base[0], room = nearest_level(x, levels)
                ours = max(terms.narrowest(pasts, models, room), 0)
                if ours > 0:
                    room = 0.0
                expected = now[judge, GUESS]
                if room > 0.0:
                    for m in range(models):
                        if abs(x - base[0]) < abs(now[m, ERROR]):
                            now[m, NEWS] = x - base[0]
                            if m == judge:
                                expected = base[0]
                unjudged = mark[SEEN] < rules[terms.WARM_UP] or (
                    mark[RESTARTING] > 0.0 and judge == 0
                )
                up, down = tails[judge, 0, LIMIT], tails[judge, 1, LIMIT]
                unjudged |= down == 0.0
                if width > 0.0:
                    up, down = max(up, room / width), max(down, room / width)
                if not unjudged:
                    judged[EXPECTED] = bounded(expected, unit)
                    judged[LOWER] = bounded(expected - down * louder * width, unit)
                    judged[UPPER] = bounded(expected + up * louder * width, unit)
                    score = score_of(now[judge, NEWS], width)
                    spike[terms.SEVERITY] = score / (up if score > 0.0 else down)
                    spike[terms.USUAL], spike[terms.SHOWN] = expected, x
                # bursts widen what a single sample may do, not what a mean takes from it
                robust = (
                    min(width, 1.25 * habits[terms.SCATTER])
                    if habits[terms.SCATTER] > 0.0
                    else width
                )
                robust = max(robust, room)
                terms.judge_run(raw, rules, mark, habits, verdict)
                terms.move_means(
                    x, at_step, robust, rules, seasons, means, pasts, raws, shape, base
                )
                off = x - base[ours] - means[ours, terms.MEAN]
                reference = base[ours] + means[ours, terms.LONG] + pasts[ours, terms.CENTRE]
                far = log_limit(louder * rules[terms.DEPTH], reference, logs)
                if not unjudged and far * 1.0 < up * louder * width + expected:
                    judged[UPPER] = bounded(far, unit)
                    if x > expected:
                        spike[terms.SEVERITY] = louder * log_score(x, rules[terms.DEPTH]*louder, reference, logs)
                if room == 0.0 or abs(off) <= 6.0 * habits[terms.SCATTER]:
                    terms.move_spreads(x, width, off, rules, mark, habits, pasts)
                if not unjudged:
                    terms.judge_slow(
                        at_step,
                        learned[0, OFFSET],
                        room,
                        width,
                        rules,
                        seasons,
                        base,
                        means,
                        pasts,
                        raws,
                        habits,
                        levels,
                        verdict,
                    )
                stride = at_step // rules[terms.STRIDE]
                if stride != habits[terms.STRIDES] and mark[SEEN] >= 32.0:
                    habits[terms.STRIDES] = stride
                    habits[terms.CRIES] *= max(
                        1.0 - rules[terms.STRIDE] / (CRIES_DAYS * rules[terms.DAY]), 0.0
                    )
                    level = learned[0, OFFSET]
                    if abs(level - habits[terms.LAST_LEVEL]) <= STILL * width:
                        stay_at(level, width, 0.0, levels)
                        terms.settle(x, width, base, means[0], pasts[0], levels)
                    habits[terms.LAST_LEVEL] = level
                    for k in range(models + 2):
                        if k >= models or means[k, terms.COUNT] >= 32.0:
                            terms.remember_past(pasts[k], past_rings[k], past_ranks[k])
                echo = episode[BEFORE] > 0.0 and at_step - episode[BEFORE] <= RECENT
                echo &= at_step - episode[SINCE] <= rules[terms.ACCEPTED]
                often, changes = habits[terms.CRIES] >= FREE_CRIES, habits[terms.RUNS]
                if not echo:
                    learn_log(x, reference, rules[terms.LOG_MEMORY], logs)
                learn_tails(rules[terms.RATE], echo, often, changes, now, learned, tails)
                learn(
                    x,
                    at_step,
                    echo,
                    seasons,
                    phases,
                    now,
                    mark,
                    learned,
                    recent,
                    rings,
                    ranks,
                    profile,
                    visits,
                    scratch,
                )
            severity, naming = severity_of(louder, rules, verdict)
            if not np.isnan(raw):
                cry = max(
                    abs(spike[terms.SEVERITY]),
                    abs(verdict[terms.SHIFT, terms.SEVERITY]),
                )
                cry = max(cry, abs(verdict[terms.SPREAD, terms.SEVERITY]))
                count_cry(at_step, min(cry, 100.0), rules, habits)
            judged[SCORE] = severity
            if naming == 0 if np.isnan(raw) else mark[SEEN] <= rules[terms.WARM_UP]:
                judged[SCORE] = np.nan
            count = follow(
                s,
                at_step,
                raw,
                severity,
                naming,
                rules,
                habits,
                verdict,
                judged,
                episode,
                unit,
                events,
                count,
            )
            judgement[:, s, i] = judged
        if episode[CHANGED] > 0.0:
            unit = mark[UNIT] if mark[UNIT] > 0.0 else 1.0
            count = emit(s, False, unit, episode, events, count)
    return count


@kernel(void(F64_ROWS, I64_ROWS, F64_ROWS_OUT))
def describe(state: np.ndarray, seasons: np.ndarray, judges: np.ndarray) -> None:
    """judges: (series, 3): the models that judge a sample and the means now, and the back-off.

    -1 for the means while too little is known.
    """
    models = seasons.shape[0]
    for s in range(state.shape[0]):
        _, learned, _, _, _, pasts, habits, _, levels, _ = cut_state(state[s], models)
        best = 0.0
        judges[s, 0] = 0.0
        for m in range(1, models):
            if learned[m, TRIAL] >= seasons[m, PERIOD] and learned[m, GAIN] > best:
                best = learned[m, GAIN]
                judges[s, 0] = m
        _, room = nearest_level(0.0, levels)
        judges[s, 1] = terms.narrowest(pasts, models, room)
        judges[s, 2] = backed_off(habits)
