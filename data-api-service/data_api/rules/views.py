"""Groups and alerts as Prometheus' API shows them; pure. Source: Prometheus `web/api/v1/api.go`."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_api import promql
from data_api.model import Matcher
from data_api.notify.times import rfc3339
from data_api.promql.numerals import format_value
from data_api.questions import parse
from data_api.rules.alerting import ActiveAlert, Phase
from data_api.rules.model import AlertingRule, Rule
from data_api.rules.repository import FOLDER, Shown
from data_api.rules.state import RuleState, rule_keys

NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rules are asked for; what is empty asks for all."""

    kind: str = ""  # `alert` or `record`
    names: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    matchers: Sequence[Sequence[Matcher]] = ()
    with_alerts: bool = True

    def fits(self, rule: Rule) -> bool:
        """Whether the rule, with its group's labels, is asked for."""
        kind = "alert" if isinstance(rule, AlertingRule) else "record"
        return (
            self.kind in {"", kind}
            and (not self.names or rule.name in self.names)
            and (not self.matchers or any(_match(some, rule) for some in self.matchers))
        )


def groups(shown: Sequence[Shown], wanted: Wanted, interval_ms: int) -> list[dict[str, Any]]:
    """The groups that have rules asked for. interval_ms: of groups that say none."""
    views = []
    for one in shown:
        group = one.group
        if (wanted.groups and group.name not in wanted.groups) or (
            wanted.files and group.namespace not in wanted.files
        ):
            continue
        rules = [
            _rule(rule, state, with_alerts=wanted.with_alerts)
            for rule, state in _states(one)
            if wanted.fits(rule)
        ]
        if rules:
            views.append(
                {
                    "name": group.name,
                    "file": group.namespace,
                    "rules": rules,
                    "interval": (group.interval_ms or interval_ms) / 1000,
                    "limit": group.limit,
                    "evaluationTime": one.state.duration_s,
                    "lastEvaluation": _time(one.evaluated_ms),
                    "missedIterations": one.missed,
                    "readOnly": group.namespace.startswith(FOLDER),
                }
            )
    return views


def page(
    views: Sequence[dict[str, Any]], limit: int, token: str
) -> tuple[Sequence[dict[str, Any]], str] | None:
    """At most `limit` groups from the one that `token` names, and the token of the next page, ""
    at the end. None: there is no such token.
    """
    first = 0
    if token:
        tokens = [page_token(one) for one in views]
        if token not in tokens:
            return None
        first = tokens.index(token)
    rest = views[first + limit :]
    return views[first : first + limit], page_token(rest[0]) if rest else ""


def page_token(view: dict[str, Any]) -> str:
    """What names a group in paging."""
    return hashlib.sha256(f"{view['file']};{view['name']}".encode()).hexdigest()[:40]


def alerts(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """All alerts that are pending or fire."""
    return [alert for one in shown for _, state in _states(one) for alert in _alerts(state)]


def format_exponent(value: float) -> str:
    """Go's `'e', -1`: `1e+00`, `1.5e-07`."""
    if not math.isfinite(value):
        return format_value(value)
    return np.format_float_scientific(value, trim="-", exp_digits=2)


def _states(one: Shown) -> Iterator[tuple[Rule, RuleState]]:
    rules = one.group.labelled()
    for key, rule in zip(rule_keys(rules), rules, strict=True):
        yield rule, one.state.rules.get(key, RuleState())


def _rule(rule: Rule, state: RuleState, *, with_alerts: bool) -> dict[str, Any]:
    view = {
        "name": rule.name,
        "query": promql.to_text(parse(rule.expr)),
        "labels": dict(rule.labels),
        "health": state.health,
        "evaluationTime": state.duration_s,
        "lastEvaluation": _time(state.evaluated_ms),
    }
    if state.last_error:
        view["lastError"] = state.last_error
    if not isinstance(rule, AlertingRule):
        return view | {"type": "recording"}
    return view | {
        "state": str(state.memory.phase),
        "duration": rule.for_ms / 1000,
        "keepFiringFor": rule.keep_firing_for_ms / 1000,
        "annotations": dict(rule.annotations),
        "alerts": list(_alerts(state)) if with_alerts else [],
        "type": "alerting",
    }


def _alerts(state: RuleState) -> Iterator[dict[str, Any]]:
    for alert in state.memory.alerts.values():
        if alert.phase is not Phase.INACTIVE:
            yield _alert(alert)


def _alert(alert: ActiveAlert) -> dict[str, Any]:
    view = {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "state": str(alert.phase),
        "activeAt": _time(alert.active_at_ms),
        "value": format_exponent(alert.value),
    }
    if alert.keep_firing_since_ms is not None:
        view["keepFiringSince"] = _time(alert.keep_firing_since_ms)
    return view


def _time(at_ms: int | None) -> str:
    return NEVER if at_ms is None else rfc3339(at_ms)


def _match(matchers: Sequence[Matcher], rule: Rule) -> bool:
    return all(one.predicate()(rule.labels.get(one.name, "")) for one in matchers)
