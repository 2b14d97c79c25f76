"""What a sample of OTLP is made of, and the data points of gauges and sums: steps of `otlp.walk`.

    number  2 start, 3 time, 4 double or 6 integer, 5 exemplars, 7 attributes, 8 flags

Source: opentelemetry-proto `metrics/v1/metrics.proto`.
"""

from typing import Any, NamedTuple

import numpy as np

from data_ingest.chassis.jit import inlined
from data_ingest.kernels.hashing import hash_step
from data_ingest.kernels.instructions import load_u64
from data_ingest.kernels.varint import BYTES_FIELD, FIXED64, VARINT, next_field, read_varint
from data_ingest.model import STALE_MARKER_BITS

OK, MALFORMED, TWICE, FULL = 0, 1, 2, 3
GAUGE, COUNTER, UP_DOWN, HISTOGRAM, SUMMARY, INFO, EXPONENTIAL = 1, 2, 3, 4, 5, 6, 7
DELTA = 8
"""Added to a kind: its values are to be made cumulative."""

# A row of `metrics`, and the metric being read, which stands at the start of `counts`. Spans have
# two columns, start and end, and the key has two lanes.
NAME, UNIT, DESCRIPTION, KIND, SCOPE, SCHEMA_URL, RESOURCE, METRIC_KEY = 0, 2, 4, 6, 7, 9, 11, 13
METRIC_COLUMNS = 15
# The rest of `counts`: results, and how far the walk is.
SAMPLES, METRICS, EXEMPLARS, OFFSET, DELTAS = 15, 16, 17, 18, 19
METRIC_ROW, INFO_LANES, INFO_ROW, INFO_LOW, INFO_HIGH = 20, 21, 23, 24, 25
FIRST_REFUSED, REFUSED_NAME, REFUSED = 26, 27, 29
"""Why the first data point was refused (1 more than its reason; 0 for none), the name of its
metric, and how many were, by reason."""
REFUSED_DELTA, REFUSED_TEMPORALITY, REFUSED_TIMESTAMP, REFUSED_VALUE, REFUSED_BUCKETS = range(5)
COUNTS = 34
"""Size of `counts`."""

KEY, TIME, VALUE, POINT, POINT_END, METRIC, PART = 0, 2, 3, 4, 5, 6, 7
ROW_COLUMNS = 8
"""Columns of `rows`, a sample each; the key has two lanes, the value is the bits of a double."""

INFO_INTERVAL_MS = np.int64(150_000)
"""`target_info` is written at least so often: half the lookback of queries, as Prometheus does."""

START_TAG = np.uint64(2 << 3 | FIXED64)
POINT_TAG = np.uint64(1 << 3 | BYTES_FIELD)
TIME_TAG = np.uint64(3 << 3 | FIXED64)
FOURTH_TAG = np.uint64(4 << 3 | FIXED64)
"""The double of a number, the count of the others."""
INTEGER_TAG = np.uint64(6 << 3 | FIXED64)
NUMBER_EXEMPLAR_TAG = np.uint64(5 << 3 | BYTES_FIELD)
NUMBER_ATTRIBUTE_TAG = np.uint64(7 << 3 | BYTES_FIELD)
NUMBER_FLAGS_TAG = np.uint64(8 << 3 | VARINT)
NO_RECORDED_VALUE = np.uint64(1)
NO_VALUE, DOUBLE, INTEGER = 0, 1, 2
ONE_BYTE = np.uint8(128)
NS_PER_MS = np.uint64(1_000_000)
KIND_SHIFT = np.uint64(48)
STALE = np.uint64(STALE_MARKER_BITS)
ONE = np.float64(1.0).view(np.uint64)


class Walk(NamedTuple):
    """What every step is given: see `otlp.walk`."""

    takes_delta: Any
    seed: Any
    rows: Any
    metrics: Any
    elements: Any
    counts: Any


@inlined
def next_message(buf: Any, p: Any, end: Any) -> Any:
    """As `next_field`, faster where the field is text or a message of less than 16 KiB."""
    tag, size, start = np.uint64(buf[p]), np.int64(buf[p + 1]), p + 2
    if size >= 128:
        size += (np.int64(buf[p + 2]) - 1) << 7
        start = p + 3
    is_usual = tag < 128 and tag & np.uint64(7) == BYTES_FIELD and tag >= 8
    if is_usual and size < 1 << 14 and start + size <= end:
        return tag, start, start + size
    return next_field(buf, p, end)


@inlined
def refuse(counts: Any, reason: Any, points: Any) -> Any:
    """Count `points` data points of the metric being read as refused."""
    if points > 0:
        counts[REFUSED + reason] += points
        if counts[FIRST_REFUSED] == 0:
            counts[FIRST_REFUSED] = reason + 1
            counts[REFUSED_NAME], counts[REFUSED_NAME + 1] = counts[NAME], counts[NAME + 1]


@inlined
def _add_metric(metrics: Any, counts: Any) -> Any:
    """A row of `metrics` for the metric being read."""
    row = counts[METRICS]
    for column in range(METRIC_COLUMNS):
        metrics[row, column] = counts[column]
    counts[METRICS] = row + 1
    return row


@inlined
def add_sample(  # noqa: PLR0917 - compiled by position
    span: Any, part: Any, lane0: Any, lane1: Any, time_ms: Any, bits: Any, rows: Any, n: Any
) -> Any:
    """Row `n`. span: (start, end, row of its metric)."""
    rows[n, KEY], rows[n, KEY + 1] = np.int64(lane0 ^ np.uint64(part)), np.int64(lane1)
    rows[n, TIME], rows[n, VALUE] = time_ms, np.int64(bits)
    rows[n, POINT], rows[n, POINT_END], rows[n, METRIC] = span
    rows[n, PART] = part


@inlined
def begin_point(time_ms: Any, samples: Any, out: Any) -> Any:
    """Where the samples of a point start: its metric has a row, its resource a `target_info`.

    -1 when `samples` of them, and those rows, do not fit.
    """
    rows, metrics, counts = out.rows, out.metrics, out.counts
    n = counts[SAMPLES]
    if n + samples + 1 > rows.shape[0] or counts[METRICS] + 2 > metrics.shape[0]:
        return -1
    if time_ms < counts[INFO_LOW] or time_ms >= counts[INFO_HIGH]:
        if counts[INFO_ROW] < 0:
            row = counts[INFO_ROW] = _add_metric(metrics, counts)
            metrics[row, KIND], metrics[row, METRIC_KEY] = INFO, INFO
            metrics[row, METRIC_KEY + 1] = 0
        counts[INFO_LOW] = min(counts[INFO_LOW], time_ms)
        counts[INFO_HIGH] = max(counts[INFO_HIGH], time_ms + INFO_INTERVAL_MS)
        lane0 = np.uint64(counts[INFO_LANES]) ^ (np.uint64(INFO) << KIND_SHIFT)
        lane1 = np.uint64(counts[INFO_LANES + 1])
        add_sample((-1, -1, counts[INFO_ROW]), 0, lane0, lane1, time_ms, ONE, rows, n)
        n += 1
    if counts[METRIC_ROW] < 0:
        counts[METRIC_ROW] = _add_metric(metrics, counts)
    counts[SAMPLES] = n + samples
    return n


@inlined
def bits_of(value: Any) -> Any:
    """The bits of a number as a double."""
    return np.float64(value).view(np.int64)


@inlined
def number_points(buf: Any, p: Any, end: Any, lanes: Any, out: Any) -> Any:
    """The samples of a gauge's or a sum's data points in [p, end); returns the status."""
    seed, rows, counts = out.seed, out.rows, out.counts
    key0, key1 = seed[2], seed[3]
    while p < end:
        tag, point, after = next_message(buf, p, end)
        if after < 0:
            counts[OFFSET] = p
            return MALFORMED
        p = after
        if tag != POINT_TAG:
            continue
        lane0, lane1 = lanes
        time_ns, bits, flags, value_kind = np.uint64(0), np.uint64(0), np.uint64(0), NO_VALUE
        q = point
        # As every sender begins: 11 <start> 19 <time> 21 or 31 <value>. This and the next two
        # shortcuts make the walk twice as fast (bench_decode.py).
        if (
            after - q >= 27
            and buf[q] == START_TAG
            and buf[q + 9] == TIME_TAG
            and (buf[q + 18] == FOURTH_TAG or buf[q + 18] == INTEGER_TAG)
        ):
            time_ns, bits = load_u64(buf, q + 10), load_u64(buf, q + 19)
            value_kind = DOUBLE if buf[q + 18] == FOURTH_TAG else INTEGER
            q += 27
        run_start = run_end = q
        while q < after:
            # A short attribute, as nearly all are: tag and length in a byte each.
            if buf[q] == NUMBER_ATTRIBUTE_TAG and buf[q + 1] < ONE_BYTE:
                next_q = q + 2 + np.int64(buf[q + 1])
                if q == run_end and next_q <= after:
                    q = run_end = next_q
                    continue
            tag, start, next_q = next_field(buf, q, after)
            if next_q < 0:
                counts[OFFSET] = q
                return MALFORMED
            if tag == NUMBER_ATTRIBUTE_TAG:
                # Attributes that follow one another are hashed as one run.
                if q != run_end:
                    lane0, lane1 = hash_step(buf, run_start, run_end, lane0, lane1, key0, key1)
                    run_start = q
                run_end = next_q
            elif tag == TIME_TAG:
                time_ns = load_u64(buf, start)
            elif tag == FOURTH_TAG:
                bits, value_kind = load_u64(buf, start), DOUBLE
            elif tag == INTEGER_TAG:
                bits, value_kind = load_u64(buf, start), INTEGER
            elif tag == NUMBER_FLAGS_TAG:
                flags, _ = read_varint(buf, start)
            elif tag == NUMBER_EXEMPLAR_TAG:
                counts[EXEMPLARS] += 1
            q = next_q
        lane0, lane1 = hash_step(buf, run_start, run_end, lane0, lane1, key0, key1)
        is_stale = flags & NO_RECORDED_VALUE != np.uint64(0)
        if time_ns == np.uint64(0):
            refuse(counts, REFUSED_TIMESTAMP, 1)
            continue
        if value_kind == NO_VALUE and not is_stale:
            refuse(counts, REFUSED_VALUE, 1)
            continue
        time_ms = np.int64(time_ns // NS_PER_MS)
        n = counts[SAMPLES]
        is_new = counts[METRIC_ROW] < 0 or n == rows.shape[0]
        if is_new or time_ms < counts[INFO_LOW] or time_ms >= counts[INFO_HIGH]:
            n = begin_point(time_ms, 1, out)
            if n < 0:
                return FULL
        else:
            counts[SAMPLES] = n + 1
        if is_stale:
            bits = STALE
        elif value_kind == INTEGER:
            bits = np.uint64(bits_of(np.int64(bits)))
        # What `add_sample` does, without the call.
        rows[n, KEY], rows[n, KEY + 1] = np.int64(lane0), np.int64(lane1)
        rows[n, TIME], rows[n, VALUE] = time_ms, np.int64(bits)
        rows[n, POINT], rows[n, POINT_END] = point, after
        rows[n, METRIC], rows[n, PART] = counts[METRIC_ROW], 0
        if counts[KIND] >= DELTA:
            counts[DELTAS] += 1
    return OK
