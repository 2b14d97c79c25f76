"""The nouns of rules. Times are ms since the epoch, durations ms; everything is frozen.

What an annotation says besides the type is how a rule file is read and written (`parsing`,
`printing`): the field's name there, what it may be. Who makes a rule in code is not checked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag

from data_api.model import Labels
from data_api.rules import fields

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

    __pydantic_config__ = ConfigDict(extra="forbid")
    record: fields.Record
    expr: fields.Expression
    labels: fields.Texts = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call the rule."""
        return self.record


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """`alert`: the name of alerts, one for each series that `expr` selects.

    Label values and annotations are templates.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    alert: str
    expr: fields.Expression
    for_ms: Annotated[fields.Duration, Field(alias="for")] = 0
    keep_firing_for_ms: Annotated[fields.Duration, Field(alias="keep_firing_for")] = 0
    labels: fields.Texts = field(default_factory=dict)
    annotations: fields.Texts = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call the rule."""
        return self.alert


def _kind(rule: Any) -> str:
    is_alert = rule.get("alert") if isinstance(rule, dict) else isinstance(rule, AlertingRule)
    return "alert" if is_alert else "record"


Rule = RecordingRule | AlertingRule
_ReadRule = Annotated[
    Annotated[RecordingRule, Tag("record")] | Annotated[AlertingRule, Tag("alert")],
    Discriminator(_kind),
    BeforeValidator(fields.rule),
]


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, each `interval_ms`.

    namespace: the rule file. interval_ms: 0 = the default of the service. query_offset_ms: how long
    before its scheduled time a group looks. limit: series of a recording rule, or alerts of an
    alerting rule, over which the rule fails; 0 = none. labels: set on each rule that has no such
    label itself.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    namespace: str
    name: fields.Name
    interval_ms: Annotated[fields.Interval, Field(alias="interval")] = 0
    query_offset_ms: Annotated[fields.Duration, Field(alias="query_offset")] = 0
    limit: fields.Limit = 0
    labels: fields.Texts = field(default_factory=dict)
    rules: Annotated[tuple[_ReadRule, ...], fields.AtMost] = ()

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
