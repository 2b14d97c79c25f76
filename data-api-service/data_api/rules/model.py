"""The nouns of rules. Times are ms since the epoch, durations ms; everything is frozen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from data_api.model import Labels

LabelKey = tuple[tuple[str, str], ...]
"""A label set as its pairs, ascending: what tells series and alerts apart."""
Sample = tuple[LabelKey, int, float]
"""(series, timestamp in ms, value) to write; a stale marker has the bits `model.STALE_BITS`."""
Vector = Sequence[tuple[Labels, float]]
"""What a rule's expression selected: at most one value a series."""
Expand = Callable[[str, Labels, float], str]
"""(template, labels of the sample, its value) → text."""

ALERT_NAME: Final = "alertname"


def label_key(labels: Mapping[str, str]) -> LabelKey:
    """The label set as a key, without empty values, which are no labels."""
    return tuple(sorted((name, value) for name, value in labels.items() if value))


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """`record`: the metric name of what `expr` selects; `labels` are set on each series."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call the rule."""
        return self.record


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """`alert`: the name of alerts, one for each series that `expr` selects.

    Label values and annotations are templates.
    """

    alert: str
    expr: str
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call the rule."""
        return self.alert


Rule = RecordingRule | AlertingRule


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, each `interval_ms`.

    namespace: the rule file. interval_ms: 0 = the default of the service. query_offset_ms: how long
    before its scheduled time a group looks. limit: series of a recording rule, or alerts of an
    alerting rule, over which the rule fails; 0 = none. labels: set on each rule that has no such
    label itself.
    """

    namespace: str
    name: str
    interval_ms: int = 0
    query_offset_ms: int = 0
    limit: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    rules: Sequence[Rule] = ()

    def labelled(self) -> tuple[Rule, ...]:
        """The rules with the group's labels, as they are evaluated."""
        return tuple(replace(rule, labels={**self.labels, **rule.labels}) for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Alert:
    """What notifications are told, as Prometheus posts it to an Alertmanager.

    starts_at_ms: when it began to fire. ends_at_ms: when it was resolved; while it fires, some
    intervals ahead, so that it ends by itself when nobody tells of it again.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at_ms: int
    ends_at_ms: int
    updated_at_ms: int
    generator_url: str = ""
