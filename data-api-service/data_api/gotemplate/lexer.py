"""Text → the tokens of Go's text/template, each with its place.

Outside `{{ }}` all is text; `{{- ` and ` -}}` eat the white space beside them. What is wrong is a
token of kind `error`, so that the parser says first what it finds first. Source: Go's
`text/template/parse/lex.go`.
"""

import re
from collections.abc import Generator, Iterator
from typing import NamedTuple

from data_api.gotemplate.errors import CallFailed
from data_api.gotemplate.formatting import quote, unquote

KEYWORDS = frozenset(
    "block break continue define else end if nil range template with".split()  # noqa: SIM905 - reads as Go's table
)
_SPACE = " \t\r\n"
_AFTER_NAME = _SPACE + ".,|:)(}="
# Our own patterns, anchored and without nested repetition: linear in the text.
_INSIDE = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:\\[^\n]|[^"\\\n])*")
    |(?P<raw>`[^`]*`)
    |(?P<char>'(?:\\[^\n]|[^'\\\n])*')
    |(?P<declare>:=)
    |(?P<variable>\$\w*)
    |(?P<field>\.[^\W\d]\w*)
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]*|0[bB][01_]*|0[oO][0-7_]*|[0-9][0-9_]*|(?=\.[0-9]))
       (?:\.[0-9a-fA-F_]*)?(?:[eEpP][+-]?[0-9_]*)?i?)
    |(?P<dot>\.)
    |(?P<word>\w+)
    |(?P<symbol>[()|,=])""",
    re.VERBOSE,
)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNFINISHED = {
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
    ":": "expected :=",
}


class Token(NamedTuple):
    """kind: `text`, `{{`, `}}`, `(`, a keyword, or a name of `_INSIDE`; text: as written."""

    kind: str
    text: str
    at: int

    def __str__(self) -> str:
        """As Go's messages name a token."""
        if self.kind in {"eof", "error"}:
            return self.text
        if self.kind == "dot" or self.kind in KEYWORDS:
            return f"<{self.text}>"
        return quote(self.text) if len(self.text) <= 10 else f"{quote(self.text[:10])}..."


def code_point(char: str) -> str:
    """`U+0041 'A'`, as Go's `%#U` writes it."""
    shown = f" '{char}'" if char.isprintable() else ""
    return f"U+{ord(char):04X}{shown}"


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a template, then one `eof`, or an `error` where it cannot go on."""
    position = 0
    trim = False
    while True:
        start = text.find("{{", position)
        plain = text[position : start if start >= 0 else len(text)]
        begin = position + (len(plain) - len(plain.lstrip(_SPACE)) if trim else 0)
        plain = text[begin : position + len(plain)]
        trims_before = (
            start >= 0 and text[start + 2 : start + 3] == "-" and _is_space(text, start + 3)
        )
        if trims_before:
            plain = plain.rstrip(_SPACE)
        if plain:
            yield Token("text", plain, begin)
        if start < 0:
            yield Token("eof", "EOF", len(text))
            return
        inner = start + (4 if trims_before else 2)
        if text.startswith("/*", inner):
            end, trim, problem = _comment(text, inner)
            if problem:
                yield Token("error", problem, start)
                return
            position = end
            continue
        yield Token("{{", "{{", start)
        position, trim = yield from _action(text, inner)
        if position < 0:
            return


def _is_space(text: str, position: int) -> bool:
    return position < len(text) and text[position] in _SPACE


def _comment(text: str, start: int) -> tuple[int, bool, str]:
    end = text.find("*/", start)
    if end < 0:
        return 0, False, "unclosed comment"
    end += 2
    if text.startswith("}}", end):
        return end + 2, False, ""
    if _is_space(text, end) and text.startswith("-}}", end + 1):
        return end + 4, True, ""
    return 0, False, "comment ends before closing delimiter"


def _action(text: str, position: int) -> Generator[Token, None, tuple[int, bool]]:
    """The tokens up to `}}`; where the text goes on (-1: not at all), and whether it is trimmed."""
    depth = 0
    while True:
        trims = _is_space(text, position) and text.startswith("-}}", position + 1)
        if trims or text.startswith("}}", position):
            if depth:
                yield Token("error", "unclosed left paren", position)
                return -1, False
            position += 2 if trims else 0
            yield Token("}}", "}}", position)
            return position + 2, trims
        token = _next(text, position)
        depth += (token.kind == "(") - (token.kind == ")")
        if depth < 0:
            token = Token("error", "unexpected right paren", position)
        yield token
        if token.kind == "error":
            return -1, False
        position += len(token.text)


def _next(text: str, position: int) -> Token:  # noqa: PLR0911 - a case a kind
    if position >= len(text):
        return Token("error", "unclosed action", position)
    char = text[position]
    match = _INSIDE.match(text, position)
    if match is None:
        reason = _UNFINISHED.get(char)
        if reason is None and char.isascii() and char.isprintable():
            return Token("symbol", char, position)
        reason = reason or f"unrecognized character in action: {code_point(char)}"
        return Token("error", reason, position)
    kind, word, end = match.lastgroup or "", match.group(), match.end()
    if kind == "space" and text.startswith("-}}", end):
        # The last blank belongs to the trim marker; alone it is one.
        return Token(kind, word[:-1], position)
    if kind == "symbol":
        return Token(word if word in "()|=" else kind, word, position)
    if kind == "number" and (word in {"+", "-"} or _follows(text, end)):
        return Token("error", f"bad number syntax: {quote(text[position : end + 1])}", position)
    if kind in {"word", "field", "variable"} and text[end : end + 1] not in _AFTER_NAME:
        return Token("error", f"bad character {code_point(text[end])}", position)
    if kind == "word":
        kind = word if word in KEYWORDS else "bool" if word in {"true", "false"} else "identifier"
    return Token(kind, word, position)


def _follows(text: str, end: int) -> bool:
    return end < len(text) and (text[end].isalnum() or text[end] == "_")


def number(text: str) -> float:
    """The int or float that Go reads; raises CallFailed."""
    if text.startswith("'"):
        value = unquote(text)
        return ord(value)
    digits = text.replace("_", "").lower()
    try:
        if _DECIMAL.fullmatch(digits) and not digits.lstrip("+-").isdigit():
            return float(digits)
        if "p" in digits:
            return float.fromhex(digits)
        octal = re.fullmatch(r"([+-]?)0([0-7]+)", digits)
        value_int = int(f"{octal[1]}0o{octal[2]}" if octal else digits[:400], 0)
    except (ValueError, OverflowError):
        raise CallFailed(f"bad number syntax: {quote(text)}") from None
    if not -(2**63) <= value_int < 2**63:
        raise CallFailed(f"integer overflow: {quote(text)}")
    return value_int
