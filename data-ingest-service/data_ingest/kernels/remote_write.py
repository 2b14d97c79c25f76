"""Walks a decompressed remote_write 1.0 request (`prometheus.WriteRequest`) in one pass.

    WriteRequest   1 timeseries ─┬─ 1 label   (raw bytes are hashed, not read)
                   3 metadata    ├─ 2 sample  1 value double · 2 timestamp int64 ms
                                 ├─ 3 exemplar    where it stands
                                 └─ 4 histogram   where it stands

Fields 4 and 5 of the outer message are what a 2.0 request consists of: read as 1.0 it would be an
empty request without an error, so its presence is a status of its own.
Source: Prometheus `prompb/remote.proto`, `prompb/types.proto`.
"""

from typing import Any, NamedTuple

import numpy as np

from data_ingest.chassis.jit import (
    BYTES,
    I64_ROWS_OUT,
    I64S,
    I64S_OUT,
    U64_ROWS_OUT,
    U64S,
    inlined,
    int64,
    void,
    walker,
)
from data_ingest.kernels.hashing import hash_step
from data_ingest.kernels.instructions import load_u64
from data_ingest.kernels.varint import BYTES_FIELD, FIXED64, VARINT, next_field, read_varint
from data_ingest.model import I64, U8, U64

OK, MALFORMED, FULL, OTHER_VERSION = 0, 1, 2, 3
SERIES, SAMPLES, OTHERS, METADATA, OFFSET, SYMBOLS, NAME = range(7)
COUNTS = 7
"""Size of `counts`, whose items the names above index; the last two are of 2.0: how many symbols,
and the number of `__name__`."""
EXEMPLAR, HISTOGRAM = 0, 1
"""Kinds of `others`."""

# Tags of WriteRequest, of TimeSeries, of Label and of Sample.
SERIES_TAG = np.uint8(1 << 3 | BYTES_FIELD)
METADATA_TAG = np.uint8(3 << 3 | BYTES_FIELD)
LABEL_TAG = np.uint8(1 << 3 | BYTES_FIELD)
SAMPLE_TAG = np.uint8(2 << 3 | BYTES_FIELD)
EXEMPLAR_TAG = np.uint8(3 << 3 | BYTES_FIELD)
HISTOGRAM_TAG = np.uint8(4 << 3 | BYTES_FIELD)
LABEL_NAME_TAG = np.uint8(1 << 3 | BYTES_FIELD)
LABEL_VALUE_TAG = np.uint8(2 << 3 | BYTES_FIELD)
VALUE_TAG = np.uint8(1 << 3 | FIXED64)
TIMESTAMP_TAG = np.uint8(2 << 3 | VARINT)
ONE_BYTE = np.uint8(128)


class Values(NamedTuple):
    """What is read of both versions, see `walk`; `counts` says how far it is."""

    samples: Any
    others: Any
    counts: Any


@inlined
def _add_sample(timestamp_ms: Any, bits: Any, out: Any) -> Any:
    """A sample more, of the series that is being read."""
    n = out.counts[SAMPLES]
    out.samples[0, n] = out.counts[SERIES]
    out.samples[1, n] = np.int64(timestamp_ms)
    out.samples[2, n] = np.int64(bits)
    out.counts[SAMPLES] = n + 1


@inlined
def usual_sample(buf: Any, p: Any, end: Any, out: Any) -> Any:
    """Position after the sample at `p`, which is added; -1 where none stands there as every sender
    writes it: 09 <value> 10 <timestamp>.
    """
    if buf[p] == SAMPLE_TAG and buf[p + 2] == VALUE_TAG and buf[p + 11] == TIMESTAMP_TAG:
        after = p + 2 + np.int64(buf[p + 1])
        if after <= end and out.counts[SAMPLES] < out.samples.shape[1]:
            timestamp_ms, value_end = read_varint(buf, p + 12)
            if value_end == after:
                _add_sample(timestamp_ms, load_u64(buf, p + 3), out)
                return after
    return -1


@inlined
def add_value(buf: Any, field: Any, exemplar: Any, histogram: Any, out: Any) -> Any:
    """The status after a field of a TimeSeries, (tag, start, end): a sample, or one of the others.

    exemplar, histogram: their tags.
    """
    (tag, start, end), counts = field, out.counts
    if tag == SAMPLE_TAG:
        if counts[SAMPLES] == out.samples.shape[1]:
            return FULL
        bits = timestamp_ms = np.uint64(0)
        p = start
        while p < end:
            tag, start, after = next_field(buf, p, end)
            if after < 0:
                counts[OFFSET] = p
                return MALFORMED
            if tag == VALUE_TAG:
                bits = load_u64(buf, start)
            elif tag == TIMESTAMP_TAG:
                timestamp_ms, _ = read_varint(buf, start)
            p = after
        _add_sample(timestamp_ms, bits, out)
    elif tag in (exemplar, histogram):
        row = counts[OTHERS]
        if row == out.others.shape[0]:
            return FULL
        out.others[row, 0] = HISTOGRAM if tag == histogram else EXEMPLAR
        out.others[row, 1] = counts[SERIES]
        out.others[row, 2] = start
        out.others[row, 3] = end
        counts[OTHERS] = row + 1
    return OK


@walker(
    int64(
        BYTES, int64, U64S, U64_ROWS_OUT, I64S_OUT, I64_ROWS_OUT, I64_ROWS_OUT, I64S_OUT, I64S_OUT
    )
)
def walk(  # noqa: PLR0917 - compiled by position
    buf: U8,
    end: int,
    seed: U64,
    keys: U64,
    series_spans: I64,
    samples: I64,
    others: I64,
    metadata_spans: I64,
    counts: I64,
) -> int:
    """The status; on OK `counts` says how many series, samples and metadata the arrays hold.

    buf: the message in [0, end), with spare bytes after it (see `varint`).
    keys: (s, 2), the hash of each series' label bytes.
    series_spans: (2 s,), start and end of each TimeSeries that has anything.
    samples: (3, n), the row of `keys` each belongs to, timestamps in ms, bits of the values.
    others: (o, 4), of each histogram and exemplar its kind, row of `keys`, start and end.
    metadata_spans: (2 m,), start and end of each MetricMetadata; more than fit are only counted.
    counts: (COUNTS,); on MALFORMED and OTHER_VERSION `counts[OFFSET]` is where.
    On FULL an output is too small and no output may be used.
    """
    counts[:] = 0
    out = Values(samples, others, counts)
    p = 0
    while p < end:
        tag, start, after = next_field(buf, p, end)
        if after < 0:
            counts[OFFSET] = p
            return MALFORMED
        if tag >> np.uint64(3) == np.uint64(4) or tag >> np.uint64(3) == np.uint64(5):
            counts[OFFSET] = p
            return OTHER_VERSION
        if tag != SERIES_TAG:
            if tag == METADATA_TAG:
                metadata = counts[METADATA]
                if 2 * metadata < metadata_spans.size:
                    metadata_spans[2 * metadata] = start
                    metadata_spans[2 * metadata + 1] = after
                counts[METADATA] = metadata + 1
            p = after
            continue

        # One TimeSeries in [start, after).
        p = start
        values = counts[SAMPLES] + counts[OTHERS]
        lane0, lane1, key0, key1 = seed[0], seed[1], seed[2], seed[3]
        run_start = p
        run_end = p
        while p < after:
            # A short label, as nearly all are: tag and length in a byte each. The walk is 2.4 times
            # faster with this branch and 3 times with the next one too (bench_remote_write.py).
            if buf[p] == LABEL_TAG and buf[p + 1] < ONE_BYTE:
                next_p = p + 2 + np.int64(buf[p + 1])
                if p == run_end and next_p <= after:
                    run_end = next_p
                    p = next_p
                    continue
            next_p = usual_sample(buf, p, after, out)
            if next_p >= 0:
                p = next_p
                continue
            tag, value_start, next_p = next_field(buf, p, after)
            if next_p < 0:
                counts[OFFSET] = p
                return MALFORMED
            if tag == LABEL_TAG:
                # Labels that follow one another are hashed as one run.
                if p != run_end:
                    if run_end > run_start:
                        lane0, lane1 = hash_step(buf, run_start, run_end, lane0, lane1, key0, key1)
                    run_start = p
                run_end = next_p
            else:
                field = tag, value_start, next_p
                status: int = add_value(buf, field, EXEMPLAR_TAG, HISTOGRAM_TAG, out)
                if status != OK:
                    return status
            p = next_p
        if counts[SAMPLES] + counts[OTHERS] > values:
            series = counts[SERIES]
            if series == keys.shape[0]:
                return FULL
            lane0, lane1 = hash_step(buf, run_start, run_end, lane0, lane1, key0, key1)
            keys[series, 0] = lane0
            keys[series, 1] = lane1
            series_spans[2 * series] = start
            series_spans[2 * series + 1] = after
            counts[SERIES] = series + 1
        p = after
    return OK


@walker(int64(BYTES, int64, int64, I64S_OUT))
def find_labels(buf: U8, start: int, end: int, spans: I64) -> int:
    """How many labels the TimeSeries in [start, end) has; -1 when one of them is malformed.

    spans: name start, name end, value start and value end of each label, as far as there is room.
    """
    labels = 0
    p = start
    while p < end:
        tag, p, after = next_field(buf, p, end)
        if after < 0:
            return -1
        if tag != LABEL_TAG:
            p = after
            continue
        name_start = name_end = value_start = value_end = p
        while p < after:
            tag, field_start, p = next_field(buf, p, after)
            if p < 0:
                return -1
            if tag == LABEL_NAME_TAG:
                name_start, name_end = field_start, p
            elif tag == LABEL_VALUE_TAG:
                value_start, value_end = field_start, p
        if 4 * labels + 4 <= spans.size:
            spans[4 * labels] = name_start
            spans[4 * labels + 1] = name_end
            spans[4 * labels + 2] = value_start
            spans[4 * labels + 3] = value_end
        labels += 1
        p = after
    return labels


@walker(void(BYTES, I64S, I64S, I64S_OUT, I64S_OUT))
def find_label_sets(buf: U8, series_spans: I64, rows: I64, spans: I64, ends: I64) -> None:
    """The labels of several TimeSeries as of one in `find_labels`, and where each one's end.

    One that is malformed, or beyond the room in `spans`, has none.
    """
    n = np.int64(0)
    for i in range(rows.size):
        start, end = series_spans[2 * rows[i]], series_spans[2 * rows[i] + 1]
        labels = find_labels(buf, start, end, spans[4 * n :])
        if labels > 0 and 4 * (n + labels) <= spans.size:
            n += labels
        ends[i] = n
