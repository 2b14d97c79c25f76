"""Text → tokens, each with its place.

Identifiers may hold colons outside braces; a number followed by a unit is a duration; a
colon inside brackets stands alone. Keywords are identifiers here: PromQL lets most of them be
names, and only the parser knows which is which.
"""

import math
import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple, NoReturn

from data_api.promql.errors import ParseError, shortened


class Kind(Enum):
    """What a token is."""

    END = auto()
    IDENTIFIER = auto()
    NUMBER = auto()
    DURATION = auto()
    STRING = auto()
    SYMBOL = auto()


class Token(NamedTuple):
    """text: as written, for a string its unquoted value. start, end: characters of the query."""

    kind: Kind
    text: str
    start: int
    end: int


# Our own patterns over the query, anchored, without nested repetition: linear in its length.
_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)+")
_IDENTIFIER = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_DURATION = re.compile(
    r"(?=[0-9])(?:[0-9]+y)?(?:[0-9]+w)?(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m(?!s))?(?:[0-9]+s)?"
    r"(?:[0-9]+ms)?"
)
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z0-9_.:]")
_SYMBOL = re.compile(r"==|!=|<=|>=|</|>/|=~|!~|[-+*/%^<>=(){}\[\],:@]")
_UNIT_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_DURATION_PART = re.compile(r"([0-9]+)(ms|[ywdhms])")
_PLAIN = {quote: re.compile(rf"[^{quote}\\\n]+") for quote in "\"'"}
_ESCAPE = re.compile(
    r"\\(?:(?P<control>[abfnrtv\\])|(?P<octal>[0-7]{3})|x(?P<byte>[0-9a-fA-F]{2})"
    r"|(?P<code>u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))"
)
_CONTROLS = dict(zip("abfnrtv\\", "\a\b\f\n\r\t\v\\", strict=True))
_INTEGER_MAX = 2**63 - 1
_DURATION_MAX_MS = 2**63 // 1_000_000


def where(text: str, position: int) -> str:
    """`line:column: ` of a character, both from 1, as Prometheus counts them."""
    before = text[:position]
    line = before.count("\n") + 1
    column = position - (before.rfind("\n") + 1) + 1
    return f"{line}:{column}: "


def fail(text: str, position: int, reason: str) -> NoReturn:
    """Raise the parse error that points at a character of the query."""
    raise ParseError(reason=shortened(reason), where=where(text, position), position=position)


def parse_duration_ms(text: str) -> int:
    """Milliseconds of the DURATION `1h30m`; too large a number for one that no int64 holds."""
    return sum(_amount(n) * _UNIT_MS[unit] for n, unit in _DURATION_PART.findall(text))


def numeral_value(token: Token) -> float:
    """The value of a NUMBER; of a DURATION its seconds."""
    text = token.text
    if token.kind is Kind.DURATION:
        return parse_duration_ms(text) / 1000
    if text[:2].lower() == "0x":
        return float(int(text, 16))
    if text.isdigit() and text[0] == "0" and set(text) <= set("01234567"):
        # As Go's ParseInt with base 0 reads it; what overflows that is read as a decimal.
        octal = int(text, 8)
        return float(octal if octal <= _INTEGER_MAX else text)
    return float(text)


def _amount(digits: str) -> int:
    # Python refuses to read more than 4300 digits; 20 are beyond any duration already.
    return int(digits[-20:]) if not digits[:-20].strip("0") else _INTEGER_MAX


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a query, then one END."""
    position = 0
    braces = 0
    brackets = 0
    while True:
        if space := _SPACE.match(text, position):
            position = space.end()
        if position >= len(text):
            yield Token(Kind.END, "", position, position)
            return
        token = _next(text, position, in_braces=braces > 0, in_brackets=brackets > 0)
        if token.kind is Kind.SYMBOL:
            braces += (token.text == "{") - (token.text == "}")
            brackets += (token.text == "[") - (token.text == "]")
        yield token
        position = token.end


def _next(text: str, position: int, *, in_braces: bool, in_brackets: bool) -> Token:
    char = text[position]
    if char in "\"'`":
        return _string(text, position)
    if char.isdigit() and char.isascii():
        return _numeral(text, position)
    if char == "." and _NUMBER.match(text, position):
        return _numeral(text, position)
    if char == ":" and in_brackets:
        return Token(Kind.SYMBOL, ":", position, position + 1)
    if word := _IDENTIFIER.match(text, position):
        end = word.end()
        if in_braces and ":" in word.group():
            bad = position + word.group().index(":")
            fail(text, bad, "unexpected character inside braces: ':'")
        return Token(Kind.IDENTIFIER, word.group(), position, end)
    if symbol := _SYMBOL.match(text, position):
        return Token(Kind.SYMBOL, symbol.group(), position, symbol.end())
    inside = " inside braces" if in_braces else ""
    if char == "!":
        after = text[position + 1 : position + 2]
        fail(text, position, f"unexpected character after '!'{inside}: {_quote(after)}")
    fail(text, position, f"unexpected character{inside}: {_quote(char)}")


def _quote(char: str) -> str:
    return "'\\n'" if char == "\n" else f"'{char}'"


def _numeral(text: str, position: int) -> Token:
    number = _NUMBER.match(text, position)
    duration = _DURATION.match(text, position)
    number_end = number.end() if number else position
    duration_end = duration.end() if duration else position
    if duration_end >= number_end and duration_end > position:
        token = Token(Kind.DURATION, text[position:duration_end], position, duration_end)
    else:
        token = Token(Kind.NUMBER, text[position:number_end], position, number_end)
    if _WORD.match(text, token.end) and text[token.end] != ":":
        end = token.end
        while end < len(text) and _WORD.match(text, end):
            end += 1
        fail(text, position, f'bad number or duration syntax: "{text[position:end]}"')
    if token.kind is Kind.DURATION and parse_duration_ms(token.text) > _DURATION_MAX_MS:
        fail(text, position, "duration out of range")
    if token.text[:2] in {"0x", "0X"} and int(token.text, 16) > _INTEGER_MAX:
        fail(text, position, "hexadecimal number out of range")
    if token.kind is Kind.NUMBER and math.isinf(numeral_value(token)):
        fail(text, position, f'error parsing number: value out of range: "{token.text}"')
    return token


def _string(text: str, position: int) -> Token:
    quote = text[position]
    end = position + 1
    if quote == "`":
        end = text.find("`", end)
        if end < 0:
            fail(text, position, "unterminated raw string")
        return Token(Kind.STRING, text[position + 1 : end], position, end + 1)
    octets = bytearray()
    while True:
        char = text[end : end + 1]
        if char in {"", "\n"}:
            fail(text, position, "unterminated quoted string")
        if char == quote:
            break
        if char == "\\":
            part, end = _escape(text, end, quote)
            octets += part
        elif plain := _PLAIN[quote].match(text, end):
            octets += plain.group().encode()
            end = plain.end()
    try:
        return Token(Kind.STRING, octets.decode(), position, end + 1)
    except UnicodeDecodeError:
        fail(text, position, "escape sequence is not valid UTF-8")


def _escape(text: str, position: int, quote: str) -> tuple[bytes, int]:
    r"""The bytes that the escape at `position` stands for, and where the text goes on.

    Bytes above 0x7f (`\xe4`, `\344`) stand for themselves: part of UTF-8 that the whole string is.
    """
    kind = text[position + 1 : position + 2]
    if kind == quote:
        return quote.encode(), position + 2
    escape = _ESCAPE.match(text, position)
    if escape is None:
        if kind and kind in "xuU01234567":
            fail(text, position, "illegal character in escape sequence")
        shown = f"U+{ord(kind):04X} '{kind}'" if kind else "end of input"
        fail(text, position, f"unknown escape sequence {shown}")
    control, octal, byte, code_point = escape.group("control", "octal", "byte", "code")
    if control:
        return _CONTROLS[control].encode(), escape.end()
    if octal and int(octal, 8) > 255:
        fail(text, position, "octal escape value > 255")
    if octal or byte:
        return bytes([int(octal, 8) if octal else int(byte, 16)]), escape.end()
    code = int(code_point[1:], 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        fail(text, position, "escape sequence is an invalid Unicode code point")
    return chr(code).encode(), escape.end()
