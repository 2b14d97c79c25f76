"""Matchers as Alertmanager writes them: `severity="page"`, `{team=~"a|b", env!=test}`. Pure.

Source: prometheus/alertmanager `pkg/labels/parse.go`; names may be quoted, so any UTF-8 is one.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

import re2

from data_api.model import Labels, Matcher, MatchOp
from data_api.notify.errors import BadMatcher

MATCHERS_MAX: Final = 64
TEXT_CHARACTERS_MAX: Final = 8192
REGEX_BYTES_MAX: Final = 512 * 1024
"""Memory of one pattern, which lives as long as its silence or configuration does."""
_QUOTED: Final = r'"((?:\\.|[^"\\])*)"'
_BARE: Final = r"""([^\s{}!=~,\\"'`]%s)"""
_ONE: Final = re.compile(
    rf"\s*(?:{_QUOTED}|{_BARE % '+'})\s*(=~|!~|!=|=)\s*(?:{_QUOTED}|{_BARE % '*'})\s*(,|$)",
    re.DOTALL,
)
_ESCAPES: Final = {"n": "\n", '"': '"', "\\": "\\"}

Predicate = Callable[[Labels], bool]


def parse(text: str, room: int = MATCHERS_MAX) -> tuple[Matcher, ...]:
    """The matchers in `text`, one or a list in or without braces; BadMatcher says where and why."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise BadMatcher(detail="a matcher is too long", limit=TEXT_CHARACTERS_MAX)
    inner = text.strip()
    if inner.startswith("{") != inner.endswith("}"):
        raise BadMatcher(detail=f"matcher {text!r}: one brace is missing")
    inner = inner.removeprefix("{").removesuffix("}").strip()
    matchers: list[Matcher] = []
    at = 0
    while at < len(inner):
        if len(matchers) >= room:
            raise BadMatcher(detail="too many matchers", limit=MATCHERS_MAX)
        match = _ONE.match(inner, at)
        if match is None:
            raise BadMatcher(
                detail=f"matcher {text!r} at {inner[at : at + 30]!r}: expected name, then one of"
                ' = != =~ !~, then a value, in "quotes" where it has other characters'
            )
        name = _unescape(match[1]) if match[1] is not None else match[2]
        value = _unescape(match[4]) if match[4] is not None else match[5]
        matchers.append(checked(name, MatchOp(match[3]), value))
        at = match.end()
    return tuple(matchers)


def parse_all(texts: Iterable[str]) -> tuple[Matcher, ...]:
    """The matchers in all of them."""
    matchers: list[Matcher] = []
    for text in texts:
        matchers += parse(text, MATCHERS_MAX - len(matchers))
    return tuple(matchers)


def checked(name: str, op: MatchOp, value: str) -> Matcher:
    """The matcher, whose name is not empty and whose pattern RE2 takes; or BadMatcher."""
    if not name:
        raise BadMatcher(detail="a matcher needs a label name")
    if op in {MatchOp.REGEX, MatchOp.NOT_REGEX}:
        try:
            _pattern(value)
        except re2.error as exc:
            why = exc.args[0].decode(errors="replace") if exc.args else "RE2 refuses it"
            raise BadMatcher(detail=f"matcher {name}{op}{value!r}: {why}") from None
    return Matcher(name, op, value)


def predicate(matchers: Iterable[Matcher]) -> Predicate:
    """A function that says whether all matchers hold; an absent label has the value ``""``."""
    tests = [(matcher.name, _test(matcher)) for matcher in matchers]
    return lambda labels: all(test(labels.get(name, "")) for name, test in tests)


def _test(matcher: Matcher) -> Callable[[str], bool]:
    if matcher.op not in {MatchOp.REGEX, MatchOp.NOT_REGEX}:
        return matcher.predicate()
    whole, is_wanted = _pattern(matcher.value).fullmatch, matcher.op is MatchOp.REGEX
    return lambda value: (whole(value) is not None) == is_wanted


def _pattern(text: str) -> re2._Regexp:
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = REGEX_BYTES_MAX
    return re2.compile(text, options)


def to_text(matchers: Iterable[Matcher]) -> str:
    """`{a="b",c=~"d"}`, as Alertmanager names a route."""
    return "{" + ",".join(map(str, matchers)) + "}"


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[0]), text, flags=re.DOTALL)
