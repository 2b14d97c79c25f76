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

import numpy as np

from analysis_processing.chassis.jit import float64, int64, kernel, types, void
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


@kernel(
    void(
        BLOCK,
        int64,
        INDEX,
        INDEX,
        int64,
        BLOCK,
        CUBE,
        CUBE,
        CUBE,
        CUBE,
        BLOCK,
        BLOCK,
        BLOCK,
        BLOCK,
        BLOCK,
    )
)
def advance(  # noqa: PLR0917  numba passes by position
    values: np.ndarray,
    first_step: int,
    periods: np.ndarray,
    phase_starts: np.ndarray,
    warm_up: int,
    marks: np.ndarray,
    models: np.ndarray,
    rings: np.ndarray,
    ranks: np.ndarray,
    recent: np.ndarray,
    profiles: np.ndarray,
    visits: np.ndarray,
    expected: np.ndarray,
    scales: np.ndarray,
    scores: np.ndarray,
) -> None:
    """`expected`, `scales` and signed `scores` hold the judgement of every sample; state moved on.

    values: (series, time), NaN or infinite = no sample; column i is step `first_step + i` since
    the epoch. periods: (models,) in steps, [0] = 0. phase_starts: (models,) where each season's
    phases begin in `profiles` and `visits` (series, phases). marks: (series, MARK_FIELDS).
    models: (series, models, MODEL_FIELDS). rings, ranks: (series, models, WINDOW).
    recent: (series, 2, RECENT): values, and their steps. Out arrays have the shape of `values`:
    NaN where there is no sample, in the warm-up and while a series settles after a long gap.
    A score is (value - expected) / scale, within +-SCORE_MAX.
    """
    n_models = periods.size
    guesses = np.zeros(n_models)
    errors = np.zeros(n_models)
    widths = np.zeros(n_models)
    ready = np.zeros(n_models, dtype=np.int64)
    scratch = np.zeros(RECENT)
    for s in range(values.shape[0]):
        mark = marks[s]
        profile = profiles[s]
        visited = visits[s]
        for i in range(values.shape[1]):
            x = values[s, i]
            expected[s, i] = np.nan
            scales[s, i] = np.nan
            scores[s, i] = np.nan
            if not np.isfinite(x):
                mark[GAP] += 1.0
                continue
            step = first_step + i
            if mark[GAP] >= GAP_RESTART and mark[SEEN] > 0.0:
                mark[SETTLE] = 5.0
                mark[RECENT_FILLED] = 0.0
                mark[RECENT_CURSOR] = 0.0
            mark[GAP] = 0.0

            # what each model expected, and how wide its ordinary residuals are
            for m in range(n_models):
                base = 0.0
                ready[m] = 1 if mark[SEEN] > 0.0 else 0
                if m > 0:
                    phase = phase_starts[m] + step % periods[m]
                    base = profile[phase]
                    if visited[phase] == UNSEEN:
                        ready[m] = 0
                guesses[m] = base + models[s, m, OFFSET]
                errors[m] = x - guesses[m]
                widths[m] = max(
                    models[s, m, SIGMA],
                    MEMORY_SHARE * models[s, m, MEMORY],
                    FLOOR * abs(guesses[m]),
                )

            # the model that judges this sample
            judge = 0
            best = 0.0
            for m in range(1, n_models):
                tried = models[s, m, TRIAL] >= periods[m]
                if ready[m] == 1 and tried and models[s, m, GAIN] > best:
                    best = models[s, m, GAIN]
                    judge = m
            for m in range(1, n_models):
                on_trial = (
                    ready[m] == 1
                    and models[s, m, FILLED] >= SETTLED
                    and models[s, m, TRIAL] < periods[m]
                )
                if on_trial and abs(errors[m]) * widths[judge] < abs(errors[judge]) * widths[m]:
                    judge = m
            width = widths[judge]
            score = 0.0
            if errors[judge] != 0.0:
                score = errors[judge] / width if width > 0.0 else np.inf * np.sign(errors[judge])
            score = min(max(score, -SCORE_MAX), SCORE_MAX)
            settling = mark[SETTLE] > 0.0 and judge == 0
            if mark[SEEN] >= warm_up and not settling:
                expected[s, i] = guesses[judge]
                scales[s, i] = width
                scores[s, i] = score

            # remember the raw sample
            cursor = int(mark[RECENT_CURSOR])
            recent[s, 0, cursor] = x
            recent[s, 1, cursor] = float(step)
            mark[RECENT_CURSOR] = float((cursor + 1) % RECENT)
            mark[RECENT_FILLED] = min(mark[RECENT_FILLED] + 1.0, float(RECENT))
            n_recent = int(mark[RECENT_FILLED])

            # the contest: a season earns its place by the errors it avoids
            narrowest = widths[0]
            for m in range(1, n_models):
                if ready[m] == 1 and models[s, m, FILLED] >= SETTLED:
                    narrowest = min(narrowest, widths[m])
            for m in range(1, n_models):
                if ready[m] == 1 and models[s, m, FILLED] >= SETTLED:
                    models[s, m, TRIAL] += 1.0
                    cap = ERROR_CAP * narrowest
                    if cap > 0.0:
                        plain = min(abs(errors[0]), cap) / cap
                        seasonal = min(abs(errors[m]), cap) / cap
                        avoided = plain * plain - seasonal * seasonal
                        models[s, m, GAIN] += (avoided - models[s, m, GAIN]) / periods[m]

            # each model learns
            for m in range(n_models):
                model = models[s, m]
                phase = 0
                if m > 0 and n_recent >= SMOOTHED:  # a first visit, seen with its neighbours
                    for j in range(SMOOTHED):
                        scratch[j] = recent[s, 0, (cursor + RECENT - j) % RECENT]
                    oldest = int(recent[s, 1, (cursor + RECENT - SMOOTHED + 1) % RECENT])
                    centre = int(recent[s, 1, (cursor + RECENT - SMOOTHED // 2) % RECENT])
                    phase = phase_starts[m] + centre % periods[m]
                    if visited[phase] == UNSEEN and step - oldest < 2 * SMOOTHED:
                        profile[phase] = median_of(scratch, SMOOTHED) - model[OFFSET]
                        visited[phase] = CALM
                if ready[m] == 0:
                    if m == 0:
                        model[OFFSET] = x
                    continue
                if m > 0:
                    phase = phase_starts[m] + step % periods[m]
                error = errors[m]
                settled = model[FILLED] >= SETTLED
                reach = CLIP * widths[m]
                surprising = settled and abs(error) > SURPRISE * widths[m]
                move = error
                residual = abs(error)
                if settled:
                    move = min(max(error, -reach), reach)
                    residual = min(residual, SURPRISE * widths[m])
                # a season that is missed for a while leans to one side
                leaning = m > 0 and settled and abs(error) > LEANING * widths[m]
                side = 1.0 if error > 0.0 else -1.0
                if not leaning:
                    model[LEAN] = 0.0
                elif model[LEAN] * side > 0.0:
                    model[LEAN] += side
                else:
                    model[LEAN] = side
                # runs of surprises to one side
                if surprising:
                    if model[RUN] * side > 0.0:
                        model[RUN] += side
                    else:
                        model[RUN] = side
                        model[MEMORY] += MEMORY_RATE * (abs(error) - model[MEMORY])
                else:
                    model[RUN] = 0.0
                    model[MEMORY] -= MEMORY_DECAY * model[MEMORY]
                # the centre
                if m == 0 and (mark[SEEN] < RECENT or mark[SETTLE] > 0.0):
                    for j in range(n_recent):
                        scratch[j] = recent[s, 0, j]
                    model[OFFSET] = median_of(scratch, n_recent)
                elif m == 0:
                    model[OFFSET] += LEVEL_RATE * move
                else:
                    model[OFFSET] += OFFSET_RATE * move
                    if surprising and visited[phase] == SURPRISED:
                        profile[phase] += error
                        visited[phase] = CALM
                    else:
                        profile[phase] += PROFILE_RATE * move
                        visited[phase] = SURPRISED if surprising else CALM
                # a surprise that stays is the new level
                if abs(model[RUN]) >= RECENT and n_recent == RECENT:
                    for j in range(RECENT):
                        scratch[j] = recent[s, 0, j]
                        if m > 0:
                            past = int(recent[s, 1, j])
                            scratch[j] -= profile[phase_starts[m] + past % periods[m]]
                    model[OFFSET] = median_of(scratch, RECENT)
                    model[RUN] = 0.0
                # the width
                # the rest of a streak would widen what it stands out from
                if abs(model[RUN]) <= 1.0 and abs(model[LEAN]) <= 1.0:
                    filled = int(model[FILLED])
                    at = int(model[CURSOR])
                    push(rings[s, m], ranks[s, m], filled, at, residual)
                    filled = min(filled + 1, rings.shape[2])
                    model[FILLED] = float(filled)
                    model[CURSOR] = float((at + 1) % rings.shape[2])
                    model[SIGMA] = robust_sigma(ranks[s, m], filled)
            mark[SEEN] += 1.0
            mark[SETTLE] = max(mark[SETTLE] - 1.0, 0.0)
