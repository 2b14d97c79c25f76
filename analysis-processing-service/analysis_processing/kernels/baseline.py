"""What a series was expected to be, sample by sample, from earlier samples only.

Each series carries a few rival models of its near future:

    model 0      level                 expected = level
    model 1 …    a season each         expected = profile[phase] + offset

Every model keeps a window of its own absolute residuals, hence its own scale. A seasonal model is
on trial for its first full period after its first: while on trial, a sample is judged by whichever
model explains it better; afterwards by the model with the smaller (capped, discounted) squared
error. So the choice of a season is causal too, and a prefix is scored as it will be for ever.

Four habits make it robust: corrections are clipped; a surprise that lasts REBASE samples is
accepted as the new level; a phase that surprises in two consecutive periods is believed; surprises
that keep coming back raise the scale until they are surprises no more.
"""

from typing import NamedTuple

import numpy as np

from analysis_processing.chassis.jit import float64, inlined, int64, kernel, types, void
from analysis_processing.kernels.residuals import median_of, push, robust_sigma

RECENT = 12  # raw samples remembered; also how long a surprise lasts before it is the new level
SMOOTHED = (
    7  # a phase is first learned as the median of this many neighbours: edges stay, spikes go
)
SETTLED = 16  # residuals a model needs before its scale means something
SURPRISE = 4.0  # scales; learning changes its manner here, whatever the caller's alarm threshold
LEANING = 2.0  # scales; season residuals this far to one side again and again are no noise
CLIP = 3.0  # scales; a single sample moves a model at most as far as one of this size would
GAP_RESTART = 32  # missing samples after which the old level is history
SCORE_MAX = 1000.0
FLOOR = 1e-4  # of the expected value: a still series may breathe this much
LEVEL_RATE = 0.15
OFFSET_RATE = 0.02
PROFILE_RATE = 0.3
MEMORY_RATE = 0.18
MEMORY_SHARE = 0.25  # a surprise of the remembered size scores 1 / this
MEMORY_DECAY = 1.0 / 2048.0
ERROR_CAP = 8.0  # scales, in the contest between models

# columns of `models`, one row a (series, model)
OFFSET, RUN, FILLED, CURSOR, SIGMA, MEMORY, TRIAL, GAIN, LEAN = range(9)
MODEL_FIELDS = 9
# columns of `marks`, one row a series
SEEN, GAP, RECENT_CURSOR, RECENT_FILLED, SETTLE = range(5)
MARK_FIELDS = 5
# values of `visits`, one a phase
UNSEEN, CALM, SURPRISED = 0.0, 1.0, 2.0

BLOCK = types.Array(float64, 2, "C")
CUBE = types.Array(float64, 3, "C")
INDEX = types.Array(int64, 1, "C")


class State(NamedTuple):
    """Everything known about a set of series, changed in place as they advance.

    periods: (models,) in steps, [0] = 0. phase_starts: (models,) where each season's phases begin
    in `profiles` and `visits`, both (series, phases). marks: (series, MARK_FIELDS). models:
    (series, models, MODEL_FIELDS). rings, ranks: (series, models, WINDOW). recent:
    (series, 2, RECENT), values and their steps.
    """

    periods: np.ndarray
    phase_starts: np.ndarray
    marks: np.ndarray
    models: np.ndarray
    rings: np.ndarray
    ranks: np.ndarray
    recent: np.ndarray
    profiles: np.ndarray
    visits: np.ndarray


class Scored(NamedTuple):
    """What is written for each sample: all (series, time)."""

    expected: np.ndarray
    scales: np.ndarray
    scores: np.ndarray


class Guess(NamedTuple):
    """What the models of one series say of one sample: all (models,). ready: 1 or 0.

    nearby: (RECENT,), scratch space for medians.
    """

    values: np.ndarray
    errors: np.ndarray
    widths: np.ndarray
    ready: np.ndarray
    nearby: np.ndarray


STATE = types.NamedTuple((INDEX, INDEX, BLOCK, CUBE, CUBE, CUBE, CUBE, BLOCK, BLOCK), State)
SCORED = types.NamedUniTuple(BLOCK, 3, Scored)


@inlined
def predict(state: State, s: int, step: int, x: float, guess: Guess) -> None:
    """`guess` holds what each model expected, and how wide its ordinary residuals are."""
    for m in range(state.periods.size):
        base = 0.0
        guess.ready[m] = 1 if state.marks[s, SEEN] > 0.0 else 0
        if m > 0:
            phase = state.phase_starts[m] + step % state.periods[m]
            base = state.profiles[s, phase]
            if state.visits[s, phase] == UNSEEN:
                guess.ready[m] = 0
        guess.values[m] = base + state.models[s, m, OFFSET]
        guess.errors[m] = x - guess.values[m]
        guess.widths[m] = max(
            state.models[s, m, SIGMA],
            MEMORY_SHARE * state.models[s, m, MEMORY],
            FLOOR * abs(guess.values[m]),
        )


@inlined
def choose_judge(state: State, s: int, guess: Guess) -> int:
    """The model that judges this sample: the best proven one, or one on trial that explains it."""
    judge = 0
    best = 0.0
    for m in range(1, state.periods.size):
        tried = state.models[s, m, TRIAL] >= state.periods[m]
        if guess.ready[m] == 1 and tried and state.models[s, m, GAIN] > best:
            best = state.models[s, m, GAIN]
            judge = m
    for m in range(1, state.periods.size):
        on_trial = (
            guess.ready[m] == 1
            and state.models[s, m, FILLED] >= SETTLED
            and state.models[s, m, TRIAL] < state.periods[m]
        )
        if on_trial and (
            abs(guess.errors[m]) * guess.widths[judge] < abs(guess.errors[judge]) * guess.widths[m]
        ):
            judge = m
    return judge


@inlined
def score_of(error: float, width: float) -> float:
    """The error in widths, within +-SCORE_MAX; any error of a series without width is that far."""
    score = 0.0
    if error != 0.0:
        score = error / width if width > 0.0 else np.inf * np.sign(error)
    return min(max(score, -SCORE_MAX), SCORE_MAX)


@inlined
def remember(state: State, s: int, step: int, x: float) -> None:
    """The raw sample is among the recent ones."""
    mark = state.marks[s]
    cursor = int(mark[RECENT_CURSOR])
    state.recent[s, 0, cursor] = x
    state.recent[s, 1, cursor] = float(step)
    mark[RECENT_CURSOR] = float((cursor + 1) % RECENT)
    mark[RECENT_FILLED] = min(mark[RECENT_FILLED] + 1.0, float(RECENT))


@inlined
def weigh_seasons(state: State, s: int, guess: Guess) -> None:
    """The contest: each season's gain moved by the errors it avoids."""
    narrowest = guess.widths[0]
    for m in range(1, state.periods.size):
        if guess.ready[m] == 1 and state.models[s, m, FILLED] >= SETTLED:
            narrowest = min(narrowest, guess.widths[m])
    for m in range(1, state.periods.size):
        model = state.models[s, m]
        if guess.ready[m] == 1 and model[FILLED] >= SETTLED:
            model[TRIAL] += 1.0
            cap = ERROR_CAP * narrowest
            if cap > 0.0:
                plain = min(abs(guess.errors[0]), cap) / cap
                seasonal = min(abs(guess.errors[m]), cap) / cap
                avoided = plain * plain - seasonal * seasonal
                model[GAIN] += (avoided - model[GAIN]) / state.periods[m]


@inlined
def learn_first_visit(state: State, s: int, m: int, step: int, guess: Guess) -> None:
    """A phase that was never seen is the median of its neighbours: edges stay, spikes go."""
    if state.marks[s, RECENT_FILLED] < SMOOTHED:
        return
    recent = state.recent[s]
    cursor = int(state.marks[s, RECENT_CURSOR]) + RECENT - 1  # of the newest
    oldest = int(recent[1, (cursor + RECENT - SMOOTHED + 1) % RECENT])
    centre = int(recent[1, (cursor + RECENT - SMOOTHED // 2) % RECENT])
    phase = state.phase_starts[m] + centre % state.periods[m]
    if state.visits[s, phase] == UNSEEN and step - oldest < 2 * SMOOTHED:
        for j in range(SMOOTHED):
            guess.nearby[j] = recent[0, (cursor + RECENT - j) % RECENT]
        median = median_of(guess.nearby, SMOOTHED)
        state.profiles[s, phase] = median - state.models[s, m, OFFSET]
        state.visits[s, phase] = CALM


@inlined
def count_streaks(model: np.ndarray, error: float, surprising: bool, leaning: bool) -> None:
    """LEAN and RUN count to which side, and for how long; MEMORY is the size of surprises."""
    side = 1.0 if error > 0.0 else -1.0
    # a season that is missed for a while leans to one side
    if not leaning:
        model[LEAN] = 0.0
    elif model[LEAN] * side > 0.0:
        model[LEAN] += side
    else:
        model[LEAN] = side
    if not surprising:
        model[RUN] = 0.0
        model[MEMORY] -= MEMORY_DECAY * model[MEMORY]
    elif model[RUN] * side > 0.0:
        model[RUN] += side
    else:
        model[RUN] = side
        model[MEMORY] += MEMORY_RATE * (abs(error) - model[MEMORY])


@inlined
def move_level(state: State, s: int, move: float, guess: Guess) -> None:
    """The level is the median of a young series, and follows an older one slowly."""
    mark = state.marks[s]
    if mark[SEEN] >= RECENT and mark[SETTLE] <= 0.0:
        state.models[s, 0, OFFSET] += LEVEL_RATE * move
        return
    n_recent = int(mark[RECENT_FILLED])
    for j in range(n_recent):
        guess.nearby[j] = state.recent[s, 0, j]
    state.models[s, 0, OFFSET] = median_of(guess.nearby, n_recent)


@inlined
def move_season(  # noqa: PLR0917  numba passes by position
    state: State, s: int, m: int, step: int, error: float, move: float, surprising: bool
) -> None:
    """Offset and phase follow; a phase that surprises in two periods in a row is believed."""
    phase = state.phase_starts[m] + step % state.periods[m]
    state.models[s, m, OFFSET] += OFFSET_RATE * move
    if surprising and state.visits[s, phase] == SURPRISED:
        state.profiles[s, phase] += error
        state.visits[s, phase] = CALM
    else:
        state.profiles[s, phase] += PROFILE_RATE * move
        state.visits[s, phase] = SURPRISED if surprising else CALM


@inlined
def accept_level(state: State, s: int, m: int, guess: Guess) -> None:
    """A surprise that stays is the new level."""
    for j in range(RECENT):
        guess.nearby[j] = state.recent[s, 0, j]
        if m > 0:
            past = int(state.recent[s, 1, j])
            phase = state.phase_starts[m] + past % state.periods[m]
            guess.nearby[j] -= state.profiles[s, phase]
    state.models[s, m, OFFSET] = median_of(guess.nearby, RECENT)
    state.models[s, m, RUN] = 0.0


@inlined
def learn(state: State, s: int, m: int, step: int, guess: Guess) -> None:
    """Model m knows this sample: its streaks, its centre, then its width."""
    model = state.models[s, m]
    error = guess.errors[m]
    move = error
    residual = abs(error)
    surprising = False
    leaning = False
    if model[FILLED] >= SETTLED:
        width = guess.widths[m]
        surprising = abs(error) > SURPRISE * width
        leaning = m > 0 and abs(error) > LEANING * width
        move = min(max(error, -CLIP * width), CLIP * width)
        residual = min(residual, SURPRISE * width)
    count_streaks(model, error, surprising, leaning)
    if m == 0:
        move_level(state, s, move, guess)
    else:
        move_season(state, s, m, step, error, move, surprising)
    if abs(model[RUN]) >= RECENT and state.marks[s, RECENT_FILLED] == RECENT:
        accept_level(state, s, m, guess)
    # the rest of a streak would widen what it stands out from
    if abs(model[RUN]) <= 1.0 and abs(model[LEAN]) <= 1.0:
        filled = int(model[FILLED])
        at = int(model[CURSOR])
        push(state.rings[s, m], state.ranks[s, m], filled, at, residual)
        filled = min(filled + 1, state.rings.shape[2])
        model[FILLED] = float(filled)
        model[CURSOR] = float((at + 1) % state.rings.shape[2])
        model[SIGMA] = robust_sigma(state.ranks[s, m], filled)


@kernel(void(BLOCK, int64, int64, STATE, SCORED))
def advance(
    values: np.ndarray, first_step: int, warm_up: int, state: State, scored: Scored
) -> None:
    """`scored` holds the judgement of every sample; `state` moved on.

    values: (series, time), NaN or infinite = no sample; column i is step `first_step + i` since
    the epoch. Scored is NaN where there is no sample, in the warm-up and while a series settles
    after a long gap. A score is (value - expected) / scale, within +-SCORE_MAX.
    """
    n_models = state.periods.size
    guess = Guess(
        np.zeros(n_models),
        np.zeros(n_models),
        np.zeros(n_models),
        np.zeros(n_models, dtype=np.int64),
        np.zeros(RECENT),
    )
    for s in range(values.shape[0]):
        mark = state.marks[s]
        for i in range(values.shape[1]):
            x = values[s, i]
            scored.expected[s, i] = np.nan
            scored.scales[s, i] = np.nan
            scored.scores[s, i] = np.nan
            if not np.isfinite(x):
                mark[GAP] += 1.0
                continue
            step = first_step + i
            if mark[GAP] >= GAP_RESTART and mark[SEEN] > 0.0:
                mark[SETTLE] = 5.0
                mark[RECENT_FILLED] = 0.0
                mark[RECENT_CURSOR] = 0.0
            mark[GAP] = 0.0
            predict(state, s, step, x, guess)
            judge = choose_judge(state, s, guess)
            settling = mark[SETTLE] > 0.0 and judge == 0
            if mark[SEEN] >= warm_up and not settling:
                scored.expected[s, i] = guess.values[judge]
                scored.scales[s, i] = guess.widths[judge]
                scored.scores[s, i] = score_of(guess.errors[judge], guess.widths[judge])
            remember(state, s, step, x)
            weigh_seasons(state, s, guess)
            for m in range(n_models):
                if m > 0:
                    learn_first_visit(state, s, m, step, guess)
                if guess.ready[m] == 1:
                    learn(state, s, m, step, guess)
                elif m == 0:
                    state.models[s, 0, OFFSET] = x
            mark[SEEN] += 1.0
            mark[SETTLE] = max(mark[SETTLE] - 1.0, 0.0)
