"""Relabelling: rules that change, keep or drop a label set, one after the other: pure.

    labels ─▶ rule ─▶ rule ─▶ … ─▶ labels, or None: dropped

Patterns are RE2, as in Prometheus, so none takes longer than its text is long; they match whole
values, and `.` matches every character.
Source: Prometheus `model/relabel`; Go `regexp.Expand`.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from data_ingest.patterns import compiled

DEFAULT_REGEX: Final = "(.*)"
_REFERENCE: Final = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; the fields are Prometheus' own."""

    action: str = "replace"
    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    regex: str = DEFAULT_REGEX
    modulus: int = 0
    target_label: str = ""
    replacement: str = "$1"


def relabel(labels: Mapping[str, str], rules: Sequence[Rule]) -> Labels | None:
    """The labels after all rules, without empty ones; None as soon as a rule drops them."""
    changed = dict(labels)
    for rule in rules:
        value = rule.separator.join(changed.get(name, "") for name in rule.source_labels)
        if not ACTIONS[rule.action](changed, rule, value):
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


def _replace(labels: Labels, rule: Rule, value: str) -> bool:
    match = compiled(rule.regex).fullmatch(value)
    if match and (target := expand(rule.target_label, match)):
        labels[target] = expand(rule.replacement, match)
    return True


def _keep(_: Labels, rule: Rule, value: str) -> bool:
    return bool(compiled(rule.regex).fullmatch(value))


def _drop(_: Labels, rule: Rule, value: str) -> bool:
    return not compiled(rule.regex).fullmatch(value)


def _keep_equal(labels: Labels, rule: Rule, value: str) -> bool:
    return labels.get(rule.target_label, "") == value


def _drop_equal(labels: Labels, rule: Rule, value: str) -> bool:
    return labels.get(rule.target_label, "") != value


def _hashmod(labels: Labels, rule: Rule, value: str) -> bool:
    digest = hashlib.md5(value.encode(), usedforsecurity=False).digest()
    labels[rule.target_label] = str(int.from_bytes(digest[8:]) % rule.modulus)
    return True


def _lowercase(labels: Labels, rule: Rule, value: str) -> bool:
    labels[rule.target_label] = value.lower()
    return True


def _uppercase(labels: Labels, rule: Rule, value: str) -> bool:
    labels[rule.target_label] = value.upper()
    return True


def _labelmap(labels: Labels, rule: Rule, _: str) -> bool:
    pattern = compiled(rule.regex)
    for name, value in [*labels.items()]:
        match = pattern.fullmatch(name)
        if value and match and (target := expand(rule.replacement, match)):
            labels[target] = value
    return True


def _labeldrop(labels: Labels, rule: Rule, _: str) -> bool:
    pattern = compiled(rule.regex)
    for name in [name for name in labels if pattern.fullmatch(name)]:
        del labels[name]
    return True


def _labelkeep(labels: Labels, rule: Rule, _: str) -> bool:
    pattern = compiled(rule.regex)
    for name in [name for name in labels if not pattern.fullmatch(name)]:
        del labels[name]
    return True


ACTIONS: Final[Mapping[str, Callable[[Labels, Rule, str], bool]]] = {
    "replace": _replace,
    "keep": _keep,
    "drop": _drop,
    "keepequal": _keep_equal,
    "dropequal": _drop_equal,
    "hashmod": _hashmod,
    "lowercase": _lowercase,
    "uppercase": _uppercase,
    "labelmap": _labelmap,
    "labeldrop": _labeldrop,
    "labelkeep": _labelkeep,
}
"""Each changes the labels and says whether they are kept."""
