"""Prometheus' rule files, read strictly; pure. Every fault says its line and column.

    text ─ YAML nodes ─▶ fields, of which none is unknown ─▶ rules ─▶ groups

Source: Prometheus `model/rulefmt`, whose words the faults have.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from data_api import gotemplate
from data_api.errors import BadRequest
from data_api.gotemplate import durations
from data_api.model import METRIC_NAME
from data_api.promql import ParseError
from data_api.promql.printer import format_duration
from data_api.questions import parse as parse_query
from data_api.rules import yamls
from data_api.rules.model import AlertingRule, Group, RecordingRule, Rule

Fault = yamls.Fault
FAULTS_MAX: Final = 50  # that are listed
NAME_CHARACTERS_MAX: Final = 1024
_TYPES: Final = {"string_type": "text", "tuple_type": "list", "dict_type": "mapping"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one tenant may have."""

    groups: int = 400
    rules: int = 200  # of one group
    text_bytes: int = 4 * 1024 * 1024  # of all
    interval_ms_min: int = 5_000
    interval_ms: int = 60_000  # of a group that says none


class InvalidRules(BadRequest):
    """The rules cannot be used; facts: `faults`."""

    def describe(self) -> str:
        """A line for each fault, as `promtool check rules` writes them."""
        return "\n".join(map(str, self.facts["faults"]))


def _whole(text: Any) -> int:
    digits = str(text)
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise ValueError(f"limit must be a whole number, not {digits[:40]!r}")
    return int(digits)


def _bounds(info: ValidationInfo) -> Bounds:
    assert isinstance(info.context, Bounds)
    return info.context


def _interval(interval_ms: int, info: ValidationInfo) -> int:
    shortest_ms = _bounds(info).interval_ms_min
    if 0 < interval_ms < shortest_ms:
        raise ValueError(f"the shortest interval is {format_duration(shortest_ms)}")
    return interval_ms


def _named(name: str) -> str:
    if not name:
        raise ValueError("Groupname must not be empty")
    if len(name) > NAME_CHARACTERS_MAX or "\0" in name:
        raise ValueError("Groupname is too long, or has a NUL")
    return name


def _expression(text: str) -> str:
    if not text:
        raise ValueError("field 'expr' must be set in rule")
    try:
        parse_query(text)
    except ParseError as exc:
        raise ValueError(f"could not parse expression: {exc.text}") from None
    return text


def _texts(texts: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """Labels or annotations: names to texts, which are templates where an alert has them."""
    what, alert = str(info.field_name).removesuffix("s"), info.data.get("alert", "")
    for name, text in texts.items():
        is_reserved = what == "label" and name == METRIC_NAME
        if not name or len(name) > NAME_CHARACTERS_MAX or is_reserved:
            raise ValueError(f"invalid {what} name: {name[:80]!r}")
        try:
            gotemplate.check_alert(text if alert else "", alert)
        except gotemplate.TemplateError as exc:
            raise ValueError(f'{what} "{name}": {exc.describe()}') from None
    return texts


def _at_most(items: Any, info: ValidationInfo) -> Any:
    limit = _bounds(info).groups if info.field_name == "groups" else _bounds(info).rules
    if isinstance(items, list) and len(items) > limit:
        raise ValueError(f"{len(items)} {info.field_name}, the limit is {limit}")
    return items


Duration = Annotated[int, BeforeValidator(lambda text: durations.parse(str(text)))]
Text = Annotated[str, BeforeValidator(lambda text: "" if text is None else text)]
Texts = Annotated[dict[str, Text], AfterValidator(_texts)]


class _Fields(BaseModel):
    """A mapping of which no field is unknown; what has no value is as if it were not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    what: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _given(cls, fields: Any) -> Any:
        if not isinstance(fields, dict | None):
            raise ValueError(f"{cls.what} must be a mapping")  # noqa: TRY004 - for pydantic
        return {name: value for name, value in (fields or {}).items() if value is not None}


class _Rule(_Fields):
    what = "a rule"
    record: str = ""
    alert: str = ""
    expr: Annotated[str, AfterValidator(_expression), Field(validate_default=True)] = ""
    for_: Annotated[Duration, Field(alias="for")] = 0
    keep_firing_for: Duration = 0
    labels: Texts = {}
    annotations: Texts = {}

    @field_validator("record")
    @classmethod
    def _without_braces(cls, record: str) -> str:
        if "{" in record or "}" in record:
            raise ValueError(
                f"braces present in the recording rule name; should it be in expr?: {record[:80]}"
            )
        return record

    @field_validator("for_", "keep_firing_for", "annotations")
    @classmethod
    def _of_alerts(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("record"):
            name = str(info.field_name).removesuffix("_")
            raise ValueError(f"invalid field '{name}' in recording rule")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.record) == bool(self.alert):
            which, word = ("only one", "and") if self.record else ("one", "or")
            raise ValueError(f"{which} of 'record' {word} 'alert' must be set")
        return self

    def made(self) -> Rule:
        if self.record:
            return RecordingRule(self.record, self.expr, self.labels)
        times = self.for_, self.keep_firing_for
        return AlertingRule(self.alert, self.expr, *times, self.labels, self.annotations)


class _Group(_Fields):
    what = "a rule group"
    name: Annotated[str, AfterValidator(_named), Field(validate_default=True)] = ""
    interval: Annotated[Duration, AfterValidator(_interval)] = 0
    query_offset: Duration = 0
    limit: Annotated[int, BeforeValidator(_whole)] = 0
    labels: Texts = {}
    rules: Annotated[tuple[_Rule, ...], BeforeValidator(_at_most)] = ()

    def made(self, namespace: str) -> Group:
        times = self.interval, self.query_offset
        rules = tuple(rule.made() for rule in self.rules)
        return Group(namespace, self.name, *times, self.limit, self.labels, rules)


class _File(_Fields):
    what = "a rule file"
    groups: Annotated[tuple[_Group, ...], BeforeValidator(_at_most)] = ()


def parse(text: str, namespace: str, bounds: Bounds = Bounds()) -> tuple[list[Group], bool]:
    """The groups of a rule file, or the one group that `text` is, and whether it is a file.
    Raises InvalidRules with all that is wrong.
    """
    node, value = _read(text, bounds)
    is_file = isinstance(value, dict) and "groups" in value
    return (_groups if is_file else _single)(node, value, namespace, bounds), is_file


def parse_file(text: str, namespace: str, bounds: Bounds = Bounds()) -> list[Group]:
    """The groups of a rule file. Raises InvalidRules with all that is wrong."""
    return _groups(*_read(text, bounds), namespace, bounds)


def parse_group(text: str, namespace: str, bounds: Bounds = Bounds()) -> Group:
    """The one group that `text` is, as Mimir's ruler takes it. Raises InvalidRules."""
    return _single(*_read(text, bounds), namespace, bounds)[0]


def _read(text: str, bounds: Bounds) -> tuple[Any, Any]:
    try:
        return yamls.read(text, bounds.text_bytes)
    except yamls.BadYaml as exc:
        raise InvalidRules(faults=(exc.fault,)) from None


def _single(node: Any, value: Any, namespace: str, bounds: Bounds) -> list[Group]:
    """As a file that has this group alone."""
    alone = node or yaml.ScalarNode("", "")
    mark = alone.start_mark
    groups = yaml.ScalarNode("", "groups", mark), yaml.SequenceNode("", [alone], mark)
    file = yaml.MappingNode("", [groups], mark)
    return _groups(file, {"groups": [value]}, namespace, bounds)


def _groups(node: Any, value: Any, namespace: str, bounds: Bounds) -> list[Group]:
    try:
        groups = [one.made(namespace) for one in _File.model_validate(value, context=bounds).groups]
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)[:FAULTS_MAX]
        faults = (_fault(one, node, value) for one in errors)
        by_place = sorted(faults, key=lambda fault: (fault.line, fault.column))
        raise InvalidRules(faults=tuple(by_place)) from None
    names: dict[str, int] = {}
    for index, group in enumerate(groups):
        if names.setdefault(group.name, index) != index:
            text = f'groupname: "{group.name}" is repeated in the same file'
            raise InvalidRules(faults=(yamls.fault(node, ("groups", index), text),))
    return groups


def _fault(error: Any, node: Any, value: Any) -> Fault:
    """What pydantic says, in Prometheus' words, and what it is about."""
    path, text = error["loc"], error["msg"].removeprefix("Value error, ")
    about, what = "", _File.what
    if len(path) > 2:
        group = value["groups"][path[1]] or {}
        about, what = f'group "{group.get("name", "")[:80]}": ', _Group.what
    if len(path) > 3 and path[2] == "rules":
        rule, what = group["rules"][path[3]], _Rule.what
        names = [rule.get(kind) for kind in ("record", "alert")] if isinstance(rule, dict) else []
        name = next((one for one in names if isinstance(one, str)), "")
        about = f'{about[:-2]}, rule {path[3] + 1}, "{name[:80]}": '
    if is_unknown := error["type"] == "extra_forbidden":
        text = f"field {path[-1]} not found in {what}"
    elif kind := _TYPES.get(error["type"]):
        text = f"{path[-1]} must be a {kind}"
    about = "" if path[2:] == ("name",) else about
    return yamls.fault(node, path, about + text, at_key=is_unknown)


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
