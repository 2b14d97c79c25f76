"""Walker over Prometheus text 0.0.4 and OpenMetrics 1.0: bytes to offsets, and most floats.

    name {  label = "value" , … } value timestamp  # { exemplar } …
    └─── key text ──────────────┘ └─┬─┘ └───┬───┘   └ OpenMetrics ┘
                                    float   ms (0.0.4) or seconds (OpenMetrics)

A number whose digits make less than 2**53 and whose power of ten is at most 22 is exact after one
multiplication or division; every other one is handed back as HARD with its offsets.
Source: prometheus.io/docs/instrumenting/exposition_formats, the OpenMetrics 1.0 ABNF, Prometheus
`model/textparse`.
"""

from typing import Any, Final

import numpy as np

from data_ingest.chassis.jit import (
    BYTES,
    F64S_OUT,
    I64_ROWS_OUT,
    I64S_OUT,
    boolean,
    inlined,
    int64,
    kernel,
)
from data_ingest.kernels.influx_values import NUMBER, read_number
from data_ingest.kernels.influx_values import OK as NUMBER_OK
from data_ingest.model import F64, I64, U8

# Status of a walk; the second number is the offset of the byte at fault.
OK, BAD_NAME, BAD_LABEL_NAME, NO_EQUALS, NO_QUOTE, OPEN_QUOTE, NO_SEPARATOR, NO_VALUE = range(8)
BAD_TIMESTAMP, TRAILING, TWO_NAMES, NO_METRIC_NAME, AFTER_EOF, NO_EOF, BAD_EXEMPLAR = range(8, 15)

# Columns of a sample row. TIME_START: -1 for no timestamp. HARD: 1 where the value is for Python's
# float. An exemplar's labels follow the sample's own, up to EXEMPLAR_LABELS_END; EXEMPLAR_START is
# where its value, and perhaps a time, begins, -1 for no exemplar.
KEY_START, KEY_END, LABELS_START, LABELS_END, VALUE_START, VALUE_END = range(6)
TIME_START, TIME_END, HARD, NAME_START, NAME_END, NAME_ESCAPED = range(6, 12)
EXEMPLAR_LABELS_END, EXEMPLAR_START, SAMPLE_COLUMNS = range(12, 15)

# Columns of a label row: start and end of name and value; 1 where the value has a backslash, and 2
# where the name has. LABEL_COLUMNS: how many there are.
LABEL_NAME_START, LABEL_NAME_END, LABEL_VALUE_START, LABEL_VALUE_END, LABEL_ESCAPED = range(5)
LABEL_COLUMNS: Final = 5

# Columns of a metadata row, and its kinds.
META_KIND, META_NAME_START, META_NAME_END, META_TEXT_START, META_TEXT_END, META_COLUMNS = range(6)
HELP, TYPE, UNIT = 1, 2, 3

_HELP: Final = tuple(b"HELP")
_TYPE: Final = tuple(b"TYPE")
_UNIT: Final = tuple(b"UNIT")
_EOF: Final = tuple(b"EOF")


@inlined
def _skip_blanks(buf: Any, p: Any, end: Any) -> Any:
    while p < end and (buf[p] == 32 or buf[p] == 9):
        p += 1
    return p


@inlined
def _is_name_byte(c: Any, first: Any, colon: Any) -> Any:
    if (97 <= c <= 122) or (65 <= c <= 90) or c == 95:
        return True
    if c == 58:
        return colon
    return (48 <= c <= 57) and not first


@inlined
def _name_end(buf: Any, p: Any, end: Any, colon: Any) -> Any:
    """One past the name that starts at `p`; `p` itself when none does."""
    start = p
    while p < end and _is_name_byte(buf[p], p == start, colon):
        p += 1
    return p


@inlined
def _quoted_end(buf: Any, p: Any, end: Any) -> Any:
    """Of the text from `p`, which follows a quote: (offset of the closing quote or -1, escaped).

    escaped: 1 when the text has a backslash, else 0.
    """
    escaped = 0
    while p < end:
        c = buf[p]
        if c == 34:
            return p, escaped
        if c == 92:
            escaped = 1
            p += 1
        p += 1
    return -1, escaped


@inlined
def _token_end(buf: Any, p: Any, end: Any) -> Any:
    while p < end and buf[p] != 32 and buf[p] != 9:
        p += 1
    return p


@inlined
def _number(buf: Any, p: Any, end: Any) -> Any:
    """(True, the float in [p, end)) when it is one that is written with digits."""
    if end == buf.size or (buf[p] == 43 and buf[p + 1] == 45):
        return False, 0.0
    status, kind, value, after = read_number(buf, p + (buf[p] == 43))
    # Influx's integers end with a letter.
    return status == NUMBER_OK and kind == NUMBER and after == end and buf[end - 1] < 58, value


@inlined
def _is_word(buf: Any, p: Any, end: Any, word: Any) -> Any:
    """The bytes of `word` stand at `p`."""
    if p + len(word) > end:
        return False
    for i in range(len(word)):  # noqa: SIM110 - a kernel is a plain loop
        if buf[p + i] != word[i]:
            return False
    return True


@inlined
def _labels(  # noqa: PLR0917 - compiled by position
    buf: Any, p: Any, end: Any, labels: Any, count: Any, name: Any
) -> Any:
    """Reads from after `{` to after `}` into label rows: (status, offset, count).

    A quoted text without `=` is the metric name (UTF-8 names): start, end and escaped go to `name`.
    """
    while True:
        p = _skip_blanks(buf, p, end)
        if p < end and buf[p] == 125:
            return OK, p + 1, count
        name_escaped = 0
        quoted = p < end and buf[p] == 34
        if quoted:
            start = p + 1
            stop, name_escaped = _quoted_end(buf, start, end)
            if stop < 0:
                return OPEN_QUOTE, p, count
            p = stop + 1
        else:
            start = p
            stop = _name_end(buf, p, end, False)
            if stop == p:
                return BAD_LABEL_NAME, p, count
            p = stop
        p = _skip_blanks(buf, p, end)
        if quoted and (p == end or buf[p] != 61):
            if name[0] >= 0:
                return TWO_NAMES, start - 1, count
            name[0], name[1], name[2] = start, stop, name_escaped
        else:
            if p == end or buf[p] != 61:
                return NO_EQUALS, p, count
            p = _skip_blanks(buf, p + 1, end)
            if p == end or buf[p] != 34:
                return NO_QUOTE, p, count
            closing, escaped = _quoted_end(buf, p + 1, end)
            if closing < 0:
                return OPEN_QUOTE, p, count
            labels[count, LABEL_NAME_START], labels[count, LABEL_NAME_END] = start, stop
            labels[count, LABEL_VALUE_START], labels[count, LABEL_VALUE_END] = p + 1, closing
            labels[count, LABEL_ESCAPED] = escaped | (name_escaped << 1)
            count += 1
            p = closing + 1
        p = _skip_blanks(buf, p, end)
        if p < end and buf[p] == 44:
            p += 1
        elif p == end or buf[p] != 125:
            return NO_SEPARATOR, p, count


@kernel(int64(BYTES, boolean, I64_ROWS_OUT, F64S_OUT, I64_ROWS_OUT, I64_ROWS_OUT, I64S_OUT))
def walk(  # noqa: PLR0917 - compiled by position
    buf: U8, openmetrics: bool, samples: I64, values: F64, labels: I64, metadata: I64, out: I64
) -> int:
    """Status of the walk; OK when the whole body was read.

    samples: (≥ lines, SAMPLE_COLUMNS); values: (≥ lines,).
    labels: (≥ number of `=` + 1, LABEL_COLUMNS); metadata: (≥ number of `#`, META_COLUMNS).
    out: (samples, labels, metadata, line from 1, offset at fault).
    """
    n_samples = 0
    n_labels = 0
    n_metadata = 0
    line = 0
    p = 0
    size = buf.size
    ended = False
    name = np.empty(3, np.int64)
    while p < size:
        line += 1
        end = p
        while end < size and buf[end] != 10:
            end += 1
        next_line = end + 1
        if end > p and buf[end - 1] == 13:
            end -= 1
        out[0], out[1], out[2], out[3] = n_samples, n_labels, n_metadata, line
        if ended:
            out[4] = p
            return AFTER_EOF
        p = _skip_blanks(buf, p, end)
        if p == end:
            p = next_line
            continue
        if buf[p] == 35:  # a comment, perhaps with metadata
            q = _skip_blanks(buf, p + 1, end)
            kind = 0
            if _is_word(buf, q, end, _HELP):
                kind = HELP
            elif _is_word(buf, q, end, _TYPE):
                kind = TYPE
            elif openmetrics and _is_word(buf, q, end, _UNIT):
                kind = UNIT
            elif openmetrics and q + 3 == end and _is_word(buf, q, end, _EOF):
                ended = True
            if kind > 0 and q + 4 < end and (buf[q + 4] == 32 or buf[q + 4] == 9):
                q = _skip_blanks(buf, q + 4, end)
                if q < end and buf[q] == 34:
                    stop, _escaped = _quoted_end(buf, q + 1, end)
                    if stop < 0:
                        out[4] = q
                        return OPEN_QUOTE
                    start, q = q + 1, stop + 1
                else:
                    stop = _name_end(buf, q, end, True)
                    if stop == q or (stop < end and buf[stop] != 32 and buf[stop] != 9):
                        out[4] = stop
                        return BAD_NAME
                    start, q = q, stop
                metadata[n_metadata, META_NAME_START] = start
                metadata[n_metadata, META_NAME_END] = stop
                if q < end:  # one blank parts name and text; what follows it is text
                    q += 1
                metadata[n_metadata, META_KIND] = kind
                metadata[n_metadata, META_TEXT_START] = q
                metadata[n_metadata, META_TEXT_END] = end
                n_metadata += 1
            p = next_line
            continue

        key_start = p
        first_label = n_labels
        name[0], name[1], name[2] = -1, -1, 0
        if buf[p] != 123:
            stop = _name_end(buf, p, end, True)
            if stop == p:
                out[4] = p
                return BAD_NAME
            name[0], name[1] = p, stop
            p = stop
        key_end = p
        after = _skip_blanks(buf, p, end)
        if after < end and buf[after] == 123:
            status, p, n_labels = _labels(buf, after + 1, end, labels, n_labels, name)
            if status != OK:
                out[4] = p
                return int(status)
            key_end = p
        elif after == p and p < end:
            out[4] = p
            return BAD_NAME
        if name[0] < 0:
            out[4] = key_start
            return NO_METRIC_NAME
        p = _skip_blanks(buf, p, end)
        value_start = p
        p = _token_end(buf, p, end)
        if p == value_start:
            out[4] = p
            return NO_VALUE
        row = n_samples
        easy, value = _number(buf, value_start, p)
        samples[row, KEY_START], samples[row, KEY_END] = key_start, key_end
        samples[row, LABELS_START], samples[row, LABELS_END] = first_label, n_labels
        samples[row, VALUE_START], samples[row, VALUE_END] = value_start, p
        samples[row, TIME_START], samples[row, TIME_END] = -1, -1
        samples[row, HARD], samples[row, EXEMPLAR_START] = 0 if easy else 1, -1
        samples[row, NAME_START], samples[row, NAME_END] = name[0], name[1]
        samples[row, NAME_ESCAPED] = name[2]
        values[row] = value
        p = _skip_blanks(buf, p, end)
        if p < end and buf[p] != 35:
            start = p
            p = _token_end(buf, p, end)
            if not (
                48 <= buf[start] <= 57 or buf[start] == 45 or (openmetrics and buf[start] == 43)
            ):
                out[4] = start
                return BAD_TIMESTAMP
            samples[row, TIME_START], samples[row, TIME_END] = start, p
            p = _skip_blanks(buf, p, end)
        n_samples += 1
        if p < end:
            if not (openmetrics and buf[p] == 35):
                out[4] = p
                return TRAILING
            # An exemplar: its value and time are read later.
            brace = _skip_blanks(buf, p + 1, end)
            if brace == end or buf[brace] != 123:
                out[4] = brace
                return BAD_EXEMPLAR
            name[0] = -1
            status, p, n_labels = _labels(buf, brace + 1, end, labels, n_labels, name)
            if status != OK or name[0] >= 0:
                out[4] = p
                return BAD_EXEMPLAR
            samples[row, EXEMPLAR_LABELS_END], samples[row, EXEMPLAR_START] = n_labels, p
        p = next_line
    out[0], out[1], out[2], out[3], out[4] = n_samples, n_labels, n_metadata, line, size
    if openmetrics and not ended:
        return NO_EOF
    return OK
