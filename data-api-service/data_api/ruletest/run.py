"""Cases × engine and state machine → what differs, in promtool's words.

Every group is evaluated each `evaluation_interval`, whatever its own interval, and an alert is
looked at after the last evaluation that is not later than its `eval_time`.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from data_api import promql
from data_api.chassis.kinds import ServiceError
from data_api.errors import BadRequest, QueryError
from data_api.gotemplate import QueryResult
from data_api.gotemplate.errors import CallFailed
from data_api.gotemplate.formatting import quote
from data_api.model import METRIC_NAME, Columns, Labels, Result, Scalar, String
from data_api.native_histogram import Histogram
from data_api.promql.printer import format_duration
from data_api.promqltest.check import Point, agree, rows_of, run_query
from data_api.promqltest.literals import Literal
from data_api.promqltest.memory_store import MemoryStore
from data_api.promqltest.script import Series
from data_api.rules import alerting, recording, vectors
from data_api.rules.alerting import AlertState, Phase
from data_api.rules.model import (
    AlertingRule,
    Group,
    LabelKey,
    RecordingRule,
    Sample,
    Vector,
    label_key,
)
from data_api.rules.templates import Texts
from data_api.rules.views import format_exponent
from data_api.ruletest.suite import AlertTest, Case, ExprTest, Suite

Firing = list[tuple[LabelKey, LabelKey]]


def problems(suite: Suite, groups: Sequence[Group], case: Case) -> list[str]:
    """What differs from what the case wants, one text each."""
    return _Run(suite, groups, case).problems()


class _Run:
    def __init__(self, suite: Suite, groups: Sequence[Group], case: Case) -> None:
        self._suite, self._case = suite, case
        self._store = MemoryStore()
        self._rules = [rule for group in groups for rule in group.labelled()]
        self._limits = [group.limit for group in groups for _ in group.rules]
        self._states = [AlertState() for _ in self._rules]
        self._failed: list[str] = []

    def problems(self) -> list[str]:
        case, every_ms = self._case, self._suite.evaluation_interval
        for one in case.input_series:
            step_ms = every_ms if case.interval is None else case.interval
            self._store.add(Series(one.series, one.values), step_ms, case.start_timestamp)
        waiting = sorted(case.alert_rule_test, key=lambda test: test.eval_time)
        times = [test.eval_time for test in waiting]
        times += [test.eval_time for test in case.promql_expr_test]
        wrong: list[str] = []
        for after_ms in range(0, max(times, default=0) + 1, every_ms):
            self._evaluate(case.start_timestamp + after_ms)
            while waiting and waiting[0].eval_time < after_ms + every_ms:
                wrong += self._alert_problem(waiting.pop(0))
        wrong += [p for test in case.promql_expr_test for p in self._expr_problem(test)]
        return self._failed + wrong

    def _evaluate(self, at_ms: int) -> None:
        for index, (rule, limit) in enumerate(zip(self._rules, self._limits, strict=True)):
            try:
                vector = vectors.of_instant(self._query(rule.expr, at_ms))
                samples = self._step(index, rule, vector, at_ms, limit)
            except ServiceError as error:
                when = format_duration(at_ms - self._case.start_timestamp)
                reason = error.describe()
                self._failed.append(f"    rule: {rule.name}, time: {when}, err: {reason}")
                continue
            for key, time_ms, value in samples:
                self._store.samples.setdefault(key, {})[time_ms] = value

    def _step(
        self, index: int, rule: AlertingRule | RecordingRule, vector: Vector, at_ms: int, limit: int
    ) -> Sequence[Sample]:
        state = self._states[index]
        if isinstance(rule, RecordingRule):
            self._states[index], samples = recording.record(rule, state, vector, at_ms, limit)
            return samples
        texts = Texts(
            rule.alert,
            partial(self._ask, at_ms),
            self._case.external_labels,
            self._case.external_url,
        )
        self._states[index], samples, _ = alerting.step(
            rule, state, vector, at_ms, texts.expand, limit=limit
        )
        return samples

    def _query(self, text: str, at_ms: int) -> Result:
        options = promql.Options()
        return run_query(self._store, text, at_ms, at_ms, 1, instant=True, options=options)

    def _ask(self, at_ms: int, text: str) -> QueryResult:
        try:
            return QueryResult.of(vectors.of_instant(self._query(text, at_ms)))
        except (BadRequest, QueryError) as error:
            raise CallFailed(error.describe()) from None

    def _alert_problem(self, test: AlertTest) -> Iterator[str]:
        got: Firing = sorted(
            (alert.labels, alert.annotations)
            for rule, state in zip(self._rules, self._states, strict=True)
            if isinstance(rule, AlertingRule) and rule.alert == test.alertname
            for alert in state.alerts.values()
            if alert.phase is Phase.FIRING
        )
        if got != (wanted := test.wanted()):
            yield (
                f"    alertname: {test.alertname}, time: {format_duration(test.eval_time)}, \n"
                f"        exp:{_alerts_text(wanted)}, \n        got:{_alerts_text(got)}"
            )

    def _expr_problem(self, test: ExprTest) -> Iterator[str]:
        about = f"    expr: {quote(test.expr)}, time: {format_duration(test.eval_time)},"
        try:
            value = self._query(test.expr, self._case.start_timestamp + test.eval_time).value
        except (BadRequest, QueryError) as error:
            yield f"{about} err: {error.describe()}"
            return
        if isinstance(value, String | Columns):
            yield f"{about} err: result is not a vector or scalar"
            return
        got: list[tuple[Labels, Point]] = (
            [({}, value.value)]
            if isinstance(value, Scalar)
            else [(labels, next(iter(points.values()))) for labels, points in rows_of(value)]
        )
        got.sort(key=lambda sample: label_key(sample[0]))
        wanted: list[tuple[Labels, float | Literal]] = [
            (one.labels, one.value if one.histogram is None else one.histogram)
            for one in test.exp_samples
        ]
        wanted.sort(key=lambda sample: label_key(sample[0]))
        same = len(got) == len(wanted) and all(
            labels == ours and self._agree(sample, point)
            for (labels, sample), (ours, point) in zip(wanted, got, strict=True)
        )
        if not same:
            yield (
                f"{about}\n        exp: {_samples_text(wanted)}\n        got: {_samples_text(got)}"
            )

    def _agree(self, wanted: float | Literal, got: Point) -> bool:
        if isinstance(wanted, Literal) or isinstance(got, Histogram) or self._suite.fuzzy_compare:
            return agree(wanted, got)
        return repr(float(wanted)) == repr(float(got))


def _alerts_text(alerts: Sequence[tuple[LabelKey, LabelKey]]) -> str:
    if not alerts:
        return "[]"
    texts = [
        f"\n            {number}:\n              Labels:{_labels_text(labels)}"
        f"\n              Annotations:{_labels_text(annotations)}"
        for number, (labels, annotations) in enumerate(alerts)
    ]
    return f"[{''.join(texts)}\n            ]"


def _labels_text(key: LabelKey) -> str:
    return "{" + ", ".join(f"{name}={quote(value)}" for name, value in key) + "}"


def _samples_text(samples: Sequence[tuple[Labels, Point | Literal]]) -> str:
    texts = []
    for labels, value in samples:
        name = labels.get(METRIC_NAME, "")
        rest = label_key({k: v for k, v in labels.items() if k != METRIC_NAME})
        shown = value.histogram if isinstance(value, Literal) else value
        number = format_exponent(shown).upper() if isinstance(shown, float) else shown
        texts.append(f"{name}{_labels_text(rest) if rest or not name else ''} {number}")
    return f"[{', '.join(texts)}]" if texts else "nil"
