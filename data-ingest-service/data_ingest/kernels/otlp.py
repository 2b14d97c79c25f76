"""Walks an OTLP metrics request (`ExportMetricsServiceRequest`) in one pass.

    request ─ 1 ResourceMetrics ─┬─ 1 resource       1 attributes
                                 └─ 2 ScopeMetrics ─┬─ 1 scope, 3 schema_url
                                                    └─ 2 Metric   1 name, 2 description, 3 unit
           one of 5 gauge, 7 sum, 9 histogram, 10 exponential histogram, 11 summary ─┘
                  └─ 1 data points, 2 temporality, 3 is_monotonic

A sample's key covers the bytes of resource, scope and metric, the kind, the attributes (and bounds)
of its data point, and which part of the point it is. The data points themselves are read in
`otlp_points` and `otlp_histograms`.
Source: opentelemetry-proto `metrics/v1/metrics.proto`, `resource/v1/resource.proto`.
"""

from typing import Any

import numpy as np

from data_ingest.chassis.jit import BYTES, I64_ROWS_OUT, I64S_OUT, U64S, inlined, int64, walker
from data_ingest.kernels import otlp_points as layout
from data_ingest.kernels.hashing import fold, hash_step
from data_ingest.kernels.instructions import load_u64
from data_ingest.kernels.otlp_histograms import histogram_points
from data_ingest.kernels.varint import BYTES_FIELD, VARINT, next_field, read_varint
from data_ingest.model import I64, U8, U64

FIRST = np.uint64(1 << 3 | BYTES_FIELD)
"""Field 1: ResourceMetrics, resource, scope, name, data point, attribute, key."""
SECOND = np.uint64(2 << 3 | BYTES_FIELD)
"""Field 2: ScopeMetrics, Metric, description."""
THIRD = np.uint64(3 << 3 | BYTES_FIELD)
"""Field 3: schema_url, unit."""
GAUGE_TAG = np.uint64(5 << 3 | BYTES_FIELD)
SUM_TAG = np.uint64(7 << 3 | BYTES_FIELD)
HISTOGRAM_TAG = np.uint64(9 << 3 | BYTES_FIELD)
EXPONENTIAL_TAG = np.uint64(10 << 3 | BYTES_FIELD)
SUMMARY_TAG = np.uint64(11 << 3 | BYTES_FIELD)
DATA_TAGS = (GAUGE_TAG, SUM_TAG, HISTOGRAM_TAG, EXPONENTIAL_TAG, SUMMARY_TAG)
WITHOUT_TEMPORALITY = (GAUGE_TAG, SUMMARY_TAG)
OF_PARTS = (layout.HISTOGRAM, layout.SUMMARY, layout.EXPONENTIAL)
TEMPORALITY_TAG = np.uint64(2 << 3 | VARINT)
MONOTONIC_TAG = np.uint64(3 << 3 | VARINT)
IS_DELTA, IS_CUMULATIVE = np.uint64(1), np.uint64(2)
KIND_SHIFT = np.uint64(48)
NEVER_MS = np.int64(1) << np.int64(62)

# `service.name`, `service.namespace` and `service.instance.id`, eight bytes at a time.
_SERVICE = np.uint64(int.from_bytes(b"service.", "little"))
_NAME = np.uint64(int.from_bytes(b"name", "little"))
_SPACE = np.uint64(int.from_bytes(b"namespac", "little"))
_INSTANCE = np.uint64(int.from_bytes(b"instance", "little"))
_LOW_HALF = np.uint64(0xFFFF_FFFF)


@inlined
def _only(buf: Any, p: Any, end: Any, wanted: Any) -> Any:
    """(status, start, end) of the only field `wanted`: an empty span when there is none.

    A message given twice would have to be merged, which no sender asks for: it is refused.
    """
    only_start, only_end, times = end, end, 0
    while p < end:
        tag, start, after = layout.next_message(buf, p, end)
        if after < 0:
            return layout.MALFORMED, p, p
        if tag == wanted:
            if times > 0:
                return layout.TWICE, p, p
            only_start, only_end, times = start, after, 1
        p = after
    return layout.OK, only_start, only_end


@inlined
def _names_a_target(buf: Any, p: Any, end: Any) -> Any:
    """Whether the resource has a name or instance of a service, and something to say of it."""
    identifying, describing = 0, 0
    while p < end:
        tag, start, after = next_field(buf, p, end)
        if after < 0:
            return False
        p = after
        if tag != FIRST:
            continue
        tag, key, key_end = next_field(buf, start, after)
        size = key_end - key
        if tag == FIRST and size >= 12 and load_u64(buf, key) == _SERVICE:
            rest = load_u64(buf, key + 8)
            if (size == 12 and rest & _LOW_HALF == _NAME) or (size == 19 and rest == _INSTANCE):
                identifying += 1
                continue
            if size == 17 and rest == _SPACE:
                continue
        describing += 1
    return identifying > 0 and describing > 0


@inlined
def _metric(buf: Any, p: Any, end: Any, lanes: Any, out: Any) -> Any:
    takes_delta, seed, counts = out.takes_delta, out.seed, out.counts
    for at in (layout.NAME, layout.UNIT, layout.DESCRIPTION):
        counts[at] = counts[at + 1] = end
    data_tag = np.uint64(0)
    begin, data_field, data, data_end = p, end, end, end
    while p < end:
        tag, start, after = layout.next_message(buf, p, end)
        if after < 0:
            counts[layout.OFFSET] = p
            return layout.MALFORMED
        if tag == FIRST:
            counts[layout.NAME], counts[layout.NAME + 1] = start, after
        elif tag == SECOND:
            counts[layout.DESCRIPTION], counts[layout.DESCRIPTION + 1] = start, after
        elif tag == THIRD:
            counts[layout.UNIT], counts[layout.UNIT + 1] = start, after
        elif tag in DATA_TAGS:
            if data_tag != np.uint64(0):
                counts[layout.OFFSET] = p
                return layout.TWICE
            data_tag, data_field, data, data_end = tag, p, start, after
        p = after
    if data_tag == np.uint64(0):
        return layout.OK
    temporality, is_monotonic, points = IS_CUMULATIVE, False, 0
    if data_tag not in WITHOUT_TEMPORALITY:
        temporality = np.uint64(0)
        p = data
        while p < data_end:
            tag, start, after = layout.next_message(buf, p, data_end)
            if after < 0:
                counts[layout.OFFSET] = p
                return layout.MALFORMED
            if tag == FIRST:
                points += 1
            elif tag == TEMPORALITY_TAG:
                temporality, _ = read_varint(buf, start)
            elif tag == MONOTONIC_TAG:
                monotonic, _ = read_varint(buf, start)
                is_monotonic = monotonic != np.uint64(0)
            p = after
    kind = layout.GAUGE
    if data_tag == SUM_TAG:
        kind = layout.COUNTER if is_monotonic else layout.UP_DOWN
    elif data_tag == HISTOGRAM_TAG:
        kind = layout.HISTOGRAM
    elif data_tag == SUMMARY_TAG:
        kind = layout.SUMMARY
    elif data_tag == EXPONENTIAL_TAG:
        kind = layout.EXPONENTIAL
    if temporality == IS_DELTA:
        if takes_delta == 0 or kind == layout.UP_DOWN:
            layout.refuse(counts, layout.REFUSED_DELTA, points)
            return layout.OK
        kind |= layout.DELTA
    elif temporality != IS_CUMULATIVE:
        layout.refuse(counts, layout.REFUSED_TEMPORALITY, points)
        return layout.OK
    counts[layout.KIND], counts[layout.METRIC_ROW] = kind, -1
    # All of the metric but its data points, hashed once for what describes it and for its series.
    own0, own1 = hash_step(buf, begin, data_field, seed[0], seed[1], seed[2], seed[3])
    if data_end < end:
        own0, own1 = hash_step(buf, data_end, end, own0, own1, seed[2], seed[3])
    own0 ^= np.uint64(kind) << KIND_SHIFT
    counts[layout.METRIC_KEY], counts[layout.METRIC_KEY + 1] = np.int64(own0), np.int64(own1)
    lanes = fold(own0 ^ seed[2], own1 ^ lanes[0]), fold(own0 ^ lanes[1], own1 ^ seed[3])
    if kind & ~layout.DELTA in OF_PARTS:
        return histogram_points(buf, data, data_end, lanes, out)
    return layout.number_points(buf, data, data_end, lanes, out)


@inlined
def _scope_metrics(buf: Any, p: Any, end: Any, lanes: Any, out: Any) -> Any:
    (lane0, lane1), seed, counts = lanes, out.seed, out.counts
    for at, wanted in ((layout.SCOPE, FIRST), (layout.SCHEMA_URL, THIRD)):
        status, start, after = _only(buf, p, end, wanted)
        if status != layout.OK:
            counts[layout.OFFSET] = start
            return status
        counts[at], counts[at + 1] = start, after
        lane0, lane1 = hash_step(buf, start, after, lane0, lane1, seed[2], seed[3])
    while p < end:
        tag, start, after = layout.next_message(buf, p, end)
        if tag == SECOND:
            status = _metric(buf, start, after, (lane0, lane1), out)
            if status != layout.OK:
                return status
        p = after
    return layout.OK


@inlined
def _resource_metrics(buf: Any, p: Any, end: Any, out: Any) -> Any:
    seed, counts = out.seed, out.counts
    status, start, after = _only(buf, p, end, FIRST)
    if status != layout.OK:
        counts[layout.OFFSET] = start
        return status
    lane0, lane1 = hash_step(buf, start, after, seed[0], seed[1], seed[2], seed[3])
    counts[layout.RESOURCE], counts[layout.RESOURCE + 1] = start, after
    # The same resource again goes on with the `target_info` it has.
    info, own0, own1 = layout.INFO_LANES, np.int64(lane0), np.int64(lane1)
    if counts[info] != own0 or counts[info + 1] != own1:
        counts[info], counts[info + 1] = own0, own1
        has_info = _names_a_target(buf, start, after)
        counts[layout.INFO_ROW] = -1
        counts[layout.INFO_LOW] = NEVER_MS if has_info else -NEVER_MS
        counts[layout.INFO_HIGH] = -NEVER_MS if has_info else NEVER_MS
    while p < end:
        tag, start, after = next_field(buf, p, end)
        if tag == SECOND:
            status = _scope_metrics(buf, start, after, (lane0, lane1), out)
            if status != layout.OK:
                return status
        p = after
    return layout.OK


@walker(int64(BYTES, int64, U64S, int64, I64_ROWS_OUT, I64_ROWS_OUT, I64S_OUT, I64S_OUT))
def walk(  # noqa: PLR0917 - compiled by position
    buf: U8,
    end: int,
    seed: U64,
    takes_delta: int,
    rows: I64,
    metrics: I64,
    elements: I64,
    counts: I64,
) -> int:
    """The status; on OK `counts` says how many samples and metrics there are.

    buf: the message in [0, end), with spare bytes after it (see `varint`).
    takes_delta: 1 when counters and histograms of delta temporality are taken; they are marked.
    rows: (n, ROW_COLUMNS), of each sample: its series' key, its time and value, where its data
        point stands (-1 for `target_info`), the row of `metrics`, and which part of the point.
    metrics: (m, METRIC_COLUMNS), where each metric with samples, its scope and its resource stand,
        and the hash of what describes it.
    elements: (2 b,), working space for the buckets of one histogram: b bounds its buckets.
    counts: (COUNTS,); refused data points by reason, see `otlp_points`. On MALFORMED and TWICE
        `counts[OFFSET]` is where. On FULL an output is too small and no output may be used.
    """
    counts[:] = 0
    out = layout.Walk(takes_delta, seed, rows, metrics, elements, counts)
    p = 0
    while p < end:
        tag, start, after = next_field(buf, p, end)
        if after < 0:
            counts[layout.OFFSET] = p
            return layout.MALFORMED
        if tag == FIRST:
            status: int = _resource_metrics(buf, start, after, out)
            if status != layout.OK:
                return status
        p = after
    return layout.OK
