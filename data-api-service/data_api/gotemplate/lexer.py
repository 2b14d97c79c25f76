"""Text → what stands outside `{{ }}`, and the tokens of each action inside, each with its place.

`{{- ` and ` -}}` eat the white space beside them. Source: Go's `text/template/parse/lex.go`.
"""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from data_api.gotemplate.errors import TemplateError
from data_api.gotemplate.formatting import quote

_CONSTANTS = {"true": True, "false": False, "nil": None}
# Our own patterns: what may come next is always clear from one character, so they are linear.
_ACTION = re.compile(
    r"""\{\{(?P<trims>-(?=[ \t\r\n]))?
    (?:[ \t\r\n]*/\*(?:[^*]|\*(?!/))*\*/ | (?P<keyword>[ \t\r\n]*(?:else[ \t\r\n]+(?:if|with)
        |break|continue|define|else|end|if|range|with|block|template)\b)?
        (?P<sets>[ \t\r\n]*\$\w*(?:[ \t\r\n]*,[ \t\r\n]*\$\w*)?[ \t\r\n]*:?=)?
        (?P<inside>(?:"(?:\\[^\n]|[^"\\\n])*"|`[^`]*`|[^"`}]|\}(?!\}))*?))
    (?P<trims_next>[ \t\r\n]-)?\}\}""",
    re.VERBOSE,
)
_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:(?P<literal>"(?:\\[^\n]|[^"\\\n])*"|`[^`]*`|[+-]?\.?[0-9](?:[eE][+-]|[\w.])*)
    |(?P<path>\$\w*(?:\.[^\W\d]\w*)*|(?:\.[^\W\d]\w*)+|\.)
    |(?P<word>\w+)
    |(?P<right>\)(?:\.[^\W\d]\w*)*)
    |(?P<symbol>[(|]))""",
    re.VERBOSE,
)
# Of which Python's escapes and numbers are Go's.
_LITERAL = re.compile(
    r'"(?:[^\\"\n]|\\(?:[abfnrtv\\"]|[0-3][0-7]{2}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}'
    r'|U[0-9a-fA-F]{8}))*"'
    r"|[+-]?(?:0[xXbBoO][0-9a-fA-F_]+|(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
)


class Token(NamedTuple):
    """kind: `literal`, `path`, `word`, `)`, a symbol, or `}}` at the end of the action.

    value: of a literal. A path after a parenthesis belongs to its token: `).a.b`.
    """

    kind: str
    text: str
    at: int
    value: str | float | bool | None = None


class Action(NamedTuple):
    """`{{ keyword $a, $b := tokens }}` from the character `at` to `end`, after the text before it.

    keyword: "" where there is none; `text` where nothing follows the text. sets: `$a, $b :=`.
    """

    text: str
    at: int
    end: int
    keyword: str
    sets: str
    tokens: list[Token]


def error(name: str, text: str, at: int, reason: str) -> TemplateError:
    """What is wrong at a character of the template `name`, by its line."""
    line = 1 + text.count("\n", 0, at)
    return TemplateError(reason=f"template: {name}:{line}: {reason}")


def actions(name: str, text: str) -> Iterator[Action]:
    """The actions of the template `name` in order; what cannot be one raises TemplateError."""
    position, trims = 0, False
    while True:
        at = text.find("{{", position)
        plain = text[position:] if at < 0 else text[position:at]
        plain = plain.lstrip(" \t\r\n") if trims else plain
        if at < 0:
            yield Action(plain, len(text), len(text), "text", "", [])
            return
        match = _ACTION.match(text, at)
        if match is None:
            raise error(name, text, at, "unclosed action, quoted string or comment")
        plain = plain.rstrip(" \t\r\n") if match["trims"] else plain
        position, trims = match.end(), match["trims_next"] is not None
        keyword, inside = " ".join((match["keyword"] or "").split()), match.span("inside")
        if inside == (-1, -1):
            yield Action(plain, at, position, "text", "", [])
        else:
            tokens = _tokens(name, text, *inside)
            yield Action(plain, at, position, keyword, match["sets"] or "", tokens)


def _tokens(name: str, text: str, position: int, end: int) -> list[Token]:
    end -= len(text[position:end]) - len(text[position:end].rstrip(" \t\r\n"))
    tokens = []
    while position < end:
        match = _TOKEN.match(text, position, end)
        if match is None:
            unread = text[position:end].lstrip(" \t\r\n")
            problem = f"unrecognized character in action: U+{ord(unread[0]):04X} {unread[0]!r}"
            raise error(name, text, end - len(unread), problem)
        kind = str(match.lastgroup)
        written, at = match[kind], match.start(kind)
        value = _literal(written) if kind == "literal" else _CONSTANTS.get(written)
        if kind == "literal" and value is None:
            problem = "invalid syntax" if written[0] == '"' else "bad number syntax"
            raise error(name, text, at, f"{problem}: {quote(written[:40])}")
        kind = "literal" if written in _CONSTANTS else ")" if kind == "right" else kind
        tokens.append(Token(written if kind == "symbol" else kind, written, at, value))
        position = match.end()
    return [*tokens, Token("}}", "}}", end)]


def _literal(text: str) -> str | float | bool | None:
    """What a number or a quoted text stands for; None where it is none of Go's."""
    if text[0] == "`":
        return text[1:-1].replace("\r", "")
    if not _LITERAL.fullmatch(text):
        return None
    try:
        value = ast.literal_eval(text)
        str(value).encode()
    except (SyntaxError, ValueError):
        return None
    is_too_large = isinstance(value, int) and not -(2**63) <= value < 2**63
    return None if is_too_large else value
