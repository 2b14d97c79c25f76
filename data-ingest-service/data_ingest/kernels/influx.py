r"""Walks a body of Influx line protocol: bytes to columns, one row a field that is a number.

    measurement,tag=value,tag=value field=1.5,field=2i,field=3u,field=t,field="text" 1700000000000
    └─ head ──────────────────────┘ └─ key ─ value ──────────────────────────────┘ └ timestamp ──┘

A backslash escapes the delimiter right after it, and stands for itself before anything else; in a
string it escapes `"` and `\`. A string may hold line ends, nothing else can. A line that cannot be
read costs no other: the walk goes on after its first line end.
Source: InfluxDB `models/points.go` (1.x); docs.influxdata.com, "Line protocol" (2.x).
"""

from typing import Any, Final

import numpy as np

from data_ingest.chassis.jit import (
    BYTES,
    F64S_OUT,
    I64_ROWS_OUT,
    I64S_OUT,
    U64_ROWS_OUT,
    U64S,
    inlined,
    int64,
    kernel,
)
from data_ingest.kernels.decimals import nearest_float
from data_ingest.kernels.hashing import hash_step
from data_ingest.kernels.instructions import load_u64
from data_ingest.model import F64, I64, U8, U64

# Why a line cannot be read. FULL: the outputs are too small, and no output may be used.
OK: Final = 0
FULL: Final = 1
NO_MEASUREMENT: Final = 2
NO_TAG_KEY: Final = 3
NO_TAG_VALUE: Final = 4
BAD_TAG_VALUE: Final = 5
NO_FIELDS: Final = 6
NO_FIELD_KEY: Final = 7
NO_FIELD_VALUE: Final = 8
BAD_VALUE: Final = 9
BAD_NUMBER: Final = 10
TOO_LARGE: Final = 11
OPEN_QUOTE: Final = 12
BAD_TIMESTAMP: Final = 13
LONG_KEY: Final = 14

KEY_BYTES_MAX: Final = 65_535
"""Of a head and one field's key together. Source: InfluxDB `models.MaxKeyLength`."""

# Columns of `rows`: where head and field begin, and where a number begins that is for Python's
# float (0: the value is there).
HEAD: Final = 0
FIELD: Final = 1
HARD: Final = 2
ROW_COLUMNS: Final = 3

# Items of `counts`; FIRST_… tell of the first line that cannot be read.
SAMPLES: Final = 0
STRINGS: Final = 1
HARD_VALUES: Final = 2
BAD_LINES: Final = 3
FIRST_FAULT: Final = 4
FIRST_LINE: Final = 5
FIRST_OFFSET: Final = 6
COUNTS: Final = 7

# Kinds of values.
NUMBER: Final = 0
HARD_NUMBER: Final = 1
STRING: Final = 2

_TAB: Final = np.uint8(9)
_NEWLINE: Final = np.uint8(10)
_RETURN: Final = np.uint8(13)
_SPACE: Final = np.uint8(32)
_QUOTE: Final = np.uint8(34)
_HASH: Final = np.uint8(35)
_PLUS: Final = np.uint8(43)
_COMMA: Final = np.uint8(44)
_MINUS: Final = np.uint8(45)
_DOT: Final = np.uint8(46)
_EQUALS: Final = np.uint8(61)
_BACKSLASH: Final = np.uint8(92)
_I: Final = np.uint8(105)
_U: Final = np.uint8(117)
_TRUE: Final = tuple(
    np.uint64(int.from_bytes(word, "little")) for word in (b"t", b"T", b"true", b"True", b"TRUE")
)
_FALSE: Final = tuple(
    np.uint64(int.from_bytes(word, "little")) for word in (b"f", b"F", b"false", b"False", b"FALSE")
)

_U64_MAX: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_I64_MAX: Final = np.uint64(0x7FFF_FFFF_FFFF_FFFF)
_TENTH: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF // 10)
_LAST_DIGIT: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF % 10)
_TEN: Final = np.uint64(10)
_EXPONENT_LIMIT: Final = 100_000
"""Far outside what a float64 can be, and small enough to go on adding to."""


@inlined
def _skip_blanks(buf: Any, p: Any) -> Any:
    while buf[p] == _SPACE or buf[p] == _TAB:
        p += 1
    return p


@inlined
def _line_end(buf: Any, p: Any) -> Any:
    while buf[p] != _NEWLINE:
        p += 1
    return p


@inlined
def _is_digit(c: Any) -> Any:
    return np.uint8(48) <= c <= np.uint8(57)


@inlined
def _is_end(buf: Any, p: Any) -> Any:
    """A line ends here."""
    return buf[p] == _NEWLINE or (buf[p] == _RETURN and buf[p + 1] == _NEWLINE)


@inlined
def _head_end(buf: Any, p: Any) -> Any:
    """Of the measurement and tags that begin at `p`: (status, offset of the space after them)."""
    if buf[p] == _COMMA:
        return NO_MEASUREMENT, p
    c = np.uint8(0)
    while True:
        before = c
        c = buf[p]
        if c <= _COMMA:
            if c == _NEWLINE:
                return NO_FIELDS, p
            if before != _BACKSLASH and (c == _SPACE or c == _COMMA):
                break
        p += 1
    while c == _COMMA:
        start = p + 1
        while c != _EQUALS or before == _BACKSLASH:
            p += 1
            before = c
            c = buf[p]
            if c == _NEWLINE:
                return NO_TAG_VALUE, p
            if (c == _SPACE or c == _COMMA) and before != _BACKSLASH:
                return (NO_TAG_KEY if p == start else NO_TAG_VALUE), p
        if p == start:
            return NO_TAG_KEY, p
        start = p + 1
        while True:
            p += 1
            before = c
            c = buf[p]
            if c == _NEWLINE:
                return (NO_TAG_VALUE if p == start else NO_FIELDS), p
            if before != _BACKSLASH:
                if c == _SPACE or c == _COMMA:
                    break
                if c == _EQUALS:
                    return BAD_TAG_VALUE, p
        if p == start:
            return NO_TAG_VALUE, p
    return OK, p


@inlined
def _key_end(buf: Any, p: Any) -> Any:
    """Of the field key that begins at `p`: (status, offset of the = after it)."""
    start = p
    c = np.uint8(0)
    while True:
        before = c
        c = buf[p]
        if c == _EQUALS and before != _BACKSLASH:
            return (NO_FIELD_KEY if p == start else OK), p
        if c == _NEWLINE or ((c == _SPACE or c == _COMMA) and before != _BACKSLASH):
            return (NO_FIELD_KEY if p == start else NO_FIELD_VALUE), p
        p += 1


@inlined
def _digits(buf: Any, p: Any, mantissa: Any, dropped: Any) -> Any:
    """(mantissa with the digits from `p` on, how many were dropped since it was full, offset)."""
    while _is_digit(buf[p]):
        digit = np.uint64(buf[p] - np.uint8(48))
        if dropped == 0 and (
            mantissa < _TENTH or (mantissa == _TENTH and digit <= _LAST_DIGIT)
        ):
            mantissa = mantissa * _TEN + digit
        else:
            dropped += 1
        p += 1
    return mantissa, dropped, p


@inlined
def _number(buf: Any, p: Any) -> Any:
    """The number at `p`: (status, kind, value, offset after it)."""
    negative = buf[p] == _MINUS
    if negative:
        p += 1
    start = p
    mantissa, dropped, p = _digits(buf, p, np.uint64(0), 0)
    digits = p - start
    if buf[p] == _I or buf[p] == _U:
        if digits == 0 or (negative and buf[p] == _U):
            return BAD_NUMBER, NUMBER, 0.0, p
        limit = _U64_MAX if buf[p] == _U else _I64_MAX + np.uint64(negative)
        if dropped > 0 or mantissa > limit:
            return TOO_LARGE, NUMBER, 0.0, start
        value = np.float64(mantissa)
        return OK, NUMBER, -value if negative else value, p + 1
    decimals = 0
    if buf[p] == _DOT:
        first = p + 1
        mantissa, dropped, p = _digits(buf, first, mantissa, dropped)
        decimals = p - first
        digits += decimals
    exponent = np.int64(dropped - decimals)
    if digits == 0:
        return BAD_NUMBER, NUMBER, 0.0, p
    if buf[p] | np.uint8(32) == np.uint8(101):  # e or E
        p += 1
        below = buf[p] == _MINUS
        if below or buf[p] == _PLUS:
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
def _value(buf: Any, p: Any, end: Any) -> Any:
    """The field value at `p`: (status, kind, value, offset after it)."""
    c = buf[p]
    if _is_digit(c) or c == _MINUS or c == _DOT:
        return _number(buf, p)
    if c == _QUOTE:
        start = p
        p += 1
        while p < end:
            if buf[p] == _QUOTE:
                return OK, STRING, 0.0, p + 1
            p += 2 if buf[p] == _BACKSLASH else 1
        return OPEN_QUOTE, STRING, 0.0, start
    return _boolean(buf, p)


@inlined
def _boolean(buf: Any, p: Any) -> Any:
    start = p
    while np.uint8(97) <= buf[p] | np.uint8(32) <= np.uint8(122):
        p += 1
    size = p - start
    if size == 0 and (buf[p] == _COMMA or buf[p] == _SPACE or _is_end(buf, p)):
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
def _timestamp(buf: Any, p: Any) -> Any:
    """The number at `p` and blanks up to the line's end: (status, int64, offset of that end)."""
    start = p
    negative = buf[p] == _MINUS
    if negative:
        p += 1
    first = p
    value, dropped, p = _digits(buf, p, np.uint64(0), 0)
    if p == first or dropped > 0 or value > _I64_MAX:
        return BAD_TIMESTAMP, np.int64(0), start
    p = _skip_blanks(buf, p)
    if not _is_end(buf, p):
        return BAD_TIMESTAMP, np.int64(0), p
    timestamp = np.int64(value)
    return OK, -timestamp if negative else timestamp, p


@inlined
def _fields(  # noqa: PLR0917 - compiled by position
    buf: Any,
    p: Any,
    end: Any,
    head: Any,
    head_end: Any,
    seed: Any,
    keys: Any,
    rows: Any,
    values: Any,
    n: Any,
) -> Any:
    """The fields from `p` on, as rows from `n` on: (status, offset, rows, strings, hard values)."""
    strings = 0
    hard = 0
    key0, key1 = seed[2], seed[3]
    head0, head1 = hash_step(buf, head, head_end, seed[0], seed[1], key0, key1)
    while True:
        field = p
        status, key_end = _key_end(buf, p)
        if status != OK:
            return status, key_end, n, strings, hard
        if head_end - head + key_end - field > KEY_BYTES_MAX:
            return LONG_KEY, field, n, strings, hard
        status, kind, value, p = _value(buf, key_end + 1, end)
        if status != OK:
            return status, p, n, strings, hard
        if kind == STRING:
            strings += 1
        else:
            if n == values.size:
                return FULL, p, n, strings, hard
            lane0, lane1 = hash_step(buf, field, key_end, head0, head1, key0, key1)
            keys[n, 0] = lane0
            keys[n, 1] = lane1
            rows[n, HEAD] = head
            rows[n, FIELD] = field
            rows[n, HARD] = 0
            if kind == HARD_NUMBER:
                rows[n, HARD] = key_end + 1
                hard += 1
            values[n] = value
            n += 1
        if buf[p] != _COMMA:
            if buf[p] != _SPACE and not _is_end(buf, p):
                return BAD_VALUE, p, n, strings, hard
            return OK, p, n, strings, hard
        p += 1


@kernel(
    int64(
        BYTES,
        int64,
        U64S,
        int64,
        int64,
        int64,
        U64_ROWS_OUT,
        I64_ROWS_OUT,
        I64S_OUT,
        F64S_OUT,
        I64S_OUT,
    )
)
def walk(  # noqa: PLR0917 - compiled by position
    buf: U8,
    end: int,
    seed: U64,
    multiplier: int,
    divisor: int,
    received_ms: int,
    keys: U64,
    rows: I64,
    timestamps_ms: I64,
    values: F64,
    counts: I64,
) -> int:
    """OK, or FULL when there are more rows than fit.

    buf: lines in [0, end), the last of which ends with a line end, and spare bytes after it (see
    `hashing`). multiplier, divisor: a timestamp × multiplier // divisor is in ms.
    keys: (n, 2), the hash of each field's head and key. rows: (n, ROW_COLUMNS). timestamps_ms,
    values: (n,). counts: (COUNTS,), zeros at first.
    """
    n = 0
    p = 0
    while p < end:
        line = p
        p = _skip_blanks(buf, p)
        if buf[p] == _HASH or _is_end(buf, p):
            p = _line_end(buf, p) + 1
            continue
        head = p
        first = n
        strings = 0
        hard = 0
        timestamp_ms = np.int64(received_ms)
        status, head_end = _head_end(buf, head)
        p = head_end
        if status == OK:
            p = _skip_blanks(buf, head_end)
            status = NO_FIELDS if _is_end(buf, p) else OK
        if status == OK:
            status, p, n, strings, hard = _fields(
                buf, p, end, head, head_end, seed, keys, rows, values, n
            )
            if status == FULL:
                return FULL
        if status == OK:
            p = _skip_blanks(buf, p)
            if not _is_end(buf, p):
                status, timestamp, p = _timestamp(buf, p)
                # What leaves int64 is refused for its time, like everything so far from now.
                limit = np.int64(_I64_MAX) // multiplier
                timestamp_ms = min(max(timestamp, -limit), limit) * multiplier // divisor
        if status == OK:
            timestamps_ms[first:n] = timestamp_ms
            counts[STRINGS] += strings
            counts[HARD_VALUES] += hard
        else:
            if counts[BAD_LINES] == 0:
                counts[FIRST_FAULT] = status
                counts[FIRST_LINE] = head
                counts[FIRST_OFFSET] = p
            counts[BAD_LINES] += 1
            n = first
            p = line
        p = _line_end(buf, p) + 1
    counts[SAMPLES] = n
    return OK
