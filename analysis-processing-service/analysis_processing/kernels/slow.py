"""The slow terms judged by their own past, and what becomes the new usual of them."""

# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from analysis_processing.chassis.jit import inlined
from analysis_processing.kernels import baseline, terms
from analysis_processing.kernels import levels as places
from analysis_processing.kernels.layout import Desk, Known


@inlined
def choose_reference(
    x: float,
    seasons: np.ndarray,
    learned: np.ndarray,
    pasts: np.ndarray,
    levels: np.ndarray,
    base: np.ndarray,
) -> tuple[int, float, float]:
    """What the means are compared with: the model (0: the levels); how far is no news; its lean.

    base[0] is the level nearest to `x`. A series rests on levels unless a season explains it; then
    what lies as near to one of them as half of the distance of the farthest is no news. lean: see
    `terms.narrowest`.
    """
    base[0], room = places.nearest_level(x, levels)
    lean = terms.RESTING if room > 0.0 else 1.0
    if baseline.is_seasonal(seasons, learned):
        lean = terms.SEASONAL
    ours = max(terms.narrowest(pasts, seasons.shape[0], lean), 0)
    if ours > 0 or lean > 1.0:
        room = 0.0
    return ours, room, lean


@inlined
def settle(
    at: float,
    width: float,
    base: np.ndarray,
    mean: np.ndarray,
    past: np.ndarray,
    levels: np.ndarray,
) -> None:
    """A level that is known only now is the reference, and its mean as usual."""
    level, _ = places.nearest_level(at, levels)
    if abs(level - base[0]) > places.APART * width:
        base[0] = level
        mean[terms.MEAN] = mean[terms.LONG] + past[terms.CENTRE]
        past[terms.NOW] = past[terms.CENTRE]


@inlined
def accept(at: float, width: float, seasons: np.ndarray, k: Known, d: Desk) -> None:
    """Where the means stand now is where they belong, for every season. at: the level."""
    means, pasts = k.means, k.pasts
    places.stay_at(at, width, places.ACCEPTED_SHARE * k.levels[:, places.STAY].sum(), k.levels)
    settle(at, width, d.base, means[0], pasts[0], k.levels)
    for m in range(seasons.shape[0]):
        move = pasts[m, terms.NOW] - pasts[m, terms.CENTRE]
        first = seasons[m, baseline.SLOW_FIRST]
        for at_stretch in range(first, first + seasons[m, baseline.SLOW_BINS]):
            k.raws[at_stretch] += np.float32(move)
        means[m, terms.SUM] += move * means[m, terms.BINS]
        means[m, terms.LONG] += move


@inlined
def judge_slow(
    at_step: int,
    room: float,
    lean: float,
    width: float,
    rules: np.ndarray,
    seasons: np.ndarray,
    k: Known,
    d: Desk,
) -> None:
    """SHIFT or DRIFT, SPREAD, RHYTHM; what lasts as long as ACCEPTED is the new usual."""
    means, pasts, habits, base, verdict = k.means, k.pasts, k.habits, d.base, d.verdict
    models = means.shape[0]
    m = terms.narrowest(pasts, models, lean)
    if m < 0:
        habits[terms.QUIET_STEP] = float(at_step)
    else:
        narrow = rules[terms.NARROW] * width
        over = terms.excess(pasts[m], rules[terms.KEEN], max(narrow, room) if m == 0 else narrow)
        if abs(over) < terms.QUIET:
            habits[terms.QUIET_STEP] = float(at_step)
        slow = at_step - habits[terms.QUIET_STEP] > rules[terms.SUDDEN]
        if habits[terms.SHIFTED] > 0.0:
            slow = habits[terms.SHIFTED] > 1e9
        kind = terms.DRIFT if slow else terms.SHIFT
        verdict[kind, terms.SEVERITY] = over
        verdict[kind, terms.USUAL] = base[m] + means[m, terms.LONG] + pasts[m, terms.CENTRE]
        verdict[kind, terms.SHOWN] = base[m] + means[m, terms.MEAN]
        if abs(over) < 1.0:
            habits[terms.SHIFTED] = 0.0
        elif habits[terms.SHIFTED] == 0.0:
            habits[terms.SHIFTED] = 2e9 if slow else 1.0
        else:
            habits[terms.SHIFTED] += 1.0
        if habits[terms.SHIFTED] % 1e9 > rules[terms.ACCEPTED]:
            habits[terms.SHIFTED] = 0.0
            accept(k.learned[0, baseline.OFFSET], width, seasons, k, d)
    wide = 0.0
    for kind in (terms.SPREAD, terms.RHYTHM):
        past = pasts[models + (kind == terms.RHYTHM)]
        verdict[kind, terms.SEVERITY] = terms.excess(
            past, rules[terms.KEEN], rules[terms.NARROW_LOG]
        )
        verdict[kind, terms.USUAL], verdict[kind, terms.SHOWN] = (
            np.exp(past[terms.CENTRE]),
            np.exp(past[terms.NOW]),
        )
        wide = max(wide, abs(verdict[kind, terms.SEVERITY]))
    habits[terms.SPREADING] = habits[terms.SPREADING] + 1.0 if wide >= 1.0 else 0.0
    if (
        habits[terms.SPREADING] > rules[terms.ACCEPTED]
        and verdict[terms.STUCK, terms.SEVERITY] < 1.0
    ):
        habits[terms.SPREADING] = 0.0
        pasts[models, terms.FILLED] = pasts[models + 1, terms.FILLED] = 0.0
        pasts[models, terms.CURSOR] = pasts[models + 1, terms.CURSOR] = 0.0
