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
from analysis_processing.kernels import baseline, episodes, slow, terms
from analysis_processing.kernels.episodes import FAR_CAUTION, SLOW_CAUTION
from analysis_processing.kernels.levels import (
    LEVEL,
    LEVELS,
    LOG_FIELDS,
    STAY,
    STILL,
    learn_log,
    log_limit,
    log_score,
    stay_at,
    youth_of,
)
from analysis_processing.kernels.residuals import WINDOW
from analysis_processing.kernels.tails import LIMIT, SCORE_MAX, TAIL_FIELDS, learn_tails, score_of

MARKS = 6
# of what is no news: levels without noise stray by less, which is no change of their spread
LEVEL_FLOOR = 0.05
FAR = 1e30  # units; beyond it a sample is as good as infinite: an event that teaches nothing

# rows of `judgement`
EXPECTED, LOWER, UPPER, SCORE = range(4)

MEMORY_OUT = types.Array(types.float32, 2, "C")
JUDGEMENT_OUT = types.Array(types.float64, 3, "C")


def widths(models: int, phases: int, stretches: int) -> tuple[int, int]:
    """How many float64 and how many float32 are known of one series."""
    state = (
        MARKS
        + models * (baseline.LEARNED + terms.MEAN_FIELDS + terms.PAST_FIELDS)
        + 2 * terms.PAST_FIELDS
    )
    state += 2 * baseline.RECENT + 2 * models * (TAIL_FIELDS) + terms.HABITS + episodes.EPISODE
    state += 2 * LEVELS + LOG_FIELDS
    return state, 2 * (models * WINDOW + phases + (models + 2) * terms.HISTORY + stretches)


@inlined
def cut_state(state: np.ndarray, models: int) -> tuple[np.ndarray, ...]:
    """The parts of a series' state, as views, in the order of the drawing above."""
    a = MARKS
    b = a + models * baseline.LEARNED
    c = b + 2 * baseline.RECENT
    d = c + 2 * models * (TAIL_FIELDS)
    e = d + models * terms.MEAN_FIELDS
    f = e + (models + 2) * terms.PAST_FIELDS
    g = f + terms.HABITS
    h = g + episodes.EPISODE
    i = h + 2 * LEVELS
    return (
        state[:a],
        state[a:b].reshape(models, baseline.LEARNED),
        state[b:c].reshape(2, baseline.RECENT),
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
        total += (seasons[m, baseline.PERIOD] + seasons[m, baseline.BIN] - 1) // seasons[
            m, baseline.BIN
        ]
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
    now = np.zeros((models, baseline.NOW_FIELDS))
    phases = np.zeros(models, dtype=np.int64)
    base = np.zeros(models)
    scratch = np.zeros(baseline.RECENT)
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
                if mark[baseline.UNIT] == 0.0 and raw != 0.0 and np.isfinite(raw):
                    mark[baseline.UNIT] = unit_of(raw)
                x = raw * mark[baseline.UNIT] if mark[baseline.UNIT] > 0.0 else raw
            if mark[baseline.SEEN] == 0.0:
                habits[terms.BORN] = at_step
                levels[0, LEVEL], levels[0, STAY] = x if np.isfinite(x) else 0.0, 0.01
            louder = slower = episodes.backed_off(habits)
            louder = max(louder, episodes.caution(FAR_CAUTION, at_step, rules, habits))
            slower = max(slower, episodes.caution(SLOW_CAUTION, at_step, rules, habits))
            unit = mark[baseline.UNIT] if mark[baseline.UNIT] > 0.0 else 1.0
            learnable = abs(x) <= FAR
            if np.isnan(raw):
                mark[baseline.GAP] += 1.0
                terms.judge_gap(rules, mark, habits, verdict)
            elif not learnable:
                mark[baseline.GAP] = 0.0
                if mark[baseline.SEEN] >= rules[terms.WARM_UP]:
                    spike[terms.SEVERITY] = louder * SCORE_MAX * np.sign(x)
                    spike[terms.USUAL], spike[terms.SHOWN] = learned[0, baseline.OFFSET], x
            else:
                terms.end_gap(rules, mark, habits)
                baseline.notice_gap(mark)
                for m in range(1, models):
                    phases[m] = baseline.phase_of(seasons[m], at_step)
                baseline.predict(
                    x, mark[baseline.SEEN] > 0.0, phases, learned, profile, visits, now
                )
                judge = baseline.choose_judge(seasons, learned, now)
                width = now[judge, baseline.WIDTH]
                youth = youth_of((at_step - habits[terms.BORN]) / rules[terms.DAY])
                ours, room, lean = slow.choose_reference(x, youth, seasons, learned, pasts, levels, base)
                expected = now[judge, baseline.GUESS]
                if room > 0.0:
                    for m in range(models):
                        if abs(x - base[0]) < abs(now[m, baseline.ERROR]):
                            now[m, baseline.NEWS] = x - base[0]
                    if now[judge, baseline.NEWS] != now[judge, baseline.ERROR]:
                        expected = base[0]
                unjudged = mark[baseline.SEEN] < rules[terms.WARM_UP] or (
                    mark[baseline.RESTARTING] > 0.0 and judge == 0
                )
                up, down = tails[judge, 0, LIMIT], tails[judge, 1, LIMIT]
                unjudged |= down == 0.0
                if width > 0.0:
                    up, down = max(up, room / width), max(down, room / width)
                if not unjudged:
                    judged[EXPECTED] = episodes.bounded(expected, unit)
                    judged[LOWER] = episodes.bounded(expected - down * louder * width, unit)
                    judged[UPPER] = episodes.bounded(expected + up * louder * width, unit)
                    score = score_of(now[judge, baseline.NEWS], width)
                    spike[terms.SEVERITY] = score / (up if score > 0.0 else down)
                    spike[terms.USUAL], spike[terms.SHOWN] = expected, x
                # bursts widen what a single sample may do, not what a mean takes from it
                scatter = 1.25 * habits[terms.SCATTER]
                robust = max(min(width, scatter) if scatter > 0.0 else width, room)
                terms.judge_run(raw, rules, mark, habits, verdict)
                terms.move_means(
                    x, at_step, robust, rules, seasons, means, pasts, raws, shape, base
                )
                off = x - base[ours] - means[ours, terms.MEAN]
                reference = base[ours] + means[ours, terms.LONG] + pasts[ours, terms.CENTRE]
                far = log_limit(louder * rules[terms.DEPTH], reference, logs)
                if not unjudged and far < expected + up * louder * width:
                    judged[UPPER] = episodes.bounded(far, unit)
                    if x > expected:
                        spike[terms.SEVERITY] = log_score(x, rules[terms.DEPTH], reference, logs)
                if room == 0.0 or abs(off) <= 4.0 * habits[terms.SCATTER]:
                    terms.move_spreads(x - base[0] if room > 0.0 else x, width, LEVEL_FLOOR * room / youth, off, rules, mark, habits, pasts)
                if not unjudged:
                    slow.judge_slow(
                        at_step,
                        learned[0, baseline.OFFSET],
                        room,
                        lean,
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
                if stride != habits[terms.STRIDES] and mark[baseline.SEEN] >= 32.0:
                    habits[terms.STRIDES] = stride
                    habits[terms.CRIES] *= max(
                        1.0 - rules[terms.STRIDE] / (episodes.CRIES_DAYS * rules[terms.DAY]), 0.0
                    )
                    level = learned[0, baseline.OFFSET]
                    if abs(level - habits[terms.LAST_LEVEL]) <= STILL * width:
                        stay_at(level, width, 0.0, levels)
                        slow.settle(x, width, base, means[0], pasts[0], levels)
                    habits[terms.LAST_LEVEL] = level
                    for k in range(models + 2):
                        if k >= models or means[k, terms.COUNT] >= 32.0:
                            terms.remember_past(pasts[k], past_rings[k], past_ranks[k])
                before = episode[episodes.BEFORE]
                echo = before > 0.0 and at_step - before <= baseline.RECENT
                echo &= at_step - episode[episodes.SINCE] <= rules[terms.ACCEPTED]
                often, changes = habits[terms.CRIES] >= episodes.FREE_CRIES, habits[terms.RUNS]
                if not echo:
                    learn_log(x, reference, rules[terms.LOG_MEMORY], logs)
                learn_tails(rules[terms.RATE], echo, often, changes, now, learned, tails)
                baseline.learn(
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
            severity, naming = episodes.severity_of(louder, slower, rules, verdict)
            if not np.isnan(raw):
                cry = abs(spike[terms.SEVERITY])
                for kind in (terms.SHIFT, terms.SPREAD):
                    cry = max(cry, abs(verdict[kind, terms.SEVERITY]))
                episodes.count_cry(at_step, min(cry, 100.0), rules, habits)
            judged[SCORE] = severity
            if naming == 0 if np.isnan(raw) else mark[baseline.SEEN] <= rules[terms.WARM_UP]:
                judged[SCORE] = np.nan
            count = episodes.follow(
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
        if episode[episodes.CHANGED] > 0.0:
            unit = mark[baseline.UNIT] if mark[baseline.UNIT] > 0.0 else 1.0
            count = episodes.emit(s, False, unit, episode, events, count)
    return count


@kernel(void(F64_ROWS, I64_ROWS, F64_ROWS_OUT))
def describe(state: np.ndarray, seasons: np.ndarray, judges: np.ndarray) -> None:
    """judges: (series, 3): the models that judge a sample and the means now, and the back-off.

    -1 for the means while too little is known.
    """
    models = seasons.shape[0]
    base = np.zeros(models)
    for s in range(state.shape[0]):
        _, learned, _, _, _, pasts, habits, _, levels, _ = cut_state(state[s], models)
        best = judges[s, 0] = 0.0
        for m in range(1, models):
            gain = learned[m, baseline.GAIN]
            if learned[m, baseline.TRIAL] >= seasons[m, baseline.PERIOD] and gain > best:
                best, judges[s, 0] = gain, m
        reference, _, lean = slow.choose_reference(0.0, 1.0, seasons, learned, pasts, levels, base)
        judges[s, 1] = reference if terms.narrowest(pasts, models, lean) >= 0 else -1.0
        judges[s, 2] = episodes.backed_off(habits)
