"""A field's value, or a timestamp: bytes to a number, or to why it is none.

Source: as `influx`.
"""

from typing import Any, Final

import numpy as np

from data_ingest.chassis.jit import inlined
from data_ingest.kernels.decimals import nearest_float
from data_ingest.kernels.instructions import load_u64

# Why a line cannot be read. FULL: the outputs are too small, and no output may be used.
OK, FULL, NO_MEASUREMENT, NO_FIELDS, NO_FIELD_KEY, NO_FIELD_VALUE = range(6)
BAD_VALUE, BAD_NUMBER, TOO_LARGE, OPEN_QUOTE, BAD_TIMESTAMP, LONG_KEY = range(6, 12)

# Kinds of values.
NUMBER, HARD_NUMBER, STRING = 0, 1, 2

TAB, NEWLINE, RETURN, SPACE = (np.uint8(ord(c)) for c in "\t\n\r ")
QUOTE, HASH, PLUS, COMMA, MINUS = (np.uint8(ord(c)) for c in '"#+,-')
DOT, EQUALS, BACKSLASH, _I, _U = (np.uint8(ord(c)) for c in ".=\\iu")
_TRUE: Final = tuple(
    np.uint64(int.from_bytes(word, "little")) for word in (b"t", b"T", b"true", b"True", b"TRUE")
)
_FALSE: Final = tuple(
    np.uint64(int.from_bytes(word, "little")) for word in (b"f", b"F", b"false", b"False", b"FALSE")
)

_U64_MAX: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
I64_MAX: Final = np.uint64(0x7FFF_FFFF_FFFF_FFFF)
_TENTH: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF // 10)
_LAST_DIGIT: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF % 10)
_TEN: Final = np.uint64(10)
_EXPONENT_LIMIT: Final = 10**15
"""No body has so many digits, and int64 has room for one more and a sum."""


@inlined
def skip_blanks(buf: Any, p: Any) -> Any:
    """Offset of the first byte from `p` on that is no blank."""
    while buf[p] == SPACE or buf[p] == TAB:
        p += 1
    return p


@inlined
def _is_digit(c: Any) -> Any:
    return np.uint8(48) <= c <= np.uint8(57)


@inlined
def is_end(buf: Any, p: Any) -> Any:
    """A line ends here."""
    return buf[p] == NEWLINE or (buf[p] == RETURN and buf[p + 1] == NEWLINE)


@inlined
def _digits(buf: Any, p: Any, mantissa: Any, dropped: Any) -> Any:
    """(mantissa with the digits from `p` on, how many were dropped since it was full, offset)."""
    while _is_digit(buf[p]):
        digit = np.uint64(buf[p] - np.uint8(48))
        if dropped == 0 and (mantissa < _TENTH or (mantissa == _TENTH and digit <= _LAST_DIGIT)):
            mantissa = mantissa * _TEN + digit
        else:
            dropped += 1
        p += 1
    return mantissa, dropped, p


@inlined
def read_number(buf: Any, p: Any) -> Any:
    """The number at `p`: (status, kind, value, offset after it)."""
    negative = buf[p] == MINUS
    if negative:
        p += 1
    start = p
    mantissa, dropped, p = _digits(buf, p, np.uint64(0), 0)
    digits = p - start
    if buf[p] == _I or buf[p] == _U:
        if digits == 0 or (negative and buf[p] == _U):
            return BAD_NUMBER, NUMBER, 0.0, p
        limit = _U64_MAX if buf[p] == _U else I64_MAX + np.uint64(negative)
        if dropped > 0 or mantissa > limit:
            return TOO_LARGE, NUMBER, 0.0, start
        value = np.float64(mantissa)
        return OK, NUMBER, -value if negative else value, p + 1
    decimals = 0
    if buf[p] == DOT:
        first = p + 1
        mantissa, dropped, p = _digits(buf, first, mantissa, dropped)
        decimals = p - first
        digits += decimals
    exponent = np.int64(dropped - decimals)
    if digits == 0:
        return BAD_NUMBER, NUMBER, 0.0, p
    if buf[p] | np.uint8(32) == np.uint8(101):  # e or E
        p += 1
        below = buf[p] == MINUS
        if below or buf[p] == PLUS:
            p += 1
        first = p
        power = np.int64(0)
        while _is_digit(buf[p]):
            if power < _EXPONENT_LIMIT:
                power = power * 10 + np.int64(buf[p] - np.uint8(48))
            p += 1
        if p == first:
            return BAD_NUMBER, NUMBER, 0.0, p
        exponent += -power if below else power
    value = nearest_float(mantissa, exponent)
    above = nearest_float(mantissa + np.uint64(1), exponent) if dropped > 0 else value
    if above == np.inf:
        return TOO_LARGE, NUMBER, 0.0, start
    kind = NUMBER if above == value else HARD_NUMBER
    return OK, kind, -value if negative else value, p


@inlined
def read_value(buf: Any, p: Any, end: Any) -> Any:
    """The field value at `p`: (status, kind, value, offset after it)."""
    c = buf[p]
    if _is_digit(c) or c in (MINUS, DOT):
        return read_number(buf, p)
    if c == QUOTE:
        start = p
        p += 1
        while p < end:
            if buf[p] == QUOTE:
                return OK, STRING, 0.0, p + 1
            p += 2 if buf[p] == BACKSLASH else 1
        return OPEN_QUOTE, STRING, 0.0, start
    return _boolean(buf, p)


@inlined
def _boolean(buf: Any, p: Any) -> Any:
    start = p
    while np.uint8(97) <= buf[p] | np.uint8(32) <= np.uint8(122):
        p += 1
    size = p - start
    if size == 0 and (buf[p] == COMMA or buf[p] == SPACE or is_end(buf, p)):
        return NO_FIELD_VALUE, NUMBER, 0.0, p
    if 0 < size <= 5:
        word = load_u64(buf, start) & (_U64_MAX >> np.uint64(64 - 8 * size))
        for true in _TRUE:
            if word == true:
                return OK, NUMBER, 1.0, p
        for false in _FALSE:
            if word == false:
                return OK, NUMBER, 0.0, p
    return BAD_VALUE, NUMBER, 0.0, start


@inlined
def read_timestamp(buf: Any, p: Any) -> Any:
    """The number at `p` and blanks up to the line's end: (status, int64, offset of that end)."""
    start = p
    negative = buf[p] == MINUS
    if negative:
        p += 1
    first = p
    value, dropped, p = _digits(buf, p, np.uint64(0), 0)
    if p == first or dropped > 0 or value > I64_MAX:
        return BAD_TIMESTAMP, np.int64(0), start
    p = skip_blanks(buf, p)
    if not is_end(buf, p):
        return BAD_TIMESTAMP, np.int64(0), p
    timestamp = np.int64(value)
    return OK, -timestamp if negative else timestamp, p
