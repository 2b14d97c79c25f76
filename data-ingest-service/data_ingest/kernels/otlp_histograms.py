"""The data points of OTLP histograms and summaries, each several samples: steps of `otlp.walk`.

    histogram  2 start, 3 time, 4 count, 5 sum, 6 bucket counts, 7 bounds, 8 exemplars,
               9 attributes, 10 flags                   ─▶ _count, _sum, +Inf, a bucket each
    exponential  3 time, 4 count, 10 flags, 1 attributes, 11 exemplars
                                                        ─▶ one, read later as a whole
    summary    2 start, 3 time, 4 count, 5 sum, 6 quantiles, 7 attributes, 8 flags
                                                        ─▶ _count, _sum, a quantile each

Source: opentelemetry-proto `metrics/v1/metrics.proto`.
"""

from typing import Any

import numpy as np

from data_ingest.chassis.jit import inlined
from data_ingest.kernels import otlp_points as layout
from data_ingest.kernels.hashing import hash_step
from data_ingest.kernels.instructions import load_u64
from data_ingest.kernels.varint import BYTES_FIELD, FIXED64, VARINT, next_field, read_varint

COUNT_PART, SUM_PART, INFINITY_PART, FIRST_PART = 0, 1, 2, 3
"""Parts of a data point; buckets and quantiles are FIRST_PART and on."""
SUM_TAG = np.uint64(5 << 3 | FIXED64)
COUNTS_TAG = np.uint64(6 << 3 | BYTES_FIELD)
BOTH_COUNTS = (COUNTS_TAG, layout.INTEGER_TAG)
BOUNDS_TAG = np.uint64(7 << 3 | BYTES_FIELD)
BOUND_TAG = np.uint64(7 << 3 | FIXED64)
BOTH_BOUNDS = (BOUNDS_TAG, BOUND_TAG)
HISTOGRAM_EXEMPLAR_TAG = np.uint64(8 << 3 | BYTES_FIELD)
HISTOGRAM_ATTRIBUTE_TAG = np.uint64(9 << 3 | BYTES_FIELD)
EXPONENTIAL_ATTRIBUTE_TAG = np.uint64(1 << 3 | BYTES_FIELD)
EXPONENTIAL_EXEMPLAR_TAG = np.uint64(11 << 3 | BYTES_FIELD)
HISTOGRAM_FLAGS_TAG = np.uint64(10 << 3 | VARINT)
QUANTILE_TAG = np.uint64(1 << 3 | FIXED64)
QUANTILE_VALUE_TAG = np.uint64(2 << 3 | FIXED64)


@inlined
def _add_elements(elements: Any, at: Any, size: Any, start: Any, end: Any) -> Any:
    """The new `size`: places of the 8-byte numbers in [start, end) from `elements[at + size]` on.

    -1 when there are too many, or the bytes are not whole numbers; size -1 stays so.
    """
    added = (end - start) // 8
    if size < 0 or added * 8 != end - start or size + added > elements.size // 2:
        return -1
    for i in range(added):
        elements[at + size + i] = start + 8 * i
    return size + added


@inlined
def _are_ascending(buf: Any, elements: Any, at: Any, size: Any) -> Any:
    """Whether the bounds are finite and grow."""
    previous = -np.inf
    for i in range(size):
        bound = np.uint64(load_u64(buf, elements[at + i])).view(np.float64)
        if not previous < bound < np.inf:
            return False
        previous = bound
    return True


@inlined
def histogram_points(buf: Any, p: Any, end: Any, lanes: Any, out: Any) -> Any:
    """The samples of data points in [p, end), of histograms or summaries; returns the status."""
    seed, rows, elements, counts = out.seed, out.rows, out.elements, out.counts
    key0, key1 = seed[2], seed[3]
    is_summary = counts[layout.KIND] == layout.SUMMARY
    is_exponential = counts[layout.KIND] & ~layout.DELTA == layout.EXPONENTIAL
    has_buckets = not (is_summary or is_exponential)
    attribute_tag = layout.NUMBER_ATTRIBUTE_TAG if is_summary else HISTOGRAM_ATTRIBUTE_TAG
    exemplar_tag = HISTOGRAM_EXEMPLAR_TAG
    if is_exponential:
        attribute_tag, exemplar_tag = EXPONENTIAL_ATTRIBUTE_TAG, EXPONENTIAL_EXEMPLAR_TAG
    flags_tag = layout.NUMBER_FLAGS_TAG if is_summary else HISTOGRAM_FLAGS_TAG
    half = elements.size // 2
    while p < end:
        tag, point, after = next_field(buf, p, end)
        if after < 0:
            counts[layout.OFFSET] = p
            return layout.MALFORMED
        p = after
        if tag != layout.POINT_TAG:
            continue
        lane0, lane1 = lanes
        time_ns, count, sum_bits, flags = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
        has_sum = is_summary
        buckets = bounds = 0
        q = run_start = run_end = point
        while q < after:
            tag, start, next_q = next_field(buf, q, after)
            if next_q < 0:
                counts[layout.OFFSET] = q
                return layout.MALFORMED
            is_bounds = has_buckets and tag in BOTH_BOUNDS
            if tag == attribute_tag or is_bounds:
                if q != run_end:
                    lane0, lane1 = hash_step(buf, run_start, run_end, lane0, lane1, key0, key1)
                    run_start = q
                run_end = next_q
                if is_bounds:
                    bounds = _add_elements(elements, half, bounds, start, next_q)
            elif tag == layout.TIME_TAG:
                time_ns = load_u64(buf, start)
            elif tag == layout.FOURTH_TAG:
                count = load_u64(buf, start)
            elif tag == SUM_TAG and not is_exponential:
                sum_bits, has_sum = load_u64(buf, start), True
            elif tag == flags_tag:
                flags, _ = read_varint(buf, start)
            elif tag == COUNTS_TAG and is_summary:
                # One quantile: elements has the places of its message.
                if buckets >= half or buckets < 0:
                    buckets = -1
                else:
                    elements[buckets], elements[half + buckets] = start, next_q
                    buckets += 1
            elif has_buckets and tag in BOTH_COUNTS:
                buckets = _add_elements(elements, 0, buckets, start, next_q)
            elif tag == exemplar_tag and not is_summary:
                counts[layout.EXEMPLARS] += 1
            q = next_q
        lane0, lane1 = hash_step(buf, run_start, run_end, lane0, lane1, key0, key1)
        if time_ns == np.uint64(0):
            layout.refuse(counts, layout.REFUSED_TIMESTAMP, 1)
            continue
        if has_buckets:
            fits = buckets == bounds + 1 or (buckets == 0 and bounds == 0)
            if not (fits and bounds >= 0 and _are_ascending(buf, elements, half, bounds)):
                layout.refuse(counts, layout.REFUSED_BUCKETS, 1)
                continue
            # The last bucket is +Inf's, which every histogram has: its number is the count.
            buckets = bounds
        elif buckets < 0:
            layout.refuse(counts, layout.REFUSED_BUCKETS, 1)
            continue
        time_ms = np.int64(time_ns // layout.NS_PER_MS)
        parts = buckets + (2 if has_buckets else 1) + (1 if has_sum else 0)
        n = layout.begin_point(time_ms, parts, out)
        if n < 0:
            return layout.FULL
        first, span = n, (point, after, counts[layout.METRIC_ROW])
        count_bits = layout.bits_of(count)
        layout.add_sample(span, COUNT_PART, lane0, lane1, time_ms, count_bits, rows, n)
        n += 1
        if has_sum:
            layout.add_sample(span, SUM_PART, lane0, lane1, time_ms, sum_bits, rows, n)
            n += 1
        if has_buckets:
            layout.add_sample(span, INFINITY_PART, lane0, lane1, time_ms, count_bits, rows, n)
            n += 1
        cumulative = np.uint64(0)
        for i in range(buckets):
            part0, part1 = lane0, lane1
            if is_summary:
                quantile, bits, q = _quantile(buf, elements[i], elements[half + i])
                if q < 0:
                    counts[layout.OFFSET] = elements[i]
                    return layout.MALFORMED
                part0, part1 = hash_step(buf, quantile, q, lane0, lane1, key0, key1)
            else:
                cumulative += load_u64(buf, elements[i])
                bits = np.uint64(layout.bits_of(cumulative))
            layout.add_sample(span, FIRST_PART + i, part0, part1, time_ms, bits, rows, n)
            n += 1
        if flags & layout.NO_RECORDED_VALUE != np.uint64(0):
            for i in range(first, n):
                rows[i, layout.VALUE] = np.int64(layout.STALE)
        if counts[layout.KIND] >= layout.DELTA:
            counts[layout.DELTAS] += n - first
    return layout.OK


@inlined
def _quantile(buf: Any, p: Any, end: Any) -> Any:
    """Of a ValueAtQuantile: start of the quantile's bytes, bits of the value, end of the quantile.

    An absent quantile has no bytes and is 0. The end is -1 when the message is malformed.
    """
    quantile = quantile_end = p
    bits = np.uint64(0)
    while p < end:
        tag, start, after = next_field(buf, p, end)
        if after < 0:
            return p, bits, -1
        if tag == QUANTILE_TAG:
            quantile, quantile_end = start, after
        elif tag == QUANTILE_VALUE_TAG:
            bits = load_u64(buf, start)
        p = after
    return quantile, bits, quantile_end
