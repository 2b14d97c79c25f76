"""When an alert would have been pending and firing: its expression's past × the state machine.

    start − for            start                                            end
      ├─ only looked at ────┼── pending ──┬───── firing ─────┬──── nothing ──┤

One range query answers the expression at every evaluation, from `for` before the start, so that
what was pending then is known. Templates ask no queries here: each would be one more for each step.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from data_api import gotemplate
from data_api.errors import BadRequest
from data_api.gotemplate.errors import CallFailed
from data_api.model import Labels, QueryLimits, Result
from data_api.rules import alerting, templates, vectors
from data_api.rules.alerting import AlertState, Phase, RuleError
from data_api.rules.model import AlertingRule, Expand, LabelKey, Vector
from data_api.rules.templates import Texts

POINTS_MAX: Final = 11_000  # evaluations of one back-test, those before its start included
ALERTS_MAX: Final = 1_000  # at one time, as in one answer
INTERVALS_MAX: Final = 50_000
TEXT_STEPS_MAX: Final = 50_000_000  # of all templates; its deadline ends a query long before
ENDLESS: Final = 2**62  # of text that is not kept


@dataclass(slots=True)
class Interval:
    """A time in one phase; value: of the expression when it began; end: the first evaluation at
    which it was over, or the last one.
    """

    phase: Phase
    start_ms: int
    end_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class History:
    """One alert. annotations: as they were when it was first seen."""

    labels: LabelKey
    annotations: LabelKey
    intervals: list[Interval]


def steps(rule: AlertingRule, start_ms: int, end_ms: int, step_ms: int) -> tuple[int, int, int]:
    """(start, end, step) of the range query. Raises BadRequest: too many evaluations."""
    lead = -(-rule.for_ms // step_ms)
    if (points := lead + (end_ms - start_ms) // step_ms + 1) > POINTS_MAX:
        detail = "too many evaluations, with those of `for` before the start: raise the step"
        raise BadRequest(detail=detail, evaluations=points, limit=POINTS_MAX)
    return start_ms - lead * step_ms, end_ms, step_ms


def histories(
    rule: AlertingRule,
    result: Result,
    start_ms: int,
    limits: QueryLimits = QueryLimits(),  # noqa: B008 - frozen
) -> list[History]:
    """Every alert that was pending or fired from `start_ms` on, by labels.

    Raises RuleError as an evaluation does, and for more alerts or intervals than an answer has.
    """
    by_labels: dict[LabelKey, History] = {}
    running: dict[LabelKey, Interval] = {}
    state = AlertState()
    expand = _expander(rule, limits, ENDLESS)
    annotate = _expander(rule, limits, templates.CHARS_MAX)
    bare = replace(rule, annotations={})  # expanded once an alert, not once an evaluation
    begun = 0
    for at_ms, vector in vectors.of_steps(result):
        limits.checkpoint()
        state, _, _ = alerting.step(bare, state, vector, at_ms, expand, limit=ALERTS_MAX)
        if at_ms < start_ms:
            continue
        active = {k: one for k, one in state.alerts.items() if one.phase is not Phase.INACTIVE}
        if new := active.keys() - by_labels.keys():
            texts = _annotations(rule, vector, new, expand, annotate)
            by_labels |= {key: History(key, texts.get(key, ()), []) for key in new}
        for key in running.keys() - active.keys():
            running.pop(key).end_ms = at_ms
        for key, alert in active.items():
            last = running.get(key)
            if last is not None:
                last.end_ms = at_ms
            if last is None or last.phase is not alert.phase:
                running[key] = Interval(alert.phase, at_ms, at_ms, alert.value)
                by_labels[key].intervals.append(running[key])
                begun += 1
        if len(by_labels) > ALERTS_MAX or begun > INTERVALS_MAX:
            reason = f"more than {ALERTS_MAX} alerts or {INTERVALS_MAX} intervals"
            raise RuleError(reason=f"{reason}: narrow the rule, or shorten the time")
    return [by_labels[key] for key in sorted(by_labels)]


def _expander(rule: AlertingRule, limits: QueryLimits, chars_max: int) -> Expand:
    """Expands templates of the rule as long as the query may go on."""
    texts = Texts(rule.alert, _no_query, allowance=gotemplate.Allowance(TEXT_STEPS_MAX, chars_max))

    def expand(text: str, labels: Labels, value: float) -> str:
        limits.checkpoint()
        return texts.expand(text, labels, value)

    return expand


def _annotations(
    rule: AlertingRule, vector: Vector, new: Collection[LabelKey], expand: Expand, annotate: Expand
) -> dict[LabelKey, LabelKey]:
    """Of those alerts of the vector that are new, by their labels."""
    of_alerts = ((alerting.labels_of(rule, *one, expand), one) for one in vector)
    return {
        key: alerting.annotations_of(rule, *one, annotate) for key, one in of_alerts if key in new
    }


def _no_query(_: str) -> gotemplate.QueryResult:
    raise CallFailed("a back-test asks no queries of templates")
