r"""Label sets of new series: sorted, and written as JSON and as the bytes of their identity.

    spans (n, 4) int64:  name start │ name end │ value start │ value end     ends (k,): of each set
    out:  {"__name__":"up","job":"a"}__name__\xffup\xffjob\xffa\xff{"__name__"…
          └ at[i, 0]                 └ at[i, 1]                    └ at[i, 2] = at[i + 1, 0]

What is not plain is left to `labels.canonical`, which says what is wrong with it: its place is
empty. UTF-8 is not checked here.
Source: docs/contracts.md, section 3 (labels_hash); RFC 8259 (JSON).
"""

from typing import Any, Final

import numpy as np

from data_ingest.chassis.jit import BYTES, BYTES_OUT, I64_ROWS_OUT, I64S, inlined, kernel, void
from data_ingest.model import I64, U8

_QUOTE: Final = np.uint8(34)
_COMMA: Final = np.uint8(44)
_COLON: Final = np.uint8(58)
_BACKSLASH: Final = np.uint8(92)
_OPEN: Final = np.uint8(123)
_CLOSE: Final = np.uint8(125)
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
def _sort(buf: Any, spans: Any, first: Any, end: Any) -> Any:
    """The end of the labels from `first` on that have a value, which are sorted by name."""
    n = first
    for i in range(first, end):
        a, b, c, d = spans[i, 0], spans[i, 1], spans[i, 2], spans[i, 3]
        if c == d:
            continue
        j = n
        while j > first and _order(buf, spans[j - 1, 0], spans[j - 1, 1], a, b) > 0:
            for k in range(4):
                spans[j, k] = spans[j - 1, k]
            j -= 1
        spans[j, 0], spans[j, 1], spans[j, 2], spans[j, 3] = a, b, c, d
        n += 1
    return n


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
def _separated(buf: Any, start: Any, end: Any, out: Any, o: Any) -> Any:
    for i in range(start, end):
        out[o] = buf[i]
        o += 1
    out[o] = _SEPARATOR
    return o + 1


@inlined
def _is_plain(  # noqa: PLR0917 - compiled by position
    buf: Any, spans: Any, i: Any, first: Any, other: Any, limits: Any
) -> Any:
    """The sizes of label `i` are within `limits`; its name is neither the one before nor `other`.

    (Nor empty: an empty name could only be the first.)
    """
    a, b = spans[i, 0], spans[i, 1]
    if a == b or b - a > limits[1] or spans[i, 3] - spans[i, 2] > limits[2]:
        return False
    if b - a == other.size:
        same = np.int64(0)
        while same < other.size and buf[a + same] == other[same]:
            same += 1
        if same == other.size:
            return False
    return i == first or _order(buf, spans[i - 1, 0], spans[i - 1, 1], a, b) != 0


@inlined
def _text(  # noqa: PLR0917 - compiled by position
    buf: Any, spans: Any, first: Any, n: Any, other: Any, limits: Any, out: Any, o: Any
) -> Any:
    """The end in `out` of the labels [first, n) as JSON; -1 when they are not plain."""
    out[o] = _OPEN
    for i in range(first, n):
        if not _is_plain(buf, spans, i, first, other, limits):
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


@kernel(void(BYTES, I64_ROWS_OUT, I64S, BYTES, I64S, BYTES_OUT, I64_ROWS_OUT))
def write(  # noqa: PLR0917 - compiled by position
    buf: U8, spans: I64, ends: I64, other: U8, limits: I64, out: U8, at: I64
) -> None:
    """`out` and `at`, (k, 3), are as drawn above; labels without a value are no labels.

    other: a label whose sets are not plain. limits: the most labels of a set, bytes of a name, and
    bytes of a value. spans: sorted in place. out: has room for 2 bytes a set, and for each label 8
    and twice its own.
    """
    first = np.int64(0)
    start = np.int64(0)
    for i in range(ends.size):
        n = first
        if ends[i] - first <= limits[0]:
            n = _sort(buf, spans, first, ends[i])
        middle = np.int64(-1)
        if n > first:
            middle = _text(buf, spans, first, n, other, limits, out, start)
        at[i, 0] = start
        at[i, 1] = start
        if middle > 0:
            at[i, 1] = middle
            start = middle
            for j in range(first, n):
                start = _separated(buf, spans[j, 0], spans[j, 1], out, start)
                start = _separated(buf, spans[j, 2], spans[j, 3], out, start)
        at[i, 2] = start
        first = ends[i]
