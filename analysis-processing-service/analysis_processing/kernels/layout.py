"""Where everything that is known of one series stands: a row of float64 and one of float32.

state:  marks | models | recent | tails | means | pasts | habits | episode | levels | logs
memory: rings | ranks | profile | visits | pasts' rings | pasts' ranks | stretches | shapes
"""

from typing import NamedTuple

import numpy as np

from analysis_processing.kernels import baseline, episodes, terms
from analysis_processing.kernels.baseline import step
from analysis_processing.kernels.levels import LEVELS, LOG_FIELDS
from analysis_processing.kernels.residuals import WINDOW
from analysis_processing.kernels.tails import TAIL_FIELDS

MARKS = 6


class Known(NamedTuple):
    """The parts of a series' state and memory, as views, in the order of the drawing above."""

    mark: np.ndarray
    learned: np.ndarray
    recent: np.ndarray
    tails: np.ndarray
    means: np.ndarray
    pasts: np.ndarray
    habits: np.ndarray
    episode: np.ndarray
    levels: np.ndarray
    logs: np.ndarray
    rings: np.ndarray
    ranks: np.ndarray
    profile: np.ndarray
    visits: np.ndarray
    past_rings: np.ndarray
    past_ranks: np.ndarray
    raws: np.ndarray
    shape: np.ndarray


class Desk(NamedTuple):
    """What is worked out about one sample: room for it, used again for the next.

    now, phases, base: a row a model, see `baseline` and `terms`. judged: a column of `judgement`.
    """

    now: np.ndarray
    phases: np.ndarray
    base: np.ndarray
    scratch: np.ndarray
    verdict: np.ndarray
    judged: np.ndarray


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


@step
def cut(state: np.ndarray, memory: np.ndarray, models: int, phases: int) -> Known:
    """A series' row of state and its row of memory, cut into parts."""
    a = MARKS
    b = a + models * baseline.LEARNED
    c = b + 2 * baseline.RECENT
    d = c + 2 * models * TAIL_FIELDS
    e = d + models * terms.MEAN_FIELDS
    f = e + (models + 2) * terms.PAST_FIELDS
    g = f + terms.HABITS
    h = g + episodes.EPISODE
    i = h + 2 * LEVELS
    window, past = models * WINDOW, (models + 2) * terms.HISTORY
    j = 2 * window
    k = j + 2 * phases
    m = k + 2 * past
    n = (m + memory.size) // 2
    return Known(
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
        memory[:window].reshape(models, WINDOW),
        memory[window:j].reshape(models, WINDOW),
        memory[j : j + phases],
        memory[j + phases : k],
        memory[k : k + past].reshape(models + 2, terms.HISTORY),
        memory[k + past : m].reshape(models + 2, terms.HISTORY),
        memory[m:n],
        memory[n:],
    )


def desk_size(models: int) -> int:
    """How many float64 `lay` needs; it needs as many int64 as there are models, too."""
    return models * (baseline.NOW_FIELDS + 1) + baseline.RECENT + 3 * terms.KINDS + 4


@step
def lay(room: np.ndarray, phases: np.ndarray) -> Desk:
    """The parts of a desk."""
    models = phases.size
    a = models * baseline.NOW_FIELDS
    b = a + models
    c = b + baseline.RECENT
    d = c + 3 * terms.KINDS
    return Desk(
        room[:a].reshape(models, baseline.NOW_FIELDS),
        phases,
        room[a:b],
        room[b:c],
        room[c:d].reshape(terms.KINDS, 3),
        room[d:],
    )
