"""Series selectors, as in PromQL: `up{job="node",instance=~"a.*"}`, `{"my.metric",__name__!=""}`.

Source: Prometheus, "Querying basics" (matchers are anchored, a missing label is the empty string).
"""

import re
from ast import literal_eval
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.patterns import compiled

CHARACTERS_MAX: Final = 10_000
_ESCAPE: Final = r"""\\(?:[abfnrtv\\"']|u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4})"""
_STRING: Final = rf"""(?:"(?:[^"\\\n]|{_ESCAPE})*"|'(?:[^'\\\n]|{_ESCAPE})*'|`[^`]*`)"""
_METRIC: Final = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(\{)?\s*")
_ENTRY: Final = re.compile(
    rf"(?P<name>[a-zA-Z_][a-zA-Z0-9_]*|{_STRING})\s*"
    rf"(?:(?P<operator>=~|!~|!=|=)\s*(?P<value>{_STRING}))?\s*(?:,\s*|(?=\}}))"
)


class BadSelector(ServiceError):
    """The series selector cannot be read"""

    kind = Kind.BAD_DATA


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label. operator: `=`, `!=`, `=~` or `!~`."""

    name: str
    operator: str
    value: str

    def matches(self, value: str) -> bool:
        """Whether a label of this value, empty for a missing one, meets the condition."""
        if self.operator.endswith("~"):
            is_equal = compiled(self.value).fullmatch(value) is not None
        else:
            is_equal = value == self.value
        return is_equal != self.operator.startswith("!")


def parse(text: str) -> tuple[Matcher, ...]:
    """The matchers of a selector, at least one of which does not match the empty string."""
    if "\0" in text:
        raise BadSelector(detail="it holds a NUL character")
    if len(text) > CHARACTERS_MAX:
        raise BadSelector(detail="too long", characters=len(text), limit=CHARACTERS_MAX)
    start = _METRIC.match(text)
    assert start is not None
    matchers = [Matcher("__name__", "=", start[1])] if start[1] else []
    at = start.end()
    if start[2]:
        while entry := _ENTRY.match(text, at):
            matchers.append(_matcher(entry))
            at = entry.end()
        at += text.startswith("}", at)
    if text[at:].strip() or (start[2] and text[at - 1] != "}"):
        raise BadSelector(detail=f"unexpected {text[at : at + 20]!r}", position=at, selector=text)
    if all(matcher.matches("") for matcher in matchers):
        raise BadSelector(detail="one matcher must not match the empty string", selector=text)
    return tuple(matchers)


def selects(selectors: Sequence[Sequence[Matcher]], labels: Mapping[str, str]) -> bool:
    """Whether one of the selectors selects the series with these labels."""
    return any(
        all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)
        for matchers in selectors
    )


def _matcher(entry: re.Match[str]) -> Matcher:
    name, operator, value = entry["name"], entry["operator"], entry["value"]
    if operator is None:
        if name[0] not in "\"'`":
            raise BadSelector(detail=f"the label {name} has no value", selector=entry.string)
        name, operator, value = "__name__", "=", name
    matcher = Matcher(_text(name), operator, _text(value))
    try:
        matcher.matches("")
    except ValueError as exc:
        raise BadSelector(detail=str(exc), selector=entry.string) from None
    return matcher


def _text(token: str) -> str:
    if token[0] == "`":
        return token[1:-1]
    return str(literal_eval(token)) if token[0] in "\"'" else token
