"""Prometheus' rule files, read strictly; pure. Every fault says its line and column.

    text ─ YAML nodes ─▶ fields, of which none is unknown ─▶ rules ─▶ groups

Source: Prometheus `model/rulefmt`, whose words the faults have.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import yaml

from data_api import gotemplate
from data_api.errors import BadRequest
from data_api.gotemplate import durations
from data_api.model import METRIC_NAME
from data_api.promql import ParseError
from data_api.questions import parse as parse_query
from data_api.rules.composer import Composer
from data_api.rules.model import AlertingRule, Group, RecordingRule, Rule

FAULTS_MAX: Final = 50  # that are listed
NAME_CHARACTERS_MAX: Final = 1024
GROUP_FIELDS: Final = frozenset({"name", "interval", "query_offset", "limit", "labels", "rules"})
RULE_FIELDS: Final = frozenset(
    {"record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
)
OF_ALERTS: Final = ("for", "keep_firing_for", "annotations")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one tenant may have."""

    groups: int = 400
    rules: int = 200  # of one group
    text_bytes: int = 4 * 1024 * 1024  # of all
    interval_ms_min: int = 5_000
    interval_ms: int = 60_000  # of a group that says none


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where; line and column from 1."""

    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.text}"


class InvalidRules(BadRequest):
    """The rules cannot be used; facts: `faults`."""

    def describe(self) -> str:
        """A line for each fault, as `promtool check rules` writes them."""
        return "\n".join(map(str, self.facts["faults"]))


@dataclass(slots=True)
class _Reading:
    """One text being read: its faults so far, and what they are about."""

    bounds: Bounds
    faults: list[Fault] = field(default_factory=list)
    about: str = ""

    def fault(self, node: yaml.Node, text: str) -> None:
        """One fault more, at the node."""
        if len(self.faults) < FAULTS_MAX:
            mark = node.start_mark
            self.faults.append(Fault(mark.line + 1, mark.column + 1, self.about + text))

    def fields(
        self, node: yaml.Node, what: str, allowed: frozenset[str] | None = None
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Name → (its own node, its value's) of a mapping; none is unknown or there twice."""
        if _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.fault(node, f"{what} must be a mapping")
            return {}
        fields: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for name, value in node.value:
            text = name.value if isinstance(name, yaml.ScalarNode) else None
            if text is None:
                self.fault(name, f"a field of {what} must be a text")
            elif allowed is not None and text not in allowed:
                self.fault(name, f"field {text} not found in {what}")
            elif text in fields:
                self.fault(name, f'mapping key "{text}" already defined')
            else:
                fields[text] = name, value
        return fields

    def items(self, node: yaml.Node | None, what: str, limit: int) -> Sequence[yaml.Node]:
        """The items of a list that has at most `limit`."""
        if node is None or _is_null(node):
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.fault(node, f"{what} must be a list")
            return ()
        if len(node.value) > limit:
            self.fault(node, f"{len(node.value)} {what}, the limit is {limit}")
            return ()
        items: Sequence[yaml.Node] = node.value
        return items

    def text(self, node: yaml.Node | None, what: str) -> str:
        """A scalar as it is written; "" when absent."""
        if node is None or _is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self.fault(node, f"{what} must be a text")
            return ""
        text: str = node.value
        return text

    def duration(self, node: yaml.Node | None, what: str) -> int:
        """A duration in ms; 0 when absent."""
        text = self.text(node, what)
        if node is None or not text:
            return 0
        try:
            return durations.parse(text)
        except ValueError as exc:
            self.fault(node, str(exc))
            return 0

    def count(self, node: yaml.Node | None, what: str) -> int:
        """A whole number; 0 when absent."""
        text = self.text(node, what)
        if text and node is not None and not (text.isascii() and text.isdigit() and len(text) < 10):
            self.fault(node, f"{what} must be a whole number, not {text[:40]!r}")
            return 0
        return int(text or 0)

    def texts(
        self, node: yaml.Node | None, what: str, *, is_labels: bool, alert: str = ""
    ) -> dict[str, str]:
        """Labels or annotations: names to texts, which are templates where an alert has them."""
        if node is None:
            return {}
        texts = {}
        for name, (name_node, value) in self.fields(node, f"{what}s").items():
            is_reserved = is_labels and name == METRIC_NAME
            if not name or len(name) > NAME_CHARACTERS_MAX or is_reserved:
                self.fault(name_node, f"invalid {what} name: {name[:80]!r}")
            else:
                texts[name] = self.text(value, f"{what} {name}")
                try:
                    gotemplate.check_alert(texts[name] if alert else "", alert)
                except gotemplate.TemplateError as exc:
                    self.fault(value, f'{what} "{name}": {exc.describe()}')
        return texts


def parse(text: str, namespace: str, bounds: Bounds = Bounds()) -> tuple[list[Group], bool]:
    """The groups of a rule file, or the one group that `text` is, and whether it is a file.
    Raises InvalidRules with all that is wrong.
    """
    reading = _Reading(bounds)
    root = _root(text, reading)
    is_file = isinstance(root, yaml.MappingNode) and any(
        isinstance(name, yaml.ScalarNode) and name.value == "groups" for name, _ in root.value
    )
    groups = (_file if is_file else _single)(root, namespace, reading)
    _raise(reading)
    return groups, is_file


def parse_file(text: str, namespace: str, bounds: Bounds = Bounds()) -> list[Group]:
    """The groups of a rule file. Raises InvalidRules with all that is wrong."""
    reading = _Reading(bounds)
    groups = _file(_root(text, reading), namespace, reading)
    _raise(reading)
    return groups


def parse_group(text: str, namespace: str, bounds: Bounds = Bounds()) -> Group:
    """The one group that `text` is, as Mimir's ruler takes it. Raises InvalidRules."""
    reading = _Reading(bounds)
    (group,) = _single(_root(text, reading), namespace, reading)
    _raise(reading)
    return group


def _file(root: yaml.Node | None, namespace: str, reading: _Reading) -> list[Group]:
    top = reading.fields(root, "a rule file", frozenset({"groups"})) if root is not None else {}
    groups: dict[str, Group] = {}
    _, listed = top.get("groups", (None, None))
    for node in reading.items(listed, "groups", reading.bounds.groups):
        group = _group(node, namespace, reading)
        reading.about = ""
        if group.name in groups:
            reading.fault(node, f'groupname: "{group.name}" is repeated in the same file')
        groups[group.name] = group
    return list(groups.values())


def _single(root: yaml.Node | None, namespace: str, reading: _Reading) -> list[Group]:
    if root is not None:
        return [_group(root, namespace, reading)]
    if not reading.faults:
        reading.faults.append(Fault(1, 1, "Groupname must not be empty"))
    return [Group(namespace, "")]


@lru_cache(maxsize=4096)
def stored_group(text: str, namespace: str) -> Group:
    """A group that `printing.group_text` wrote; no bounds, which may be lower than they were."""
    return parse_group(text, namespace, Bounds(rules=2**31, text_bytes=2**31, interval_ms_min=0))


def duplicates(groups: Sequence[Group]) -> Iterator[str]:
    """Rules with the same name and labels as one before, as `promtool check rules` warns."""
    seen = set()
    for group in groups:
        for rule in group.labelled():
            identity = (type(rule), rule.name, tuple(sorted(rule.labels.items())))
            if identity in seen:
                yield f'group "{group.name}": duplicate rule {rule.name} {dict(rule.labels)}'
            seen.add(identity)


def _root(text: str, reading: _Reading) -> yaml.Node | None:
    """The text's only document; None when it is empty or no YAML, which is then a fault."""
    limit = reading.bounds.text_bytes
    try:
        if (size := len(text.encode())) > limit:
            reading.faults.append(Fault(1, 1, f"{size} bytes of rules, the limit is {limit}"))
            return None
        root: yaml.Node | None = Composer(text, limit).get_single_node()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        reading.faults.append(Fault(line, column, f"yaml: {exc.problem or exc.context}"))
    except (yaml.YAMLError, UnicodeError) as exc:
        reading.faults.append(Fault(1, 1, f"yaml: {str(exc).splitlines()[0]}"))
    else:
        return root
    return None


def _raise(reading: _Reading) -> None:
    if reading.faults:
        raise InvalidRules(faults=tuple(reading.faults))


def _group(node: yaml.Node, namespace: str, reading: _Reading) -> Group:
    reading.about = ""
    values = {k: v for k, (_, v) in reading.fields(node, "a rule group", GROUP_FIELDS).items()}
    name = reading.text(values.get("name"), "name")
    if not name:
        reading.fault(node, "Groupname must not be empty")
    elif len(name) > NAME_CHARACTERS_MAX or "\0" in name:
        reading.fault(values["name"], "Groupname is too long, or has a NUL")
    reading.about = f'group "{name[:80]}": '
    interval_ms = reading.duration(values.get("interval"), "interval")
    if 0 < interval_ms < reading.bounds.interval_ms_min:
        shortest = durations.to_text(reading.bounds.interval_ms_min)
        reading.fault(values["interval"], f"the shortest interval is {shortest}")
    offset_ms = reading.duration(values.get("query_offset"), "query_offset")
    limit = reading.count(values.get("limit"), "limit")
    labels = reading.texts(values.get("labels"), "label", is_labels=True)
    rules = []
    for number, one in enumerate(
        reading.items(values.get("rules"), "rules of a group", reading.bounds.rules), 1
    ):
        rules.append(_rule(one, f'group "{name[:80]}", rule {number}, ', reading))
    return Group(namespace, name, interval_ms, offset_ms, limit, labels, tuple(rules))


def _rule(node: yaml.Node, about: str, reading: _Reading) -> Rule:
    reading.about = about
    values = {k: v for k, (_, v) in reading.fields(node, "a rule", RULE_FIELDS).items()}
    record = reading.text(values.get("record"), "record")
    alert = reading.text(values.get("alert"), "alert")
    reading.about = f'{about}"{(record or alert)[:80]}": '
    if bool(record) == bool(alert):
        which = "only one" if record else "one"
        reading.fault(node, f"{which} of 'record' {'and' if record else 'or'} 'alert' must be set")
    expr = _expression(node, values, reading)
    labels = reading.texts(
        values.get("labels"), "label", is_labels=True, alert="" if record else alert
    )
    if not record:
        return AlertingRule(
            alert,
            expr,
            reading.duration(values.get("for"), "for"),
            reading.duration(values.get("keep_firing_for"), "keep_firing_for"),
            labels,
            reading.texts(values.get("annotations"), "annotation", is_labels=False, alert=alert),
        )
    for name in OF_ALERTS:
        if name in values:
            reading.fault(values[name], f"invalid field '{name}' in recording rule")
    if "{" in record or "}" in record:
        reading.fault(
            values["record"],
            f"braces present in the recording rule name; should it be in expr?: {record[:80]}",
        )
    return RecordingRule(record, expr, labels)


def _expression(node: yaml.Node, values: Mapping[str, yaml.Node], reading: _Reading) -> str:
    text = reading.text(values.get("expr"), "expr")
    if not text:
        reading.fault(values.get("expr", node), "field 'expr' must be set in rule")
        return ""
    try:
        parse_query(text)
    except ParseError as exc:
        reading.fault(values["expr"], f"could not parse expression: {exc.text}")
    return text


def _is_null(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
