"""Relabelling: rules that change, keep or drop a label set, one after the other: pure.

    labels ─▶ rule ─▶ rule ─▶ … ─▶ labels, or None: dropped

Patterns are RE2, as in Prometheus, so none takes longer than its text is long; they match whole
values, and `.` matches every character.
Source: Prometheus `model/relabel`; Go `regexp.Expand`.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, model_validator

from data_ingest.patterns import compiled
from data_ingest.scrape.words import Count, Strict

_ACTIONS: Final = (
    *("replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "lowercase", "uppercase"),
    *("labelmap", "labeldrop", "labelkeep"),
)
_NEED_TARGET: Final = {"replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"}
_USES: Final = {
    "labeldrop": {"regex"},
    "labelkeep": {"regex"},
    "keepequal": {"source_labels", "target_label"},
    "dropequal": {"source_labels", "target_label"},
}
_REFERENCE: Final = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")


class Rule(Strict):
    """One rule, in Prometheus' words."""

    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    regex: str = "(.*)"
    modulus: Count = 0
    target_label: str = ""
    replacement: str = "$1"
    action: Annotated[str, BeforeValidator(lambda text: str(text).lower())] = "replace"

    @model_validator(mode="after")
    def can_work(self) -> Self:
        """What the action needs is there."""
        if self.action not in _ACTIONS:
            raise ValueError(f"action {self.action!r} is none of {', '.join(_ACTIONS)}")
        compiled(self.regex)
        if self.action in _NEED_TARGET and not self.target_label:
            raise ValueError(f"{self.action} needs target_label")
        if self.action == "hashmod" and not self.modulus:
            raise ValueError("hashmod needs modulus")
        uses = _USES.get(self.action)
        if uses and (spare := self.model_fields_set - uses - {"action"}):
            raise ValueError(f"{self.action} does not use {', '.join(sorted(spare))}")
        return self


def relabel(labels: Mapping[str, str], rules: Sequence[Rule]) -> dict[str, str] | None:
    """The labels after all rules, without empty ones; None as soon as a rule drops them."""
    changed = dict(labels)
    for rule in rules:
        if not _apply(rule, changed):
            return None
    return {name: value for name, value in changed.items() if value}


def expand(template: str, match: Any) -> str:
    """The template with `$1`, `${1}`, `${name}` replaced by groups; `$$` is a dollar."""

    def group(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        if name.isdecimal() and (name == "0" or name[0] != "0"):
            number = int(name)
            return (match.group(number) or "") if number <= match.re.groups else ""
        return match.groupdict().get(name) or ""

    return _REFERENCE.sub(group, template)


def _apply(rule: Rule, labels: dict[str, str]) -> bool:
    """Whether the rule keeps the labels, which it changes."""
    value = rule.separator.join(labels.get(name, "") for name in rule.source_labels)
    if rule.action in {"keep", "drop"}:
        return bool(compiled(rule.regex).fullmatch(value)) == (rule.action == "keep")
    if rule.action in {"keepequal", "dropequal"}:
        return (labels.get(rule.target_label, "") == value) == (rule.action == "keepequal")
    if rule.action in {"labelmap", "labeldrop", "labelkeep"}:
        _change_names(rule, labels)
    elif rule.action == "replace":
        if (fit := compiled(rule.regex).fullmatch(value)) and (
            target := expand(rule.target_label, fit)
        ):
            labels[target] = expand(rule.replacement, fit)
    elif rule.action == "hashmod":
        digest = hashlib.md5(value.encode(), usedforsecurity=False).digest()
        labels[rule.target_label] = str(int.from_bytes(digest[8:]) % rule.modulus)
    else:
        labels[rule.target_label] = value.lower() if rule.action == "lowercase" else value.upper()
    return True


def _change_names(rule: Rule, labels: dict[str, str]) -> None:
    """Labels whose name fits are copied, or are gone, or the others are."""
    for name, value in [*labels.items()]:
        fit = compiled(rule.regex).fullmatch(name)
        if rule.action == "labelmap":
            if value and fit and (target := expand(rule.replacement, fit)):
                labels[target] = value
        elif bool(fit) == (rule.action == "labeldrop"):
            del labels[name]
