"""What a group remembers, as it is committed with each evaluation.

    state:  zstd of JSON {"duration_s", "rules": {key: [health, error, at, duration, alerts]}}
    series: zstd of JSON {key: [labels, …], "": those of rules that are no more}

Two texts, since the series of a group, the larger part, hardly ever change. A rule's key is made of
what Prometheus knows it by again after a change: its kind, name and labels.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import cramjam
import orjson

from data_api.rules.alerting import ActiveAlert, AlertState, Phase
from data_api.rules.model import LabelKey, Rule, label_key

GONE: Final = ""


@dataclass(frozen=True, slots=True)
class RuleState:
    """A rule after its last evaluation, at `evaluated_ms`; of a recording rule, `memory` has the
    series written. health: `ok`, `err` or, before the first, `unknown`.
    """

    memory: AlertState = field(default_factory=AlertState)
    health: str = "unknown"
    last_error: str = ""
    evaluated_ms: int | None = None
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GroupState:
    """The rules by key, and the series of rules that are no more, still without stale marker."""

    rules: Mapping[str, RuleState] = field(default_factory=dict)
    gone: frozenset[LabelKey] = frozenset()
    duration_s: float = 0.0

    @property
    def size(self) -> int:
        """Its series and alerts, as they count of what its tenant may have."""
        return sum(one.memory.size for one in self.rules.values())

    def of(self, keys: Sequence[str]) -> "GroupState":
        """The state of the rules of these keys, which may be others than before."""
        gone = {s for key, one in self.rules.items() if key not in keys for s in one.memory.written}
        rules = {key: self.rules.get(key, RuleState()) for key in keys}
        written = {series for one in rules.values() for series in one.memory.written}
        return replace(self, rules=rules, gone=(self.gone | gone) - written)


def rule_keys(rules: Sequence[Rule]) -> list[str]:
    """A key for each; equal rules are told apart by their order."""
    seen: Counter[str] = Counter()
    keys = []
    for rule in rules:
        identity = repr((type(rule).__name__, rule.name, sorted(rule.labels.items())))
        seen[identity] += 1
        text = f"{identity} {seen[identity]}"
        keys.append(hashlib.blake2b(text.encode(), digest_size=9).hexdigest())
    return keys


def encode(state: GroupState) -> tuple[bytes, bytes]:
    """(state, series) as they are stored; equal series are equal bytes."""
    series = {key: _sets(one.memory.written) for key, one in state.rules.items()}
    rules = {
        key: (
            one.health, one.last_error, one.evaluated_ms, one.duration_s,
            [_alert_row(alert) for alert in one.memory.alerts.values()],
        )
        for key, one in state.rules.items()
    }  # fmt: skip
    document = {"duration_s": state.duration_s, "rules": rules}
    return _packed(document), _packed(series | {GONE: _sets(state.gone)})


def decode(state: bytes | None, series: bytes | None) -> GroupState:
    """What was encoded; nothing remembered from None."""
    if state is None:
        return GroupState()
    document = _unpacked(state)
    written = {} if series is None else _unpacked(series)
    rules = {}
    for key, (health, error, at_ms, duration_s, rows) in document["rules"].items():
        alerts = {alert.labels: alert for alert in map(_alert, rows)}
        memory = AlertState(alerts, frozenset(map(label_key, written.get(key, ()))))
        rules[key] = RuleState(memory, health, error, at_ms, duration_s)
    gone = frozenset(map(label_key, written.get(GONE, ())))
    return GroupState(rules, gone, document["duration_s"])


def series_of(series: bytes) -> frozenset[LabelKey]:
    """Those that the rules of a group write, of what was encoded."""
    sets = (some for key, some in _unpacked(series).items() if key != GONE)
    return frozenset(label_key(labels) for some in sets for labels in some)


def _alert_row(alert: ActiveAlert) -> tuple[Any, ...]:
    return (
        dict(alert.labels), dict(alert.annotations), repr(alert.value), str(alert.phase),
        alert.active_at_ms, alert.fired_at_ms, alert.keep_firing_since_ms, alert.resolved_at_ms,
        alert.last_sent_ms,
    )  # fmt: skip


def _alert(row: Sequence[Any]) -> ActiveAlert:
    labels, annotations, value, phase, *times = row
    return ActiveAlert(
        label_key(labels), label_key(annotations), float(value), Phase(phase), *times
    )


def _sets(series: frozenset[LabelKey]) -> list[dict[str, str]]:
    return [dict(key) for key in sorted(series)]


def _packed(document: Any) -> bytes:
    return bytes(cramjam.zstd.compress(orjson.dumps(document), level=1))


def _unpacked(packed: bytes) -> Any:
    return orjson.loads(bytes(cramjam.zstd.decompress(packed)))
