"""Walks a decompressed remote_write 1.0 request (`prometheus.WriteRequest`) in one pass.

    WriteRequest   1 timeseries ─┬─ 1 label   (raw bytes are hashed, not read)
                   3 metadata    ├─ 2 sample  1 value double · 2 timestamp int64 ms
                                 ├─ 3 exemplar    counted
                                 └─ 4 histogram   counted

Fields 4 and 5 of the outer message are what a 2.0 request consists of: read as 1.0 it would be an
empty request without an error, so its presence is a status of its own.
Source: Prometheus `prompb/remote.proto`, `prompb/types.proto`.
"""

import numpy as np

from data_ingest.chassis.jit import BYTES, I64S_OUT, U64_ROWS_OUT, U64S, U64S_OUT, int64, kernel
from data_ingest.kernels.hashing import hash_step
from data_ingest.kernels.instructions import load_u64
from data_ingest.kernels.varint import BYTES_FIELD, FIXED64, VARINT, field_end, read_varint
from data_ingest.model import I64, U8, U64

OK, MALFORMED, SERIES_FULL, SAMPLES_FULL, VERSION_2 = 0, 1, 2, 3, 4
SERIES, SAMPLES, HISTOGRAMS, EXEMPLARS, METADATA, OFFSET = 0, 1, 2, 3, 4, 5
COUNTS = 6
"""Size of `counts`, whose items the names above index."""

LABEL_TAG = np.uint8(1 << 3 | BYTES_FIELD)
SAMPLE_TAG = np.uint8(2 << 3 | BYTES_FIELD)
VALUE_TAG = np.uint8(1 << 3 | FIXED64)
TIMESTAMP_TAG = np.uint8(2 << 3 | VARINT)
ONE_BYTE = np.uint8(128)


@kernel(
    int64(
        BYTES, int64, U64S, U64_ROWS_OUT, I64S_OUT, I64S_OUT, I64S_OUT, U64S_OUT, I64S_OUT, I64S_OUT
    )
)
def walk(  # noqa: PLR0917 - compiled by position
    buf: U8,
    end: int,
    seed: U64,
    keys: U64,
    series_start: I64,
    series_of: I64,
    timestamps_ms: I64,
    value_bits: U64,
    metadata_start: I64,
    counts: I64,
) -> int:
    """The status; on OK the arrays hold `counts[SERIES]`, `counts[SAMPLES]`, `counts[METADATA]`
    items.

    buf: the message in [0, end), with spare bytes after it (see `varint`).
    series_start: where each TimeSeries message starts (its length varint); only those with samples.
    series_of: row of `keys` for each sample. metadata_start: as series_start; those beyond its size
    are only counted. On MALFORMED `counts[OFFSET]` is where; on *_FULL an output is too small and
    nothing is usable.
    """
    series = 0
    samples = 0
    histograms = 0
    exemplars = 0
    metadata = 0
    p = 0
    while p < end:
        tag_at = p
        tag, p = read_varint(buf, p)
        if p < 0 or p > end or tag < np.uint64(8):
            counts[OFFSET] = tag_at
            return MALFORMED
        field = np.int64(tag >> np.uint64(3))
        wire = np.int64(tag & np.uint64(7))
        after = field_end(buf, p, wire, end)
        if after < 0:
            counts[OFFSET] = tag_at
            return MALFORMED
        if field in {4, 5}:
            counts[OFFSET] = tag_at
            return VERSION_2
        if field == 3 and wire == BYTES_FIELD:
            if metadata < metadata_start.size:
                metadata_start[metadata] = p
            metadata += 1
        if field != 1 or wire != BYTES_FIELD:
            p = after
            continue

        # One TimeSeries in [p, after).
        started_at = p
        _, p = read_varint(buf, p)
        first_sample = samples
        lane0, lane1, key0, key1 = seed[0], seed[1], seed[2], seed[3]
        run_start = p
        run_end = p
        while p < after:
            # A short label, as nearly all are: tag and length in a byte each. 2.4 times faster, see
            # bench_remote_write.py.
            if buf[p] == LABEL_TAG and buf[p + 1] < ONE_BYTE:
                next_p = p + 2 + np.int64(buf[p + 1])
                if p == run_end and next_p <= after:
                    run_end = next_p
                    p = next_p
                    continue
            # A sample as every sender writes it: 09 <value> 10 <timestamp>, nothing else.
            elif buf[p] == SAMPLE_TAG and buf[p + 2] == VALUE_TAG and buf[p + 11] == TIMESTAMP_TAG:
                next_p = p + 2 + np.int64(buf[p + 1])
                if next_p <= after and samples < timestamps_ms.size:
                    timestamp_ms, value_end = read_varint(buf, p + 12)
                    if value_end == next_p:
                        series_of[samples] = series
                        timestamps_ms[samples] = np.int64(timestamp_ms)
                        value_bits[samples] = load_u64(buf, p + 3)
                        samples += 1
                        p = next_p
                        continue
            tag_at = p
            tag, p = read_varint(buf, p)
            if p < 0 or p > after or tag < np.uint64(8):
                counts[OFFSET] = tag_at
                return MALFORMED
            field = np.int64(tag >> np.uint64(3))
            wire = np.int64(tag & np.uint64(7))
            next_p = field_end(buf, p, wire, after)
            if next_p < 0:
                counts[OFFSET] = tag_at
                return MALFORMED
            if wire == BYTES_FIELD:
                if field == 1:
                    # Labels that follow one another are hashed as one run.
                    if tag_at != run_end:
                        if run_end > run_start:
                            lane0, lane1 = hash_step(
                                buf, run_start, run_end, lane0, lane1, key0, key1
                            )
                        run_start = tag_at
                    run_end = next_p
                elif field == 2:
                    if samples == timestamps_ms.size:
                        return SAMPLES_FULL
                    _, p = read_varint(buf, p)
                    value = np.uint64(0)
                    timestamp_ms = np.uint64(0)
                    while p < next_p:
                        tag_at = p
                        tag, p = read_varint(buf, p)
                        if p < 0 or p > next_p or tag < np.uint64(8):
                            counts[OFFSET] = tag_at
                            return MALFORMED
                        field = np.int64(tag >> np.uint64(3))
                        wire = np.int64(tag & np.uint64(7))
                        value_end = field_end(buf, p, wire, next_p)
                        if value_end < 0:
                            counts[OFFSET] = tag_at
                            return MALFORMED
                        if field == 1 and wire == FIXED64:
                            value = load_u64(buf, p)
                        elif field == 2 and wire == VARINT:
                            timestamp_ms, _ = read_varint(buf, p)
                        p = value_end
                    series_of[samples] = series
                    timestamps_ms[samples] = np.int64(timestamp_ms)
                    value_bits[samples] = value
                    samples += 1
                elif field == 3:
                    exemplars += 1
                elif field == 4:
                    histograms += 1
            p = next_p
        if samples > first_sample:
            if series == series_start.size:
                return SERIES_FULL
            lane0, lane1 = hash_step(buf, run_start, run_end, lane0, lane1, key0, key1)
            keys[series, 0] = lane0
            keys[series, 1] = lane1
            series_start[series] = started_at
            series += 1
        p = after
    counts[SERIES] = series
    counts[SAMPLES] = samples
    counts[HISTOGRAMS] = histograms
    counts[EXEMPLARS] = exemplars
    counts[METADATA] = metadata
    return OK


@kernel(int64(BYTES, int64, int64, I64S_OUT))
def find_labels(buf: U8, start: int, end: int, spans: I64) -> int:
    """How many labels the TimeSeries in [start, end) has; -1 when one of them is malformed.

    spans: name start, name end, value start, value end of each label, as far as there is room. The
    message is one that `walk` has passed, so only what is inside a label is still to be checked.
    """
    labels = 0
    p = start
    while p < end:
        tag, p = read_varint(buf, p)
        wire = np.int64(tag & np.uint64(7))
        after = field_end(buf, p, wire, end)
        if after < 0:
            return -1
        if np.int64(tag >> np.uint64(3)) != 1 or wire != BYTES_FIELD:
            p = after
            continue
        _, p = read_varint(buf, p)
        name_start = name_end = value_start = value_end = p
        while p < after:
            tag, p = read_varint(buf, p)
            if p < 0 or p > after or tag < np.uint64(8):
                return -1
            field = np.int64(tag >> np.uint64(3))
            wire = np.int64(tag & np.uint64(7))
            next_p = field_end(buf, p, wire, after)
            if next_p < 0:
                return -1
            if wire == BYTES_FIELD and field == 1:
                _, name_start = read_varint(buf, p)
                name_end = next_p
            elif wire == BYTES_FIELD and field == 2:
                _, value_start = read_varint(buf, p)
                value_end = next_p
            p = next_p
        if 4 * labels + 4 <= spans.size:
            spans[4 * labels] = name_start
            spans[4 * labels + 1] = name_end
            spans[4 * labels + 2] = value_start
            spans[4 * labels + 3] = value_end
        labels += 1
        p = after
    return labels
