r"""Label sets of new series, written as JSON and as the bytes of their identity.

    out:  {"__name__":"up","job":"a"}__name__\xffup\xffjob\xffa\xff{"__name__"…
          └ at[i, 0]                 └ at[i, 1]                    └ at[i, 2] = at[i + 1, 0]

What is not plain is left to `labels.canonical`, which sorts it or says what is wrong with it: its
place is empty. UTF-8 is not checked here.
Source: docs/contracts.md, section 3 (labels_hash); RFC 8259 (JSON).
"""

from typing import Any, Final

import numpy as np

from data_ingest.chassis.jit import (
    BYTES,
    BYTES_OUT,
    I64_ROWS,
    I64_ROWS_OUT,
    I64S,
    inlined,
    void,
    walker,
)
from data_ingest.model import I64, U8

_QUOTE, _COMMA, _COLON, _BACKSLASH, _OPEN, _CLOSE = (np.uint8(ord(c)) for c in '",:\\{}')
_SEPARATOR: Final = np.uint8(255)
_CONTROLS: Final = np.uint8(32)


@inlined
def _order(buf: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Below, equal to or above 0 as the bytes [a, b) are to [c, d)."""
    while a < b and c < d:
        if buf[a] != buf[c]:
            return np.int64(buf[a]) - np.int64(buf[c])
        a += 1
        c += 1
    return (b - a) - (d - c)


@inlined
def _quote(buf: Any, start: Any, end: Any, out: Any, o: Any) -> Any:
    """The end in `out` of the bytes in quotation marks; -1 when JSON would escape one of them."""
    out[o] = _QUOTE
    o += 1
    for i in range(start, end):
        c = buf[i]
        if c < _CONTROLS or c in (_QUOTE, _BACKSLASH):
            return np.int64(-1)
        out[o] = c
        o += 1
    out[o] = _QUOTE
    return np.int64(o + 1)


@inlined
def _is_plain(buf: Any, spans: Any, i: Any, first: Any, limits: Any) -> Any:
    """Label `i` has a name, which comes after the one before, and a value, both within `limits`."""
    a, b = spans[i, 0], spans[i, 1]
    value_bytes = spans[i, 3] - spans[i, 2]
    if not (0 < b - a <= limits[1] and 0 < value_bytes <= limits[2]):
        return False
    return i == first or _order(buf, spans[i - 1, 0], spans[i - 1, 1], a, b) < 0


@inlined
def _text(  # noqa: PLR0917 - compiled by position
    buf: Any, spans: Any, first: Any, end: Any, limits: Any, out: Any, o: Any
) -> Any:
    """The end in `out` of the labels [first, end) as JSON; -1 when they are not plain."""
    out[o] = _OPEN
    for i in range(first, end):
        if not _is_plain(buf, spans, i, first, limits):
            return np.int64(-1)
        name_end = _quote(buf, spans[i, 0], spans[i, 1], out, o + 1)
        if name_end < 0:
            return np.int64(-1)
        out[name_end] = _COLON
        o = _quote(buf, spans[i, 2], spans[i, 3], out, name_end + 1)
        if o < 0:
            return np.int64(-1)
        out[o] = _COMMA
    out[o] = _CLOSE
    return np.int64(o + 1)


@walker(void(BYTES, I64_ROWS, I64S, I64S, BYTES_OUT, I64_ROWS_OUT))
def write(  # noqa: PLR0917 - compiled by position
    buf: U8, spans: I64, ends: I64, limits: I64, out: U8, at: I64
) -> None:
    """`out` and `at`, (k, 3), are as drawn above. spans, ends: as in `model.LabelSets`.

    limits: the most labels of a set, bytes of a name, and bytes of a value. out: has room for 2
    bytes a set, and for each label 8 and twice its own.
    """
    first = np.int64(0)
    start = np.int64(0)
    for i in range(ends.size):
        middle = np.int64(-1)
        if 0 < ends[i] - first <= limits[0]:
            middle = _text(buf, spans, first, ends[i], limits, out, start)
        at[i, 0] = start
        at[i, 1] = max(start, middle)
        if middle > 0:
            start = middle
            for j in range(first, ends[i]):
                for k in range(0, 4, 2):
                    for p in range(spans[j, k], spans[j, k + 1]):
                        out[start] = buf[p]
                        start += 1
                    out[start] = _SEPARATOR
                    start += 1
        at[i, 2] = start
        first = ends[i]
