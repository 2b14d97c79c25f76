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
from data_ingest.model import F64, I64, STALE_MARKER_BITS, U64

OK, MALFORMED, TWICE, FULL = 0, 1, 2, 3
GAUGE, COUNTER, UP_DOWN, HISTOGRAM, SUMMARY, INFO = 1, 2, 3, 4, 5, 6
DELTA = 8
"""Added to a kind: its values are to be made cumulative."""

# A row of `metrics`, and the metric being read, which stands at the start of `counts`. Spans have
# two columns, start and end.
NAME, UNIT, DESCRIPTION, KIND, SCOPE, SCHEMA_URL, RESOURCE = 0, 2, 4, 6, 7, 9, 11
METRIC_COLUMNS = 13
# The rest of `counts`: results, and how far the walk is.
SAMPLES, METRICS, EXEMPLARS, OFFSET, DELTAS = 13, 14, 15, 16, 17
METRIC_ROW, INFO_LANES, INFO_ROW, INFO_LOW, INFO_HIGH = 18, 19, 21, 22, 23
FIRST_REFUSED, REFUSED_NAME, REFUSED = 24, 25, 27
"""Why the first data point was refused (1 more than its reason; 0 for none), the name of its
metric, and how many were, by reason."""
(
    REFUSED_DELTA,
    REFUSED_TEMPORALITY,
    REFUSED_EXPONENTIAL,
    REFUSED_TIMESTAMP,
    REFUSED_VALUE,
    REFUSED_BUCKETS,
) = range(6)
COUNTS = 33
"""Size of `counts`."""

POINT, POINT_END, METRIC, PART = 0, 1, 2, 3
ROW_COLUMNS = 4
"""Columns of `rows`."""

INFO_INTERVAL_MS = np.int64(150_000)
"""`target_info` is written at least so often: half the lookback of queries, as Prometheus does."""


class Arrays(NamedTuple):
    """What a walk reads and writes, see `otlp.walk`; passed as one from step to step."""

    seed: U64
    keys: U64
    rows: I64
    timestamps_ms: I64
    values: F64
    value_bits: U64
    metrics: I64
    metric_keys: U64
    elements: I64
    counts: I64


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


@inlined
def refuse(counts: Any, reason: Any, points: Any) -> Any:
    """Count `points` data points of the metric being read as refused."""
    if points > 0:
        counts[REFUSED + reason] += points
        if counts[FIRST_REFUSED] == 0:
            counts[FIRST_REFUSED] = reason + 1
            counts[REFUSED_NAME], counts[REFUSED_NAME + 1] = counts[NAME], counts[NAME + 1]


@inlined
def _add_metric(buf: Any, kind: Any, work: Any) -> Any:
    """A row of `metrics` for the metric being read, and its key."""
    seed, counts = work.seed, work.counts
    row = counts[METRICS]
    for column in range(METRIC_COLUMNS):
        work.metrics[row, column] = counts[column]
    work.metrics[row, KIND] = kind
    lane0, lane1 = seed[0] ^ np.uint64(kind), seed[1]
    if kind != INFO:
        for at in (NAME, UNIT, DESCRIPTION):
            lane0, lane1 = hash_step(
                buf, counts[at], counts[at + 1], lane0, lane1, seed[2], seed[3]
            )
    work.metric_keys[row, 0], work.metric_keys[row, 1] = lane0, lane1
    counts[METRICS] = row + 1
    return row


@inlined
def add_sample(  # noqa: PLR0917 - compiled by position
    span: Any, part: Any, lane0: Any, lane1: Any, time_ms: Any, work: Any, n: Any
) -> Any:
    """Everything of sample `n` but its value. span: (start, end, row of its metric)."""
    work.keys[n, 0], work.keys[n, 1] = lane0 ^ np.uint64(part), lane1
    rows = work.rows
    rows[n, POINT], rows[n, POINT_END], rows[n, METRIC] = span
    rows[n, PART] = part
    work.timestamps_ms[n] = time_ms


@inlined
def begin_point(buf: Any, time_ms: Any, samples: Any, work: Any) -> Any:
    """Where the samples of a point start: its metric has a row, its resource a `target_info`.

    -1 when `samples` of them, and those rows, do not fit.
    """
    counts = work.counts
    n = counts[SAMPLES]
    if n + samples + 1 > work.timestamps_ms.size or counts[METRICS] + 2 > work.metrics.shape[0]:
        return -1
    if time_ms < counts[INFO_LOW] or time_ms >= counts[INFO_HIGH]:
        if counts[INFO_ROW] < 0:
            counts[INFO_ROW] = _add_metric(buf, INFO, work)
        counts[INFO_LOW] = min(counts[INFO_LOW], time_ms)
        counts[INFO_HIGH] = max(counts[INFO_HIGH], time_ms + INFO_INTERVAL_MS)
        lane0 = np.uint64(counts[INFO_LANES]) ^ (np.uint64(INFO) << KIND_SHIFT)
        lane1 = np.uint64(counts[INFO_LANES + 1])
        add_sample((-1, -1, counts[INFO_ROW]), 0, lane0, lane1, time_ms, work, n)
        work.values[n] = 1.0
        n += 1
    if counts[METRIC_ROW] < 0:
        counts[METRIC_ROW] = _add_metric(buf, counts[KIND], work)
    counts[SAMPLES] = n + samples
    return n


@inlined
def number_points(  # noqa: PLR0917 - compiled by position
    buf: Any, p: Any, end: Any, metric0: Any, metric1: Any, work: Any
) -> Any:
    """The samples of a gauge's or a sum's data points in [p, end); returns the status."""
    key0, key1, counts = work.seed[2], work.seed[3], work.counts
    while p < end:
        tag, point, after = next_field(buf, p, end)
        if after < 0:
            counts[OFFSET] = p
            return MALFORMED
        p = after
        if tag != POINT_TAG:
            continue
        lane0, lane1 = metric0, metric1
        time_ns, bits, flags, value_kind = np.uint64(0), np.uint64(0), np.uint64(0), NO_VALUE
        q = run_start = run_end = point
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
        n = begin_point(buf, time_ms, 1, work)
        if n < 0:
            return FULL
        add_sample((point, after, counts[METRIC_ROW]), 0, lane0, lane1, time_ms, work, n)
        if is_stale:
            work.value_bits[n] = STALE
        elif value_kind == INTEGER:
            work.values[n] = np.float64(np.int64(bits))
        else:
            work.value_bits[n] = bits
        if counts[KIND] >= DELTA:
            counts[DELTAS] += 1
    return OK
