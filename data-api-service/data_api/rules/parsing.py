"""Prometheus' rule files, read strictly; pure. Every fault says its line and column.

    text ─ YAML nodes ─▶ fields, of which none is unknown ─▶ rules ─▶ groups

Source: Prometheus `model/rulefmt`, whose words the faults have.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Annotated, Any, Final

import yaml
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from data_api.errors import BadRequest
from data_api.rules import fields, yamls
from data_api.rules.fields import Bounds
from data_api.rules.model import Group

Fault = yamls.Fault
BOUNDS: Final = Bounds()
FAULTS_MAX: Final = 50  # that are listed
_TYPES: Final = {"string_type": "text", "tuple_type": "list", "dict_type": "mapping"}


_OF_ALERTS: Final = {"for", "keep_firing_for", "annotations"}


class InvalidRules(BadRequest):
    """The rules cannot be used; facts: `faults`."""

    def describe(self) -> str:
        """A line for each fault, as `promtool check rules` writes them."""
        return "\n".join(map(str, self.facts["faults"]))


@dataclass(frozen=True, slots=True)
class _File:
    __pydantic_config__ = ConfigDict(extra="forbid")
    groups: Annotated[
        tuple[Annotated[Group, BeforeValidator(fields.group)], ...], fields.AtMost
    ] = ()


_FILE: Final = TypeAdapter(
    Annotated[_File, BeforeValidator(partial(fields.mapping, "a rule file"))]
)


def parse(text: str, namespace: str, bounds: Bounds = BOUNDS) -> tuple[list[Group], bool]:
    """The groups of a rule file, or the one group that `text` is, and whether it is a file.
    Raises InvalidRules with all that is wrong.
    """
    node, value = _read(text, bounds)
    is_file = isinstance(value, dict) and "groups" in value
    return (_groups if is_file else _single)(node, value, namespace, bounds), is_file


def parse_file(text: str, namespace: str, bounds: Bounds = BOUNDS) -> list[Group]:
    """The groups of a rule file. Raises InvalidRules with all that is wrong."""
    return _groups(*_read(text, bounds), namespace, bounds)


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
        read = _FILE.validate_python(value, context=bounds).groups
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)[:FAULTS_MAX]
        faults = (_fault(one, node, value) for one in errors)
        by_place = sorted(faults, key=lambda fault: (fault.line, fault.column))
        raise InvalidRules(faults=tuple(by_place)) from None
    groups = [replace(group, namespace=namespace) for group in read]
    names: dict[str, int] = {}
    for index, group in enumerate(groups):
        if names.setdefault(group.name, index) != index:
            text = f'groupname: "{group.name}" is repeated in the same file'
            raise InvalidRules(faults=(yamls.fault(node, ("groups", index), text),))
    return groups


def _fault(error: Any, node: Any, value: Any) -> Fault:
    """What pydantic says, in Prometheus' words, and what it is about."""
    path, text = error["loc"], error["msg"].removeprefix("Value error, ")
    about, what = "", "a rule file"
    if len(path) > 2:
        group = value["groups"][path[1]] or {}
        about, what = f'group "{group.get("name", "")[:80]}": ', "a rule group"
    if len(path) > 3 and path[2] == "rules":
        path = (*path[:4], *path[5:])  # without the kind of the rule
        rule, what = group["rules"][path[3]], "a rule"
        names = [rule.get(kind) for kind in ("record", "alert")] if isinstance(rule, dict) else []
        name = next((one for one in names if isinstance(one, str)), "")
        about = f'{about[:-2]}, rule {path[3] + 1}, "{name[:80]}": '
    if is_unknown := error["type"] == "unexpected_keyword_argument":
        text = f"field {path[-1]} not found in {what}"
        if what == "a rule" and path[-1] in _OF_ALERTS:
            text = f"invalid field '{path[-1]}' in recording rule"
    elif kind := _TYPES.get(error["type"]):
        text = f"{path[-1]} must be a {kind}"
    about = "" if path[2:] == ("name",) else about
    return yamls.fault(node, path, about + text, at_key=is_unknown)


@lru_cache(maxsize=4096)
def stored_group(text: str, namespace: str) -> Group:
    """A group that `printing.group_text` wrote; no bounds, which may be lower than they were."""
    bounds = Bounds(rules=2**31, text_bytes=2**31, interval_ms_min=0)
    return parse(text, namespace, bounds)[0][0]


def duplicates(groups: Sequence[Group]) -> Iterator[str]:
    """Rules with the same name and labels as one before, as `promtool check rules` warns."""
    seen = set()
    for group in groups:
        for rule in group.labelled():
            identity = (type(rule), rule.name, tuple(sorted(rule.labels.items())))
            if identity in seen:
                yield f'group "{group.name}": duplicate rule {rule.name} {dict(rule.labels)}'
            seen.add(identity)
