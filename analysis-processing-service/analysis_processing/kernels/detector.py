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
    READY,
    RECENT,
    RESTARTING,
    RUN,
    SEEN,
    SETTLED,
    TRIAL,
    UNIT,
    WIDTH,
    choose_judge,
    learn,
    notice_gap,
    phase_of,
    predict,
)
from analysis_processing.kernels.baseline import FILLED as RESIDUALS
from analysis_processing.kernels.residuals import WINDOW
from analysis_processing.kernels.tails import SCORES, START, TAIL_FIELDS, learn_tail, limit_of
from analysis_processing.kernels.terms import (
    CRIED,
    CRIES,
    DAY,
    HABITS,
    HISTORY,
    KINDS,
    LOUDNESS,
    MEAN_FIELDS,
    PAST_FIELDS,
    RATE,
    REFRACTORY,
    RUNS,
    SCATTER,
    SEVERITY,
    SHOWN,
    SIDE,
    SPIKE,
    STRIDE,
    STRIDES,
    STUCK,
    USUAL,
    WARM_UP,
)

MARKS = 6
SCORE_MAX = 1000.0
FAR = 1e30  # units; beyond it a sample is as good as infinite: an event that teaches nothing
LARGEST = 1.7e308
MILD, STRONG = 4.0, 60.0  # scales
FREE_CRIES = 3.0  # a day; with one more the limits are LOUDER times as far as the cries usually go
LOUDER = 1.5

# rows of `judgement`
EXPECTED, LOWER, UPPER, SCORE = range(4)
# columns of a tail, after those of `tails`: the limit, computed now and then
LIMIT = TAIL_FIELDS
# an episode, and a row of `events` with the series and whether it is over in front
OPEN, KIND, SINCE, END, PEAK, SIZE, VALUE, EXPECT, BELOW, ABOVE, SIGN, USED, SEEN_NOW = range(13)
CHANGED, NEW, BEFORE = range(13, 16)
EPISODE = 16
EVENT = EPISODE + 2

MEMORY_OUT = types.Array(types.float32, 2, "C")
JUDGEMENT_OUT = types.Array(types.float64, 3, "C")


def widths(models: int, phases: int, stretches: int) -> tuple[int, int]:
    """How many float64 and how many float32 are known of one series."""
    state = MARKS + models * (LEARNED + MEAN_FIELDS + PAST_FIELDS) + 2 * PAST_FIELDS
    state += 2 * RECENT + 2 * models * (TAIL_FIELDS + 1) + HABITS + EPISODE
    return state, 2 * (models * WINDOW + phases + (models + 2) * HISTORY + stretches)


@inlined
def cut_state(state: np.ndarray, models: int) -> tuple[np.ndarray, ...]:
    """The parts of a series' state, as views, in the order of the drawing above."""
    a = MARKS
    b = a + models * LEARNED
    c = b + 2 * RECENT
    d = c + 2 * models * (TAIL_FIELDS + 1)
    e = d + models * MEAN_FIELDS
    f = e + (models + 2) * PAST_FIELDS
    g = f + HABITS
    return (
        state[:a],
        state[a:b].reshape(models, LEARNED),
        state[b:c].reshape(2, RECENT),
        state[c:d].reshape(models, 2, TAIL_FIELDS + 1),
        state[d:e].reshape(models, MEAN_FIELDS),
        state[e:f].reshape(models + 2, PAST_FIELDS),
        state[f:g],
        state[g:],
    )


@inlined
def cut_memory(memory: np.ndarray, models: int, phases: int) -> tuple[np.ndarray, ...]:
    """The parts of a series' memory, as views, in the order of the drawing above."""
    a = models * WINDOW
    b = 2 * a
    c = b + phases
    d = c + phases
    e = d + (models + 2) * HISTORY
    f = e + (models + 2) * HISTORY
    g = (f + memory.size) // 2
    return (
        memory[:a].reshape(models, WINDOW),
        memory[a:b].reshape(models, WINDOW),
        memory[b:c],
        memory[c:d],
        memory[d:e].reshape(models + 2, HISTORY),
        memory[e:f].reshape(models + 2, HISTORY),
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


@inlined
def score_of(error: float, width: float) -> float:
    """`error` in widths, within ±SCORE_MAX; any error at all is beyond a width of 0."""
    if error == 0.0:
        return 0.0
    score = error / width if width > 0.0 else np.inf * np.sign(error)
    return min(max(score, -SCORE_MAX), SCORE_MAX)


@inlined
def bounded(x: float, unit: float) -> float:
    """`x` units as a number that is finite."""
    number: float = min(max(x / unit, -LARGEST), LARGEST)
    return number


@inlined
def loudness(habits: np.ndarray) -> float:
    """How many times as far the limits of a series lie because it cries often."""
    often = min(max(habits[CRIES] - FREE_CRIES, 0.0), 1.0)
    louder: float = 1.0 + often * max(LOUDER * habits[LOUDNESS] - 1.0, 0.0)
    return louder


@inlined
def count_cry(at_step: int, severity: float, rules: np.ndarray, habits: np.ndarray) -> None:
    """A step that would be an alarm without the back-off begins a cry, or belongs to one."""
    if severity < 1.0:
        return
    if habits[CRIED] == 0.0 or at_step - habits[CRIED] > rules[REFRACTORY]:
        habits[CRIES] += 1.0
        habits[LOUDNESS] += 0.3 * (severity - habits[LOUDNESS])
    habits[LOUDNESS] = max(habits[LOUDNESS], 0.5 * severity)
    habits[CRIED] = at_step


@inlined
def severity_of(rules: np.ndarray, habits: np.ndarray, verdict: np.ndarray) -> tuple[float, int]:
    """The largest severity on the side that matters, and the kind that names it; 0 for no alarm."""
    louder = loudness(habits)
    worst, naming = 0.0, 0
    for kind in range(1, KINDS):
        severity = verdict[kind, SEVERITY]
        if kind < STUCK:
            severity = 0.0 if severity * rules[SIDE] < 0.0 else severity / louder
        severity = min(abs(severity), SCORE_MAX)
        worst = max(worst, severity)
        if severity >= 1.0:
            naming = kind
    return worst, naming


@inlined
def emit(
    row: int, closed: bool, unit: float, episode: np.ndarray, events: np.ndarray, count: int
) -> int:
    """The episode is the next of the events; how many those are."""
    events[count, 0] = row
    events[count, 1] = closed
    events[count, 2:] = episode
    if episode[KIND] < STUCK:
        events[count, 2 + USED] = bounded(episode[USED], unit)
        events[count, 2 + SEEN_NOW] = bounded(episode[SEEN_NOW], unit)
    episode[CHANGED] = episode[NEW] = 0.0
    if closed:
        episode[OPEN] = 0.0
    return count + 1


@inlined
def lengthen(
    at_step: int,
    raw: float,
    severity: float,
    kind: int,
    habits: np.ndarray,
    verdict: np.ndarray,
    judged: np.ndarray,
    episode: np.ndarray,
) -> None:
    """The alarming step belongs to the open episode, or opens one."""
    if episode[OPEN] == 0.0:
        start = float(at_step)
        if kind in (terms.SHIFT, terms.DRIFT):
            start = habits[terms.QUIET_STEP] + 1.0
        elif kind >= STUCK:
            start = at_step - verdict[kind, SHOWN] + 1.0
        episode[SINCE] = min(max(start, episode[BEFORE] + 1.0), float(at_step))
        episode[OPEN], episode[NEW], episode[KIND], episode[SIZE] = 1.0, 1.0, 0.0, 0.0
    if kind > episode[KIND] and not (kind == terms.SHIFT and episode[KIND] == terms.DRIFT):
        episode[KIND] = kind
        episode[USED], episode[SEEN_NOW] = verdict[kind, USUAL], verdict[kind, SHOWN]
        episode[SIGN] = np.sign(verdict[kind, SEVERITY])
    ours = int(episode[KIND])
    if abs(verdict[ours, SEVERITY]) >= severity or ours >= STUCK:
        episode[USED], episode[SEEN_NOW] = verdict[ours, USUAL], verdict[ours, SHOWN]
    if severity > episode[SIZE]:
        episode[SIZE], episode[PEAK], episode[VALUE] = severity, at_step, raw
        episode[EXPECT : ABOVE + 1] = judged[:3]
    episode[END] = episode[BEFORE] = at_step
    episode[CHANGED] = 1.0


@inlined
def learn_tails(
    rate: float,
    echo: bool,
    habits: np.ndarray,
    now: np.ndarray,
    learned: np.ndarray,
    tails: np.ndarray,
) -> None:
    """Every model's tails know how far it was off, an alarming sample no more than MILD scales.

    echo: an alarm has just been; what follows from it is not how the series usually is.
    """
    for m in range(now.shape[0]):
        if now[m, READY] == 0.0 or learned[m, RESIDUALS] < SETTLED:
            continue
        score = score_of(now[m, ERROR], now[m, WIDTH])
        for side in range(2):
            tail = tails[m, side]
            signed = -score if side == 1 else score
            if signed > START and (echo or abs(learned[m, RUN]) > 1.0):
                continue
            mild = signed >= tail[LIMIT] and habits[CRIES] < FREE_CRIES
            learn_tail(tail[:TAIL_FIELDS], signed, MILD if mild else STRONG)
            if signed > START or tail[SCORES] % 64.0 == 1.0:
                tail[LIMIT] = limit_of(tail[:TAIL_FIELDS], rate, habits[RUNS])


@inlined
def follow(
    row: int,
    at_step: int,
    raw: float,
    severity: float,
    naming: int,
    rules: np.ndarray,
    habits: np.ndarray,
    verdict: np.ndarray,
    judged: np.ndarray,
    episode: np.ndarray,
    unit: float,
    events: np.ndarray,
    count: int,
) -> int:
    """The series' episode after this step: opened, lengthened or closed; how many events."""
    if episode[OPEN] > 0.0 and at_step - episode[END] > rules[REFRACTORY]:
        count = emit(row, True, unit, episode, events, count)
    if naming > 0:
        lengthen(at_step, raw, severity, naming, habits, verdict, judged, episode)
    return count


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
    verdict = np.zeros((KINDS, 3))
    judged = np.zeros(4)
    count = 0
    for s in range(values.shape[0]):
        mark, learned, recent, tails, means, pasts, habits, episode = cut_state(state[s], models)
        rings, ranks, profile, visits, past_rings, past_ranks, raws, shape = cut_memory(
            memory[s], models, n_phases
        )
        for i in range(values.shape[1]):
            raw = values[s, i]
            at_step = first_step + i
            judged[:] = np.nan
            verdict[:] = 0.0
            x = raw
            if not np.isnan(raw):
                if mark[UNIT] == 0.0 and raw != 0.0 and np.isfinite(raw):
                    mark[UNIT] = unit_of(raw)
                x = raw * mark[UNIT] if mark[UNIT] > 0.0 else raw
            unit = mark[UNIT] if mark[UNIT] > 0.0 else 1.0
            learnable = abs(x) <= FAR
            if np.isnan(raw):
                mark[GAP] += 1.0
                terms.judge_gap(rules, mark, habits, verdict)
            elif not learnable:
                mark[GAP] = 0.0
                if mark[SEEN] >= rules[WARM_UP]:
                    verdict[SPIKE, SEVERITY] = SCORE_MAX * np.sign(x)
                    verdict[SPIKE, USUAL], verdict[SPIKE, SHOWN] = learned[0, OFFSET], x
            else:
                terms.end_gap(rules, mark, habits)
                notice_gap(mark)
                for m in range(1, models):
                    phases[m] = phase_of(seasons[m], at_step)
                predict(x, mark[SEEN] > 0.0, phases, learned, profile, visits, now)
                judge = choose_judge(seasons, learned, now)
                width = now[judge, WIDTH]
                unjudged = mark[SEEN] < rules[WARM_UP] or (mark[RESTARTING] > 0.0 and judge == 0)
                up, down = tails[judge, 0, LIMIT], tails[judge, 1, LIMIT]
                unjudged |= down == 0.0
                if not unjudged:
                    louder = loudness(habits)
                    judged[EXPECTED] = bounded(now[judge, GUESS], unit)
                    judged[LOWER] = bounded(now[judge, GUESS] - down * louder * width, unit)
                    judged[UPPER] = bounded(now[judge, GUESS] + up * louder * width, unit)
                    score = score_of(now[judge, ERROR], width)
                    verdict[SPIKE, SEVERITY] = score / (up if score > 0.0 else down)
                    verdict[SPIKE, USUAL], verdict[SPIKE, SHOWN] = now[judge, GUESS], x
                # bursts widen what a single sample may do, not what a mean takes from it
                robust = min(width, 1.25 * habits[SCATTER]) if habits[SCATTER] > 0.0 else width
                terms.judge_run(raw, rules, mark, habits, verdict)
                terms.move_means(
                    x, at_step, robust, rules, seasons, means, pasts, raws, shape, base
                )
                ours = max(terms.narrowest(pasts, models), 0)
                off = x - base[ours] - means[ours, terms.MEAN]
                terms.move_spreads(x, width, off, rules, mark, habits, pasts)
                if not unjudged:
                    terms.judge_slow(
                        at_step, width, rules, seasons, base, means, pasts, raws, habits, verdict
                    )
                stride = at_step // rules[STRIDE]
                if stride != habits[STRIDES] and mark[SEEN] >= 32.0:
                    habits[STRIDES] = stride
                    habits[CRIES] *= max(1.0 - rules[STRIDE] / rules[DAY], 0.0)
                    for k in range(models + 2):
                        if k >= models or means[k, terms.COUNT] >= 32.0:
                            terms.remember_past(pasts[k], past_rings[k], past_ranks[k])
                echo = episode[BEFORE] > 0.0 and at_step - episode[BEFORE] <= RECENT
                learn_tails(rules[RATE], echo, habits, now, learned, tails)
                learn(
                    x,
                    at_step,
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
            severity, naming = severity_of(rules, habits, verdict)
            if not np.isnan(raw):
                cry = max(abs(verdict[SPIKE, SEVERITY]), abs(verdict[terms.SHIFT, SEVERITY]))
                cry = max(cry, abs(verdict[terms.SPREAD, SEVERITY]))
                count_cry(at_step, min(cry, 100.0), rules, habits)
            judged[SCORE] = severity
            if naming == 0 if np.isnan(raw) else mark[SEEN] <= rules[WARM_UP]:
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
        _, learned, _, _, _, pasts, habits, _ = cut_state(state[s], models)
        best = 0.0
        judges[s, 0] = 0.0
        for m in range(1, models):
            if learned[m, TRIAL] >= seasons[m, PERIOD] and learned[m, GAIN] > best:
                best = learned[m, GAIN]
                judges[s, 0] = m
        judges[s, 1] = terms.narrowest(pasts, models)
        judges[s, 2] = loudness(habits)
