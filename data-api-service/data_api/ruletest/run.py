"""Cases × engine and state machine → what differs, in promtool's words.

Every group is evaluated each `evaluation_interval`, whatever its own interval, and an alert is
looked at after the last evaluation that is not later than its `eval_time`.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from data_api import gotemplate, promql
from data_api.chassis.kinds import ServiceError
from data_api.errors import BadRequest, QueryError
from data_api.gotemplate.errors import CallFailed
from data_api.gotemplate.formatting import quote, shortest
from data_api.model import METRIC_NAME, Columns, Labels, Result, Scalar, String
from data_api.native_histogram import Histogram
from data_api.promqltest.check import Point, agree, rows_of, run_query
from data_api.promqltest.literals import Literal
from data_api.promqltest.memory_store import MemoryStore
from data_api.rules import alerting, durations, recording, vectors
from data_api.rules.alerting import AlertState, Phase
from data_api.rules.model import AlertingRule, LabelKey, RecordingRule, Sample, Vector, label_key
from data_api.ruletest.suite import AlertTest, Case, ExprTest, Suite

Firing = list[tuple[LabelKey, LabelKey]]


def problems(suite: Suite, case: Case) -> list[str]:
    """What differs from what the case wants, one text each."""
    return _Run(suite, case).problems()


class _Run:
    def __init__(self, suite: Suite, case: Case) -> None:
        self._suite, self._case = suite, case
        self._store = MemoryStore()
        self._rules = [rule for group in suite.groups for rule in group.labelled()]
        self._limits = [group.limit for group in suite.groups for _ in group.rules]
        self._states = [AlertState() for _ in self._rules]
        self._failed: list[str] = []

    def problems(self) -> list[str]:
        case = self._case
        for series in case.series:
            self._store.add(series, case.step_ms, case.start_ms)
        waiting = sorted(case.alerts, key=lambda test: test.at_ms)
        last_ms = max(
            0, *(test.at_ms for test in case.alerts), *(test.at_ms for test in case.exprs), 0
        )
        wrong: list[str] = []
        for after_ms in range(0, last_ms + 1, self._suite.interval_ms):
            self._evaluate(case.start_ms + after_ms)
            while waiting and waiting[0].at_ms < after_ms + self._suite.interval_ms:
                test = waiting.pop(0)
                wrong += self._alert_problem(test)
        wrong += [problem for test in case.exprs for problem in self._expr_problem(test)]
        return self._failed + wrong

    def _evaluate(self, at_ms: int) -> None:
        for index, (rule, limit) in enumerate(zip(self._rules, self._limits, strict=True)):
            try:
                vector = vectors.of_instant(self._query(rule.expr, at_ms))
                samples = self._step(index, rule, vector, at_ms, limit)
            except ServiceError as error:
                when = durations.to_text(at_ms - self._case.start_ms)
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
            written, samples = recording.record(rule, state.written, vector, at_ms, limit=limit)
            self._states[index] = AlertState(written=written)
            return samples
        expand = partial(
            _expand,
            name=rule.alert,
            external_labels=self._case.external_labels,
            external_url=self._case.external_url,
            query=partial(self._ask, at_ms),
        )
        self._states[index], samples, _ = alerting.step(
            rule, state, vector, at_ms, expand, limit=limit
        )
        return samples

    def _query(self, text: str, at_ms: int) -> Result:
        options = promql.Options()
        return run_query(self._store, text, at_ms, at_ms, 1, instant=True, options=options)

    def _ask(self, at_ms: int, text: str) -> Vector:
        try:
            return vectors.of_instant(self._query(text, at_ms))
        except (BadRequest, QueryError) as error:
            raise CallFailed(error.describe()) from None

    def _alert_problem(self, test: AlertTest) -> Iterator[str]:
        got: Firing = sorted(
            (alert.labels, alert.annotations)
            for rule, state in zip(self._rules, self._states, strict=True)
            if isinstance(rule, AlertingRule) and rule.alert == test.name
            for alert in state.alerts.values()
            if alert.phase is Phase.FIRING
        )
        if got != list(test.wanted):
            yield (
                f"    alertname: {test.name}, time: {durations.to_text(test.at_ms)}, \n"
                f"        exp:{_alerts_text(test.wanted)}, \n        got:{_alerts_text(got)}"
            )

    def _expr_problem(self, test: ExprTest) -> Iterator[str]:
        about = f"    expr: {quote(test.expr)}, time: {durations.to_text(test.at_ms)},"
        try:
            value = self._query(test.expr, self._case.start_ms + test.at_ms).value
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
        wanted = sorted(test.wanted, key=lambda sample: label_key(sample[0]))
        same = len(got) == len(wanted) and all(
            labels == ours and self._agree(sample, point)
            for (labels, sample), (ours, point) in zip(wanted, got, strict=True)
        )
        if not same:
            yield (
                f"{about}\n        exp: {_samples_text(wanted)}\n        got: {_samples_text(got)}"
            )

    def _agree(self, wanted: float | Literal, got: Point) -> bool:
        if isinstance(wanted, Literal) or isinstance(got, Histogram) or self._suite.fuzzy:
            return agree(wanted, got)
        return repr(float(wanted)) == repr(float(got))


def _expand(text: str, labels: Labels, value: float, **about: object) -> str:
    return gotemplate.expand_alert(text, labels, value, **about)  # type: ignore[arg-type]


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
        number = shortest(shown, exponent=True).upper() if isinstance(shown, float) else shown
        texts.append(f"{name}{_labels_text(rest) if rest or not name else ''} {number}")
    return f"[{', '.join(texts)}]" if texts else "nil"
