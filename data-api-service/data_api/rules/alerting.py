"""The life of alerts; pure: the evaluator, back-tests and unit tests of rules all call `step`.

    selected ──▶ pending ── `for` ──▶ firing ── not selected for `keep_firing_for` ──▶ resolved
                    └── not selected ──▶ gone              selected again ──▶ pending ◀──┘

A resolved alert stays RESOLVED_STAYS_MS, so that whoever missed that it ended is told again.
Source: Prometheus `rules/alerting.go`; specs of the same behaviour in docs/adr/0032-rules.md.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from data_api.errors import QueryError
from data_api.model import METRIC_NAME, STALE_BITS, Labels
from data_api.rules.model import (
    ALERT_NAME,
    Alert,
    AlertingRule,
    Expand,
    LabelKey,
    Sample,
    Vector,
    label_key,
)

RESEND_MS: Final = 60_000
RESOLVED_STAYS_MS: Final = 15 * 60_000
AHEAD: Final = 4  # evaluations, or resends, after which an alert that nobody tells of has ended
STALE: Final[float] = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
NEVER_MS: Final = -(2**62)
CHARS_MAX: Final = 16 * 1024 * 1024
"""Labels and annotations of all alerts of one rule; an alert counts as one more each KIB of it."""
KIB: Final = 1024


class RuleError(QueryError):
    """The rule cannot be evaluated"""

    def describe(self) -> str:
        """Prometheus' words."""
        return str(self.facts["reason"])


class LimitExceeded(RuleError):
    """The rule has more alerts or series than it may"""


class Phase(StrEnum):
    """Where an alert is; the values are those of the API and of the label `alertstate`."""

    PENDING = "pending"
    FIRING = "firing"
    INACTIVE = "inactive"  # resolved


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """One alert of a rule. The times of what has not happened are None."""

    labels: LabelKey
    annotations: LabelKey
    value: float
    phase: Phase
    active_at_ms: int
    fired_at_ms: int | None = None
    keep_firing_since_ms: int | None = None
    resolved_at_ms: int | None = None
    last_sent_ms: int | None = None


@dataclass(frozen=True, slots=True)
class AlertState:
    """What a rule remembers between evaluations.

    alerts: by labels. written: the series of its last evaluation, which get a stale marker once
    they are no longer written.
    """

    alerts: Mapping[LabelKey, ActiveAlert] = field(default_factory=dict)
    written: frozenset[LabelKey] = frozenset()

    @property
    def phase(self) -> Phase:
        """The highest of its alerts', as the API shows the rule."""
        phases = {alert.phase for alert in self.alerts.values()}
        return next((p for p in (Phase.FIRING, Phase.PENDING) if p in phases), Phase.INACTIVE)

    @property
    def size(self) -> int:
        """What it counts of what its tenant may have: series, or alerts by their length."""
        alerts = sum(1 + _chars(alert) // KIB for alert in self.alerts.values())
        return max(alerts, len(self.written))


def step(
    rule: AlertingRule,
    state: AlertState,
    vector: Vector,
    at_ms: int,
    expand: Expand,
    *,
    interval_ms: int = 60_000,
    limit: int = 0,
    query_offset_ms: int = 0,
    generator_url: str = "",
) -> tuple[AlertState, list[Sample], list[Alert]]:
    """State after the evaluation at `at_ms`, samples to write, and alerts to notify.

    vector: what the expression selected at ``at_ms - query_offset_ms``, which is also the time of
    the samples: `ALERTS`, `ALERTS_FOR_STATE`, and stale markers of those that are gone. alerts:
    those that fire or were resolved and were not told of in the last RESEND_MS.
    Raises RuleError: two of the vector get the same labels; LimitExceeded: more than `limit` are
    active, and the caller forgets the alerts, as Prometheus does.
    """
    selected = _selected(rule, vector, at_ms, expand)
    alerts: dict[LabelKey, ActiveAlert] = {}
    for key, alert in _merged(state.alerts, selected).items():
        if (moved := _moved(rule, alert, at_ms, is_selected=key in selected)) is not None:
            alerts[key] = moved
    active = [alert for alert in alerts.values() if alert.phase is not Phase.INACTIVE]
    if limit and len(active) > limit:
        raise LimitExceeded(reason=f"exceeded limit of {limit} with {len(active)} alerts")
    sampled_ms = at_ms - query_offset_ms
    samples = [one for alert in active for one in _samples(alert, sampled_ms)]
    sent: list[Alert] = []
    for key, alert in alerts.items():
        if _is_due(alert, at_ms):
            alerts[key] = replace(alert, last_sent_ms=at_ms)
            sent.append(_told(alert, at_ms, interval_ms, generator_url))
    written = frozenset(key for key, _, _ in samples)
    return AlertState(alerts, written), samples + stale(state.written - written, sampled_ms), sent


def unsent(after: AlertState, before: AlertState) -> AlertState:
    """`after`, but nobody was told: whoever was to be told is due again at the next evaluation."""
    alerts = {
        key: replace(
            alert, last_sent_ms=before.alerts[key].last_sent_ms if key in before.alerts else None
        )
        for key, alert in after.alerts.items()
    }
    return replace(after, alerts=alerts)


def stale(series: frozenset[LabelKey] | set[LabelKey], at_ms: int) -> list[Sample]:
    """A stale marker for each of the series."""
    return [(key, at_ms, STALE) for key in sorted(series)]


def _selected(
    rule: AlertingRule, vector: Vector, at_ms: int, expand: Expand
) -> dict[LabelKey, ActiveAlert]:
    """A pending alert for each series of the vector."""
    selected: dict[LabelKey, ActiveAlert] = {}
    chars = 0
    for labels, value in vector:
        key = labels_of(rule, labels, value, expand)
        if key in selected:
            raise RuleError(
                reason="vector contains metrics with the same labelset after applying alert labels"
            )
        annotations = annotations_of(rule, labels, value, expand)
        selected[key] = alert = ActiveAlert(key, annotations, value, Phase.PENDING, at_ms)
        if (chars := chars + _chars(alert)) > CHARS_MAX:
            raise LimitExceeded(
                reason=f"exceeded limit of {CHARS_MAX} characters of labels and annotations"
            )
    return selected


def _chars(alert: ActiveAlert) -> int:
    pairs = (*alert.labels, *alert.annotations)
    return sum(len(name) + len(text) for name, text in pairs)


def labels_of(rule: AlertingRule, labels: Labels, value: float, expand: Expand) -> LabelKey:
    """The labels of the alert of a series."""
    own = {name: text for name, text in labels.items() if name != METRIC_NAME}
    return label_key(own | _expanded(rule.labels, labels, value, expand) | {ALERT_NAME: rule.alert})


def annotations_of(rule: AlertingRule, labels: Labels, value: float, expand: Expand) -> LabelKey:
    """The annotations of the alert of a series."""
    return label_key(_expanded(rule.annotations, labels, value, expand))


def _expanded(
    templates: Mapping[str, str], labels: Labels, value: float, expand: Expand
) -> dict[str, str]:
    return {
        name: expand(text, labels, value) if "{{" in text else text
        for name, text in templates.items()
    }


def _merged(
    before: Mapping[LabelKey, ActiveAlert], selected: Mapping[LabelKey, ActiveAlert]
) -> dict[LabelKey, ActiveAlert]:
    """Alerts go on with their new value and annotations; resolved ones that are selected again, and
    those that are new, begin.
    """
    merged = dict(before)
    for key, new in selected.items():
        old = before.get(key)
        if old is None or old.phase is Phase.INACTIVE:
            merged[key] = new
        else:
            merged[key] = replace(old, value=new.value, annotations=new.annotations)
    return merged


def _moved(
    rule: AlertingRule, alert: ActiveAlert, at_ms: int, *, is_selected: bool
) -> ActiveAlert | None:
    """The alert after this evaluation; None when it is gone."""
    if is_selected:
        alert = replace(alert, keep_firing_since_ms=None)
    elif alert.phase is Phase.PENDING:
        return None
    elif alert.phase is Phase.INACTIVE:
        resolved_ms = alert.resolved_at_ms or at_ms
        return alert if at_ms - resolved_ms <= RESOLVED_STAYS_MS else None
    else:
        since_ms = at_ms if alert.keep_firing_since_ms is None else alert.keep_firing_since_ms
        if at_ms - since_ms < rule.keep_firing_for_ms:
            return replace(alert, keep_firing_since_ms=since_ms)
        return replace(alert, phase=Phase.INACTIVE, resolved_at_ms=at_ms)
    if alert.phase is Phase.PENDING and at_ms - alert.active_at_ms >= rule.for_ms:
        return replace(alert, phase=Phase.FIRING, fired_at_ms=at_ms)
    return alert


def _samples(alert: ActiveAlert, at_ms: int) -> Sequence[Sample]:
    """`ALERTS`, which is 1, and `ALERTS_FOR_STATE`, the second when it became active."""
    of_state = dict(alert.labels) | {METRIC_NAME: "ALERTS_FOR_STATE"}
    of_alert = of_state | {METRIC_NAME: "ALERTS", "alertstate": str(alert.phase)}
    since_s = float(alert.active_at_ms // 1000)
    return (label_key(of_alert), at_ms, 1.0), (label_key(of_state), at_ms, since_s)


def _is_due(alert: ActiveAlert, at_ms: int) -> bool:
    if alert.phase is Phase.PENDING:
        return False
    sent_ms = NEVER_MS if alert.last_sent_ms is None else alert.last_sent_ms
    if alert.resolved_at_ms is not None and alert.resolved_at_ms > sent_ms:
        return True
    return sent_ms + RESEND_MS < at_ms


def _told(alert: ActiveAlert, at_ms: int, interval_ms: int, generator_url: str) -> Alert:
    ahead_ms = at_ms + AHEAD * max(RESEND_MS, interval_ms)
    return Alert(
        labels=dict(alert.labels),
        annotations=dict(alert.annotations),
        starts_at_ms=alert.active_at_ms if alert.fired_at_ms is None else alert.fired_at_ms,
        ends_at_ms=ahead_ms if alert.resolved_at_ms is None else alert.resolved_at_ms,
        updated_at_ms=at_ms,
        generator_url=generator_url,
    )
