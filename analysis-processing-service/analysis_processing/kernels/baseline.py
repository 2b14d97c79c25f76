"""What a series was expected to be, sample by sample, from earlier samples only.

Each series carries a few rival models of its near future:

    model 0      level                 expected = level
    model 1 …    a season each         expected = profile[phase] + offset

Every model keeps a window of its own absolute residuals, hence its own scale. A seasonal model is
on trial for its first full period after its first: while on trial, a sample is judged by whichever
model explains it better; afterwards by the model with the smaller (capped, discounted) squared
error. So the choice of a season is causal too, and a prefix is scored as it will be for ever.

Four habits make it robust: corrections are clipped; a surprise that lasts RECENT samples is
accepted as the new level; a phase that surprises in two consecutive periods is believed; surprises
that keep coming back raise the scale until they are surprises no more.

A profile has at most PHASES phases; one of several steps is their mean, and is not believed at
once. Values come in the series' own unit (near 1), so that profiles and residuals, which are
differences, fit into float32. Where the state of a series stands: `kernels/detector.py`.
"""

# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import functools
from typing import TYPE_CHECKING

import numpy as np

from analysis_processing.chassis.jit import inlined
from analysis_processing.kernels.residuals import median_of, push, robust_sigma

if TYPE_CHECKING:
    from analysis_processing.kernels.layout import Desk, Known

RECENT = 12  # raw samples remembered; also how long a surprise lasts before it is the new level
NEIGHBOURS = 7  # a phase is first learned as the median of so many: edges stay, spikes go
SETTLED = 16  # residuals a model needs before its scale means something
SURPRISE = 4.0  # scales; learning changes its manner here, whatever the caller's alarm threshold
LEANING = 2.0  # scales; season residuals this far to one side again and again are no noise
SMOOTH = 96  # residuals over which the scale is a mean
CLIP = 3.0  # scales; a single sample moves a model at most as far as one of this size would
GAP_RESTART = 32  # missing samples after which the old level is history
RESTART_SAMPLES = 5.0  # samples after such a gap that the level alone does not judge
FLOOR = 1e-6  # of the expected value: a still series may breathe this much
PHASES = 336  # of a season at most: half hours of a week, five minutes of a day
LEVEL_RATE = 0.15
OFFSET_RATE = 0.02
PROFILE_RATE = 0.3
MEMORY_RATE = 0.18
MEMORY_SHARE = 0.25  # a surprise of the remembered size scores 1 / this
MEMORY_DECAY = 1.0 / 2048.0
EXCUSE = 0.5  # a model on trial judges what it was off by less than this share of the error
SEASONAL = 0.03  # gain of a season that is sure to be one
ERROR_CAP = 8.0  # scales, in the contest between models

# marks of a series: samples, unit, steps since the last one, the recent ring, a restart's end
SEEN, UNIT, GAP, RECENT_CURSOR, RECENT_FILLED, RESTARTING = range(6)
# columns of `models`, one row a model: what it has learned of the next sample
OFFSET, RUN, FILLED, CURSOR, SIGMA, MEMORY, TRIAL, GAIN, LEAN = range(9)
LEARNED = 9
# columns of `seasons`, one row a model, in steps: its length, that of a phase, where its phases
# begin; and for the slow terms the length of a stretch, where those begin, how many there are
PERIOD, BIN, FIRST, SLOW_BIN, SLOW_FIRST, SLOW_BINS = range(6)
# columns of `now`, one row a model: what it makes of the sample at hand
GUESS, ERROR, WIDTH, READY, NEWS = range(5)
NOW_FIELDS = 5
# rows of `recent`
VALUE, STEP = range(2)
# values of `visits`, one a phase
UNSEEN, CALM, SURPRISED = 0.0, 1.0, 2.0

# a tenth less CPU than what LLVM inlines by itself (benchmarks/bench_anomaly.py)
step = functools.partial(inlined, inline="always")


@step
def phase_of(season: np.ndarray, at_step: int) -> int:
    """Where in profile and visits this season keeps what it knows of that step."""
    phase: int = season[FIRST] + at_step % season[PERIOD] // season[BIN]
    return phase


@step
def notice_gap(mark: np.ndarray) -> None:
    """The gap before a sample is closed; after a long one the level is learned anew."""
    if mark[GAP] >= GAP_RESTART and mark[SEEN] > 0.0:
        mark[RESTARTING] = RESTART_SAMPLES
        mark[RECENT_FILLED] = 0.0
        mark[RECENT_CURSOR] = 0.0
    mark[GAP] = 0.0


@step
def predict(
    x: float,
    any_seen: bool,
    phases: np.ndarray,
    models: np.ndarray,
    profile: np.ndarray,
    visits: np.ndarray,
    now: np.ndarray,
) -> None:
    """`now` says what each model expected, how wrong it was and how wide its usual errors are."""
    for m in range(now.shape[0]):
        base = 0.0
        now[m, READY] = 1.0 if any_seen else 0.0
        if m > 0:
            base = profile[phases[m]]
            if visits[phases[m]] == UNSEEN:
                now[m, READY] = 0.0
        model = models[m]
        guess = base + model[OFFSET]
        now[m, GUESS] = guess
        now[m, ERROR] = now[m, NEWS] = x - guess
        now[m, WIDTH] = max(model[SIGMA], MEMORY_SHARE * model[MEMORY], FLOOR * abs(guess))


@step
def choose_judge(seasons: np.ndarray, models: np.ndarray, now: np.ndarray) -> int:
    """The model that judges this sample: the best of the tried, or a closer one on trial."""
    judge = 0
    best = 0.0
    for m in range(1, seasons.shape[0]):
        tried = models[m, TRIAL] >= seasons[m, PERIOD]
        if now[m, READY] == 1.0 and tried and models[m, GAIN] > best:
            best = models[m, GAIN]
            judge = m
    for m in range(1, seasons.shape[0]):
        on_trial = (
            now[m, READY] == 1.0
            and models[m, FILLED] >= SETTLED
            and models[m, TRIAL] < seasons[m, PERIOD]
        )
        if on_trial and abs(now[m, ERROR]) < EXCUSE * abs(now[judge, ERROR]):
            judge = m
    return judge


@step
def is_seasonal(seasons: np.ndarray, models: np.ndarray) -> bool:
    """Whether a season that was tried avoids much of the level's error."""
    for m in range(1, seasons.shape[0]):
        if models[m, TRIAL] >= seasons[m, PERIOD] and models[m, GAIN] > SEASONAL:
            return True
    return False


@step
def remember(x: float, at_step: int, mark: np.ndarray, recent: np.ndarray) -> int:
    """The sample is among the recent ones; where it stands there."""
    cursor = int(mark[RECENT_CURSOR])
    recent[VALUE, cursor] = x
    recent[STEP, cursor] = float(at_step)
    mark[RECENT_CURSOR] = float((cursor + 1) % RECENT)
    mark[RECENT_FILLED] = min(mark[RECENT_FILLED] + 1.0, float(RECENT))
    return cursor


@step
def compete(seasons: np.ndarray, models: np.ndarray, now: np.ndarray) -> None:
    """Each season's gain follows the squared error it avoids, capped, against the level's."""
    narrowest = now[0, WIDTH]
    for m in range(1, seasons.shape[0]):
        if now[m, READY] == 1.0 and models[m, FILLED] >= SETTLED:
            narrowest = min(narrowest, now[m, WIDTH])
    cap = ERROR_CAP * narrowest
    for m in range(1, seasons.shape[0]):
        if now[m, READY] == 1.0 and models[m, FILLED] >= SETTLED:
            models[m, TRIAL] += 1.0
            if cap > 0.0:
                plain = min(abs(now[0, ERROR]), cap) / cap
                seasonal = min(abs(now[m, ERROR]), cap) / cap
                avoided = plain * plain - seasonal * seasonal
                models[m, GAIN] += (avoided - models[m, GAIN]) / seasons[m, PERIOD]


@step
def visit_first(
    cursor: int,
    season: np.ndarray,
    offset: float,
    recent: np.ndarray,
    profile: np.ndarray,
    visits: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """An unseen phase, NEIGHBOURS // 2 samples ago, is the median of those around it."""
    centre = int(recent[STEP, (cursor + RECENT - NEIGHBOURS // 2) % RECENT])
    phase = phase_of(season, centre)
    if visits[phase] != UNSEEN:
        return
    newest = int(recent[STEP, cursor])
    oldest = int(recent[STEP, (cursor + RECENT - NEIGHBOURS + 1) % RECENT])
    if newest - oldest < 2 * NEIGHBOURS:
        for j in range(NEIGHBOURS):
            scratch[j] = recent[VALUE, (cursor + RECENT - j) % RECENT]
        profile[phase] = median_of(scratch, NEIGHBOURS) - offset
        visits[phase] = CALM


@step
def run_on(run: float, side: float) -> float:
    """The length of a run to one side (its sign), one longer or begun anew."""
    return run + side if run * side > 0.0 else side


@step
def count_runs(error: float, surprising: bool, leaning: bool, model: np.ndarray) -> None:
    """Runs of surprising and of leaning errors are one longer, or over."""
    side = 1.0 if error > 0.0 else -1.0
    model[LEAN] = run_on(model[LEAN], side) if leaning else 0.0
    if not surprising:
        model[RUN] = 0.0
        model[MEMORY] -= MEMORY_DECAY * model[MEMORY]
        return
    if model[RUN] * side <= 0.0:
        model[MEMORY] += MEMORY_RATE * (abs(error) - model[MEMORY])
    model[RUN] = run_on(model[RUN], side)


@step
def move_level(
    move: float, mark: np.ndarray, model: np.ndarray, recent: np.ndarray, scratch: np.ndarray
) -> None:
    """The level follows the sample; a young or restarting one is the median of the recent."""
    if mark[SEEN] < RECENT or mark[RESTARTING] > 0.0:
        n_recent = int(mark[RECENT_FILLED])
        for j in range(n_recent):
            scratch[j] = recent[VALUE, j]
        model[OFFSET] = median_of(scratch, n_recent)
    else:
        model[OFFSET] += LEVEL_RATE * move


@step
def move_season(
    move: float,
    error: float,
    surprising: bool,
    phase: int,
    phase_steps: int,
    model: np.ndarray,
    profile: np.ndarray,
    visits: np.ndarray,
) -> None:
    """Offset and phase follow the sample; a phase that surprises twice running is believed."""
    model[OFFSET] += OFFSET_RATE * move
    if surprising and visits[phase] == SURPRISED and phase_steps == 1:
        profile[phase] += error
        visits[phase] = CALM
    else:
        profile[phase] += PROFILE_RATE / phase_steps * move
        visits[phase] = SURPRISED if surprising else CALM


@step
def rebase(
    m: int,
    season: np.ndarray,
    model: np.ndarray,
    recent: np.ndarray,
    profile: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """A surprise that stayed for RECENT samples is the new level."""
    for j in range(RECENT):
        scratch[j] = recent[VALUE, j]
        if m > 0:
            scratch[j] -= profile[phase_of(season, int(recent[STEP, j]))]
    model[OFFSET] = median_of(scratch, RECENT)
    model[RUN] = 0.0


@step
def widen(residual: float, model: np.ndarray, ring: np.ndarray, ranked: np.ndarray) -> None:
    """The residual is in the window, and SIGMA follows that of the window."""
    filled = int(model[FILLED])
    cursor = int(model[CURSOR])
    push(ring, ranked, filled, cursor, residual)
    filled = min(filled + 1, ring.size)
    model[FILLED] = float(filled)
    model[CURSOR] = float((cursor + 1) % ring.size)
    model[SIGMA] += (robust_sigma(ranked, filled) - model[SIGMA]) / min(filled, SMOOTH)


@step
def learn(
    x: float,
    at_step: int,
    echo: bool,
    seasons: np.ndarray,
    k: "Known",
    d: "Desk",
) -> None:
    """The sample, of which each model has said what `now` holds, is part of what they know."""
    mark, models, recent, now = k.mark, k.learned, k.recent, d.now
    profile, visits, scratch = k.profile, k.visits, d.scratch
    cursor = remember(x, at_step, mark, recent)
    compete(seasons, models, now)
    for m in range(seasons.shape[0]):
        model = models[m]
        if m > 0 and mark[RECENT_FILLED] >= NEIGHBOURS:
            visit_first(cursor, seasons[m], model[OFFSET], recent, profile, visits, scratch)
        if now[m, READY] == 0.0:
            if m == 0:
                model[OFFSET] = x
            continue
        error, width = now[m, ERROR], now[m, WIDTH]
        settled = model[FILLED] >= SETTLED
        surprising = settled and abs(error) > SURPRISE * width
        leaning = m > 0 and settled and abs(error) > LEANING * width
        move, residual = error, abs(error)
        if settled:
            move = min(max(error, -CLIP * width), CLIP * width)
            residual = min(residual, SURPRISE * width)
        count_runs(error, surprising, leaning, model)
        if m == 0:
            move_level(move, mark, model, recent, scratch)
        else:
            move_season(
                move, error, surprising, d.phases[m], seasons[m, BIN], model, profile, visits
            )
        if abs(model[RUN]) >= RECENT and mark[RECENT_FILLED] == RECENT:
            rebase(m, seasons[m], model, recent, profile, scratch)
        # the rest of a streak, or of an alarm, would widen what it stands out from
        calm = not echo or abs(error) <= LEANING * width
        if calm and abs(model[RUN]) <= 1.0 and abs(model[LEAN]) <= 1.0:
            widen(residual, model, k.rings[m], k.ranks[m])
    mark[SEEN] += 1.0
    mark[RESTARTING] = max(mark[RESTARTING] - 1.0, 0.0)
