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
    uint8,
    walker,
)
from data_ingest.kernels import influx_values as text
from data_ingest.kernels.hashing import hash_step
from data_ingest.kernels.instructions import load_u64
from data_ingest.model import F64, I64, U8, U64

KEY_BYTES_MAX: Final = 65_535
"""Of a head and one field's key together. Source: InfluxDB `models.MaxKeyLength`."""

# Columns of `rows`: where head and field begin, and where a number begins that is for Python's
# float (0: the value is there).
HEAD, FIELD, HARD, ROW_COLUMNS = range(4)

# Items of `counts`; FIRST_… tell of the first line that cannot be read.
SAMPLES, STRINGS, HARD_VALUES, BAD_LINES, FIRST_FAULT, FIRST_LINE, FIRST_OFFSET = range(7)
COUNTS: Final = 7

_SPACES: Final = np.uint64(0x2020_2020_2020_2020)
_NEWLINES: Final = np.uint64(0x0A0A_0A0A_0A0A_0A0A)
_ONES: Final = np.uint64(0x0101_0101_0101_0101)
_TOP_BITS: Final = np.uint64(0x8080_8080_8080_8080)


@kernel(int64(BYTES, uint8))
def count_byte(buf: U8, wanted: int) -> int:
    """How often `wanted` stands in `buf`. (`bytes.count` takes seven times as long.)"""
    count = 0
    for i in range(buf.size):
        count += buf[i] == wanted
    return count


@inlined
def _line_end(buf: Any, p: Any) -> Any:
    while buf[p] != text.NEWLINE:
        p += 1
    return p


@inlined
def _head_end(buf: Any, p: Any) -> Any:
    """Of the measurement and tags that begin at `p`: (status, offset of the space after them).

    Tags are checked where labels are read, for series not seen before; a series with malformed
    tags is refused there, so it never becomes a known one.
    """
    if buf[p] == text.COMMA:
        return text.NO_MEASUREMENT, p
    start = p
    while True:
        # Eight bytes at a time: a space or a line end? With one field a line 1.5 times faster.
        word = load_u64(buf, p)
        spaces = word ^ _SPACES
        ends = word ^ _NEWLINES
        if (((spaces - _ONES) & ~spaces) | ((ends - _ONES) & ~ends)) & _TOP_BITS == np.uint64(0):
            p += 8
            continue
        for i in range(p, p + 8):
            if buf[i] == text.NEWLINE:
                return text.NO_FIELDS, i
            if buf[i] == text.SPACE and (i == start or buf[i - 1] != text.BACKSLASH):
                return text.OK, i
        p += 8


@inlined
def _key_end(buf: Any, p: Any) -> Any:
    """Of the field key that begins at `p`: (status, offset of the = after it)."""
    start = p
    c = np.uint8(0)
    while True:
        before = c
        c = buf[p]
        if c == text.EQUALS and before != text.BACKSLASH:
            return (text.NO_FIELD_KEY if p == start else text.OK), p
        if c == text.NEWLINE or (c in (text.SPACE, text.COMMA) and before != text.BACKSLASH):
            return (text.NO_FIELD_KEY if p == start else text.NO_FIELD_VALUE), p
        p += 1


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
        if status != text.OK:
            return status, key_end, n, strings, hard
        if head_end - head + key_end - field > KEY_BYTES_MAX:
            return text.LONG_KEY, field, n, strings, hard
        status, kind, number, p = text.read_value(buf, key_end + 1, end)
        if status != text.OK:
            return status, p, n, strings, hard
        if kind == text.STRING:
            strings += 1
        else:
            if n == values.size:
                return text.FULL, p, n, strings, hard
            lane0, lane1 = hash_step(buf, field, key_end, head0, head1, key0, key1)
            keys[n, 0] = lane0
            keys[n, 1] = lane1
            rows[n, HEAD] = head
            rows[n, FIELD] = field
            rows[n, HARD] = 0
            if kind == text.HARD_NUMBER:
                rows[n, HARD] = key_end + 1
                hard += 1
            values[n] = number
            n += 1
        if buf[p] != text.COMMA:
            if buf[p] != text.SPACE and not text.is_end(buf, p):
                return text.BAD_VALUE, p, n, strings, hard
            return text.OK, p, n, strings, hard
        p += 1


@walker(
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
        p = text.skip_blanks(buf, p)
        if buf[p] == text.HASH or text.is_end(buf, p):
            p = _line_end(buf, p) + 1
            continue
        head = p
        first = n
        strings = 0
        hard = 0
        timestamp_ms = np.int64(received_ms)
        status, head_end = _head_end(buf, head)
        p = head_end
        if status == text.OK:
            p = text.skip_blanks(buf, head_end)
            status = text.NO_FIELDS if text.is_end(buf, p) else text.OK
        if status == text.OK:
            status, p, n, strings, hard = _fields(
                buf, p, end, head, head_end, seed, keys, rows, values, n
            )
            if status == text.FULL:
                return text.FULL
        if status == text.OK:
            p = text.skip_blanks(buf, p)
            if not text.is_end(buf, p):
                status, timestamp, p = text.read_timestamp(buf, p)
                # What leaves int64 is refused for its time, like everything so far from now.
                limit = np.int64(text.I64_MAX) // multiplier
                timestamp_ms = min(max(timestamp, -limit), limit) * multiplier // divisor
        if status == text.OK:
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
    return text.OK
