"""Text → the tokens of Go's text/template, each with its place.

Outside `{{ }}` all is text; `{{- ` and ` -}}` eat the white space beside them. Source: Go's
`text/template/parse/lex.go`.
"""

import ast
import math
import re
from collections.abc import Generator, Iterator
from typing import NamedTuple

from data_api.gotemplate.errors import CallFailed, TemplateSyntax
from data_api.gotemplate.formatting import quote

KEYWORDS = frozenset({"break", "continue", "define", "else", "end", "if", "range", "with"})
KEYWORDS |= {"block", "template"}
_SPACE = " \t\r\n"
# Our own patterns, anchored and without nested repetition: linear in the text.
_OPEN = re.compile(r"\{\{(-(?=[ \t\r\n]))?")
_COMMENT = re.compile(r"[ \t\r\n]*/\*")
_COMMENT_END = re.compile(r"\*/([ \t\r\n]-)?\}\}")
_INSIDE = re.compile(
    r"""(?P<close>[ \t\r\n]+-\}\}|\}\})
    |(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:\\[^\n]|[^"\\\n])*"|`[^`]*`)
    |(?P<number>[+-]?\.?[0-9](?:[eE][+-]|[\w.])*)
    |(?P<path>\$\w*(?:\.[^\W\d]\w*)*|(?:\.[^\W\d]\w*)+|\.)
    |(?P<word>\w+)
    |(?P<right>\)(?:\.[^\W\d]\w*)*)
    |(?P<symbol>:=|[(|,=])""",
    re.VERBOSE,
)
_STRING = re.compile(
    r'"(?:[^\\"\n]|\\(?:[abfnrtv\\"]|[0-3][0-7]{2}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}'
    r'|U[0-9a-fA-F]{8}))*"'
)
_UNFINISHED = {"": "unclosed action", '"': "unterminated quoted string", ":": "expected :="}
_UNFINISHED["`"] = "unterminated raw quoted string"


class Token(NamedTuple):
    """kind: `text`, `{{`, `}}`, `eof`, a keyword, a symbol, `)`, or a name of `_INSIDE`."""

    kind: str
    text: str
    at: int

    def __str__(self) -> str:
        """As Go's messages name a token."""
        if self.kind == "eof":
            return "EOF"
        if self.kind in KEYWORDS:
            return f"<{self.text}>"
        return quote(self.text) if len(self.text) <= 10 else f"{quote(self.text[:10])}..."


def error(name: str, text: str, at: int, reason: str) -> TemplateSyntax:
    """What is wrong at a character of the template `name`, by its line."""
    line = 1 + text.count("\n", 0, at)
    return TemplateSyntax(reason=f"template: {name}:{line}: {reason}")


def tokens(name: str, text: str) -> Iterator[Token]:
    """The tokens of the template `name`, then one `eof`. Raises TemplateSyntax."""
    position, trims = 0, False
    while True:
        opening = _OPEN.search(text, position)
        end = opening.start() if opening else len(text)
        plain = text[position:end]
        plain = plain.lstrip(_SPACE) if trims else plain
        plain = plain.rstrip(_SPACE) if opening and opening[1] else plain
        if plain:
            yield Token("text", plain, position)
        if opening is None:
            yield Token("eof", "", end)
            return
        position = opening.end()
        if comment := _COMMENT.match(text, position):
            close = text.find("*/", comment.end())
            if (ending := _COMMENT_END.match(text, close)) is None or close < 0:
                early = "comment ends before closing delimiter"
                raise error(name, text, end, "unclosed comment" if close < 0 else early)
            position, trims = ending.end(), ending[1] is not None
            continue
        yield Token("{{", "{{", end)
        position, trims = yield from _action(name, text, position)


def _action(name: str, text: str, position: int) -> Generator[Token, None, tuple[int, bool]]:
    """The tokens up to `}}`; where the text goes on, and whether it is trimmed."""
    while True:
        match = _INSIDE.match(text, position)
        if match is None:
            char = text[position : position + 1]
            unknown = f"unrecognized character in action: U+{ord(char or ' '):04X} {char!r}"
            raise error(name, text, position, _UNFINISHED.get(char, unknown))
        kind, written = str(match.lastgroup), match.group()
        if kind == "close":
            yield Token("}}", "}}", match.start())
            return match.end(), len(written) > 2
        if kind == "symbol" or (kind == "word" and written in KEYWORDS):
            kind = written
        if kind != "space":
            yield Token(")" if kind == "right" else kind, written, position)
        position = match.end()


def number(text: str) -> float:
    """The int or float that is written. Raises CallFailed."""
    try:
        whole = int(text, 0)
    except ValueError:
        try:  # digits alone begin with a zero, which is octal in Go and nothing in Python
            value = math.inf if text.lstrip("+-").isdigit() else float(text)
        except ValueError:
            value = math.inf
        if not math.isfinite(value):
            raise CallFailed(f"bad number syntax: {quote(text[:40])}") from None
        return value
    if not -(2**63) <= whole < 2**63:
        raise CallFailed(f"integer overflow: {quote(text[:40])}")
    return whole


def unquote(text: str) -> str:
    """What a literal in `"` or a backquote stands for. Raises CallFailed."""
    if text[0] == "`":
        return text[1:-1].replace("\r", "")
    try:
        if _STRING.fullmatch(text):  # of which Python's escapes are Go's
            value = str(ast.literal_eval(text))
            value.encode()
            return value
    except (SyntaxError, ValueError):
        pass
    raise CallFailed("invalid syntax")
