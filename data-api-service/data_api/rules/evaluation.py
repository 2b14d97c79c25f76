"""One evaluation of a group; all that it asks of the world is handed to it.

    rules ─ stages ─▶ ask, all of a stage at once ─▶ step ─▶ notify ─▶ write ─▶ the next stage

Rules are evaluated in order, and a rule sees what those before it wrote. So they are taken
together up to the first that may read what one of them writes: a stage is one query and one write.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import anyio.to_thread

from data_api import promql
from data_api.chassis.kinds import ServiceError
from data_api.model import METRIC_NAME
from data_api.questions import parse as parse_query
from data_api.rules import alerting, recording, schedule
from data_api.rules.alerting import AlertState, LimitExceeded, RuleError
from data_api.rules.model import (
    Alert,
    AlertingRule,
    Expand,
    Group,
    RecordingRule,
    Rule,
    Sample,
    Vector,
)
from data_api.rules.state import GroupState, RuleState, rule_keys


@dataclass(frozen=True, slots=True)
class Answer:
    """What one expression selected, or why it could not be answered, and the seconds it took."""

    vector: Vector | ServiceError
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class World:
    """How a group asks, writes and notifies; failures are ServiceErrors.

    ask: the answers of expressions at a time. texts: what expands a rule's templates for a vector.
    link: the page that shows an expression. room: series and alerts that all rules of the group may
    have, an alert as its two series or more.
    """

    ask: Callable[[Sequence[str], int], Awaitable[Sequence[Answer]]]
    write: Callable[[Sequence[Sample]], Awaitable[None]]
    notify: Callable[[Sequence[Alert]], Awaitable[None]]
    texts: Callable[[AlertingRule, Vector, int], Awaitable[Expand]]
    link: Callable[[str], str]
    room: int


class Plan:
    """A group as it is evaluated: its rules with their labels and keys, in stages."""

    def __init__(self, group: Group, interval_ms: int, series_max: int) -> None:
        """interval_ms: of a group that says none. series_max: of one rule, whatever its limit."""
        self.group = group
        self.interval_ms = group.interval_ms or interval_ms
        self.limit = min(group.limit or series_max, series_max)
        rules = group.labelled()
        self.keys = rule_keys(rules)
        self.stages = _stages(list(zip(self.keys, rules, strict=True)))

    async def evaluated(
        self, before: GroupState, evaluated_ms: int | None, at_ms: int, world: World
    ) -> GroupState:
        """The state after the evaluation of the slot `at_ms`, the last one being `evaluated_ms`.

        Who must be notified was, and what must be written is, or the rule's error says why not.
        """
        state = before.of(self.keys)
        if not self.stages and state.gone:
            state, _ = await self._write(
                state, alerting.stale(state.gone, self._sampled(at_ms)), world
            )
        for stage in self.stages:
            state = await self._stage(stage, state, evaluated_ms, at_ms, world)
        return state

    def _sampled(self, at_ms: int) -> int:
        return at_ms - self.group.query_offset_ms

    async def _stage(
        self,
        stage: Sequence[tuple[str, Rule]],
        state: GroupState,
        evaluated_ms: int | None,
        at_ms: int,
        world: World,
    ) -> GroupState:
        answers = await world.ask([rule.expr for _, rule in stage], self._sampled(at_ms))
        texts = [
            await world.texts(rule, answer.vector, at_ms)
            if isinstance(rule, AlertingRule) and not isinstance(answer.vector, ServiceError)
            else None
            for (_, rule), answer in zip(stage, answers, strict=True)
        ]

        def stepped() -> tuple[GroupState, list[Sample], list[Alert]]:
            samples = alerting.stale(state.gone, self._sampled(at_ms))
            alerts: list[Alert] = []
            rules, left = dict(state.rules), world.room - state.size
            for (key, rule), answer, expand in zip(stage, answers, texts, strict=True):
                before = rules[key]
                memory = schedule.resumed(before.memory, evaluated_ms, at_ms, self.interval_ms)
                left += before.memory.size
                try:
                    after, more, due = self._step(
                        rule, memory, answer.vector, at_ms, expand=expand, link=world.link
                    )
                    if after.size > left:
                        reason = "the tenant's rules have too many series and alerts; room is for"
                        raise RuleError(reason=f"{reason} {left}")
                except ServiceError as exc:
                    if isinstance(exc, LimitExceeded):
                        memory = AlertState(written=memory.written)
                    rules[key] = RuleState(memory, "err", exc.describe(), at_ms, answer.duration_s)
                else:
                    memory = after
                    samples += more
                    alerts += due
                    rules[key] = RuleState(memory, "ok", "", at_ms, answer.duration_s)
                left -= memory.size
            return replace(state, rules=rules), samples, alerts

        # In a thread: texts of thousands of alerts would hold up leases and other groups.
        after, samples, alerts = await anyio.to_thread.run_sync(stepped)
        if alerts:
            after = await self._notify(state, after, alerts, world)
        if not samples:
            return after
        after, error = await self._write(after, samples, world)
        return _unwritten(state, after, [key for key, _ in stage], error) if error else after

    def _step(
        self,
        rule: Rule,
        memory: AlertState,
        vector: Vector | ServiceError,
        at_ms: int,
        *,
        expand: Expand | None,
        link: Callable[[str], str],
    ) -> tuple[AlertState, list[Sample], list[Alert]]:
        if isinstance(vector, ServiceError):
            raise vector
        if isinstance(rule, RecordingRule):
            sampled_ms, limit = self._sampled(at_ms), self.limit
            return *recording.record(rule, memory, vector, sampled_ms, limit), []
        assert expand is not None
        return alerting.step(
            rule,
            memory,
            vector,
            at_ms,
            expand,
            interval_ms=self.interval_ms,
            limit=self.limit,
            query_offset_ms=self.group.query_offset_ms,
            generator_url=link(rule.expr),
        )

    async def _notify(
        self, before: GroupState, after: GroupState, alerts: Sequence[Alert], world: World
    ) -> GroupState:
        """Before the state is committed: who is killed in between tells the same once more."""
        try:
            await world.notify(alerts)
        except ServiceError as exc:
            rules = {
                key: replace(
                    one,
                    memory=alerting.unsent(one.memory, before.rules[key].memory),
                    last_error=one.last_error or f"not notified: {exc.describe()}",
                )
                if one.memory.alerts
                else one
                for key, one in after.rules.items()
            }
            return replace(after, rules=rules)
        return after

    @staticmethod
    async def _write(
        state: GroupState, samples: Sequence[Sample], world: World
    ) -> tuple[GroupState, str]:
        """The state, without series that got their last stale marker; why nothing was written."""
        try:
            await world.write(samples)
        except ServiceError as exc:
            return state, exc.describe()
        return replace(state, gone=frozenset()), ""


def _unwritten(
    before: GroupState, after: GroupState, keys: Sequence[str], error: str
) -> GroupState:
    """The rules of `keys` failed; series that end get their stale marker at the next evaluation."""
    rules = dict(after.rules)
    for key in keys:
        one, written = rules[key], before.rules[key].memory.written
        memory = replace(one.memory, written=one.memory.written | written)
        reason = one.last_error or f"not written: {error}"
        rules[key] = replace(one, memory=memory, health="err", last_error=reason)
    return replace(after, rules=rules)


def _stages(rules: Sequence[tuple[str, Rule]]) -> list[list[tuple[str, Rule]]]:
    stages: list[list[tuple[str, Rule]]] = []
    outputs: set[str] = set()
    for key, rule in rules:
        if not stages or _reads(rule, outputs):
            stages.append([])
            outputs = set()
        stages[-1].append((key, rule))
        if isinstance(rule, AlertingRule):
            outputs |= {"ALERTS", "ALERTS_FOR_STATE"}
        else:
            outputs.add(rule.record)
    return stages


def _reads(rule: Rule, names: set[str]) -> bool:
    """Whether the rule may select a series of one of these metrics."""
    times = promql.QueryTimes(1000, 0)  # of an instant query; matchers do not depend on them
    for span in promql.needed(parse_query(rule.expr, times), 0, 0, 1):
        predicates = [one.predicate() for one in span.matchers if one.name == METRIC_NAME]
        if any(all(fits(name) for fits in predicates) for name in names):
            return True
    return False
