"""Rules as YAML: what is stored, and what the API gives back; `parsing` reads it unchanged."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from data_api.promql.printer import format_duration
from data_api.rules.model import AlertingRule, Group, Rule

LINE_CHARACTERS_MAX: Final = 2**20  # nothing is folded


class _Dumper(yaml.CSafeDumper):
    """Texts of several lines stay lines."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def group_text(group: Group) -> str:
    """One group, as a POST of it looks."""
    return _dumped(_group(group))


def namespaces_text(namespaces: Mapping[str, Sequence[Group]]) -> str:
    """`{namespace: [group, …]}`, as Mimir's ruler answers."""
    return _dumped({name: [_group(one) for one in groups] for name, groups in namespaces.items()})


def _dumped(document: Any) -> str:
    text: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=LINE_CHARACTERS_MAX
    )
    return text


def _group(group: Group) -> dict[str, Any]:
    return {"name": group.name} | _given(
        interval=group.interval_ms and format_duration(group.interval_ms),
        query_offset=group.query_offset_ms and format_duration(group.query_offset_ms),
        limit=group.limit,
        labels=dict(group.labels),
        rules=[_rule(rule) for rule in group.rules],
    )


def _rule(rule: Rule) -> dict[str, Any]:
    if not isinstance(rule, AlertingRule):
        return {"record": rule.record, "expr": rule.expr} | _given(labels=dict(rule.labels))
    return {"alert": rule.alert, "expr": rule.expr} | _given(
        **{"for": rule.for_ms and format_duration(rule.for_ms)},
        keep_firing_for=rule.keep_firing_for_ms and format_duration(rule.keep_firing_for_ms),
        labels=dict(rule.labels),
        annotations=dict(rule.annotations),
    )


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
