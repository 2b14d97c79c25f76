"""Steps that alarm, joined into episodes: one alarm each, with its kind, start, peak and numbers.

    none ──alarming step──▶ open ──more than REFRACTORY quiet steps──▶ closed: an event
                            └─ at the end of a call, if it grew ─▶ an event

An episode lasts until the means are back too, or for ACCEPTED steps more: an outage and its return
are one. One that shows several kinds is called by the one that says most; its start never moves. A
series that cries more than FREE_CRIES times in CRIES_DAYS backs off: its limits rise above that.
"""

# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

from typing import TYPE_CHECKING

import numpy as np

from analysis_processing.chassis.jit import inlined
from analysis_processing.kernels import terms
from analysis_processing.kernels.tails import SCORE_MAX

if TYPE_CHECKING:
    from analysis_processing.kernels.layout import Desk, Known

LARGEST = 1.7e308
FREE_CRIES = (
    2.0  # in CRIES_DAYS; with one more the limits are LOUDER times as far as the cries usually go
)
LOUDER = 1.5
CRIES_DAYS = 2.0  # until a cry counts for a third of one
YOUNG_DAYS = 2.5
# so many times more far lie the limits of a series that begins: of a far sample, whose tail is
# cautious by itself, and of what slow terms see; none after YOUNG_DAYS
FAR_CAUTION, SLOW_CAUTION = 1.0, 8.0

# an episode, and a row of `events` with the series and whether it is over in front
OPEN, KIND, SINCE, END, PEAK, SIZE, VALUE, EXPECT, BELOW, ABOVE, SIGN, USED, SEEN_NOW = range(13)
CHANGED, NEW, BEFORE = range(13, 16)
EPISODE = 16
EVENT = EPISODE + 2


@inlined
def bounded(x: float, unit: float) -> float:
    """`x` units as a number that is finite."""
    number: float = min(max(x / unit, -LARGEST), LARGEST)
    return number


@inlined
def backed_off(habits: np.ndarray) -> float:
    """How many times as far the limits of a series lie because it cries often."""
    often = min(max(habits[terms.CRIES] - FREE_CRIES, 0.0), 1.0)
    louder: float = 1.0 + often * max(LOUDER * habits[terms.LOUDNESS] - 1.0, 0.0)
    return louder


@inlined
def caution(most: float, at_step: int, rules: np.ndarray, habits: np.ndarray) -> float:
    """How many times as far limits lie because the series is younger than YOUNG_DAYS."""
    left: float = max(1.0 - (at_step - habits[terms.BORN]) / (YOUNG_DAYS * rules[terms.DAY]), 0.0)
    return 1.0 + most * left * left


@inlined
def count_cry(at_step: int, rules: np.ndarray, habits: np.ndarray, verdict: np.ndarray) -> None:
    """A step that would be an alarm without the back-off begins a cry, or belongs to one."""
    severity = 0.0
    for kind in (terms.SPIKE, terms.SHIFT, terms.SPREAD):
        severity = max(severity, min(abs(verdict[kind, terms.SEVERITY]), 100.0))
    if severity < 1.0:
        return
    if habits[terms.CRIED] == 0.0 or at_step - habits[terms.CRIED] > rules[terms.REFRACTORY]:
        habits[terms.CRIES] += 1.0
        habits[terms.LOUDNESS] += 0.3 * (severity - habits[terms.LOUDNESS])
    habits[terms.LOUDNESS] = max(habits[terms.LOUDNESS], 0.9 * severity)
    habits[terms.CRIED] = at_step


@inlined
def severity_of(
    louder: float, slower: float, rules: np.ndarray, verdict: np.ndarray
) -> tuple[float, int]:
    """The largest severity on the side that matters, and the kind that names it; 0 for no alarm.

    louder, slower: how many times as far the limits of a far sample, and of slow terms, lie.
    """
    worst, naming = 0.0, 0
    for kind in range(1, terms.KINDS):
        severity = verdict[kind, terms.SEVERITY]
        farther = louder if kind == terms.SPIKE else slower
        if kind < terms.STUCK:
            severity = 0.0 if severity * rules[terms.SIDE] < 0.0 else severity / farther
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
    for field in range(EPISODE):
        events[count, 2 + field] = episode[field]
    if episode[KIND] < terms.STUCK:
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
    k: "Known",
    d: "Desk",
) -> None:
    """The alarming step belongs to the open episode, or opens one."""
    habits, episode, verdict, judged = k.habits, k.episode, d.verdict, d.judged
    if episode[OPEN] == 0.0:
        start = float(at_step)
        if kind in (terms.SHIFT, terms.DRIFT):
            start = habits[terms.QUIET_STEP] + 1.0
        elif kind >= terms.STUCK:
            start = at_step - verdict[kind, terms.SHOWN] + 1.0
        episode[SINCE] = min(max(start, episode[BEFORE] + 1.0), float(at_step))
        episode[OPEN], episode[NEW], episode[KIND], episode[SIZE] = 1.0, 1.0, 0.0, 0.0
    if kind > episode[KIND] and not (kind == terms.SHIFT and episode[KIND] == terms.DRIFT):
        episode[KIND] = kind
        episode[USED], episode[SEEN_NOW] = verdict[kind, terms.USUAL], verdict[kind, terms.SHOWN]
        episode[SIGN] = np.sign(verdict[kind, terms.SEVERITY])
    ours = int(episode[KIND])
    if abs(verdict[ours, terms.SEVERITY]) >= severity or ours >= terms.STUCK:
        episode[USED], episode[SEEN_NOW] = verdict[ours, terms.USUAL], verdict[ours, terms.SHOWN]
    if severity > episode[SIZE]:
        episode[SIZE], episode[PEAK], episode[VALUE] = severity, at_step, raw
        episode[EXPECT], episode[BELOW], episode[ABOVE] = judged[0], judged[1], judged[2]
    episode[END] = episode[BEFORE] = at_step
    episode[CHANGED] = 1.0


@inlined
def follow(
    row: int,
    at_step: int,
    raw: float,
    severity: float,
    naming: int,
    rules: np.ndarray,
    k: "Known",
    d: "Desk",
    unit: float,
    events: np.ndarray,
    count: int,
) -> int:
    """The series' episode after this step: opened, lengthened or closed; how many events."""
    episode, habits = k.episode, k.habits
    quiet = at_step - episode[END]
    returned = habits[terms.QUIET_STEP] > episode[END] or quiet > rules[terms.ACCEPTED]
    if episode[OPEN] > 0.0 and quiet > rules[terms.REFRACTORY] and returned:
        count = emit(row, True, unit, episode, events, count)
    if naming > 0:
        lengthen(at_step, raw, severity, naming, k, d)
    return count
