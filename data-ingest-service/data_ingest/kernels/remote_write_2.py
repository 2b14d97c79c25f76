"""Walks a decompressed remote_write 2.0 request (`io.prometheus.write.v2.Request`).

    Request   4 symbol        strings, each once; number 0 is empty
              5 timeseries ─┬─ 1 label references   packed pairs of name and value
                            ├─ 2 sample      1 value double · 2 timestamp int64 ms · 3 start
                            ├─ 3 histogram   where it stands
                            ├─ 4 exemplar    where it stands
                            └─ 5 metadata    1 type · 3 help reference · 4 unit reference

`outline` counts, `read_symbols` hashes each symbol once, `walk` combines the hashes of a series'
symbols to its key. Fields 1 and 3 are what a 1.0 request consists of.
Source: Prometheus `prompb/io/prometheus/write/v2/types.proto`.
"""

from typing import Any

import numpy as np

from data_ingest.chassis.jit import (
    BYTES,
    I64_ROWS_OUT,
    I64S_OUT,
    U64_ROWS,
    U64_ROWS_OUT,
    U64S,
    inlined,
    int64,
    walker,
)
from data_ingest.kernels import remote_write as first
from data_ingest.kernels.hashing import fold, hash_step
from data_ingest.kernels.instructions import load_u64, multiply_high, multiply_low
from data_ingest.kernels.varint import BYTES_FIELD, VARINT, next_field, read_varint
from data_ingest.model import I64, U8, U64

SYMBOL_TAG = np.uint8(4 << 3 | BYTES_FIELD)
SERIES_TAG = np.uint8(5 << 3 | BYTES_FIELD)
REFERENCES_TAG = np.uint8(1 << 3 | BYTES_FIELD)
HISTOGRAM_TAG = np.uint8(3 << 3 | BYTES_FIELD)
EXEMPLAR_TAG = np.uint8(4 << 3 | BYTES_FIELD)
METADATA_TAG = np.uint8(5 << 3 | BYTES_FIELD)
TYPE_TAG = np.uint8(1 << 3 | VARINT)
HELP_TAG = np.uint8(3 << 3 | VARINT)
UNIT_TAG = np.uint8(4 << 3 | VARINT)
STEP0 = np.uint64(0x9E37_79B9_7F4A_7C15)
STEP1 = np.uint64(0xC2B2_AE3D_27D4_EB4F)
"""Odd, so that the places' keys do not repeat."""
ONE_BYTE = np.uint64(128)
NAME_BITS = np.uint64(int.from_bytes(b"__name__", "little"))


@walker(int64(BYTES, int64, I64S_OUT))
def outline(buf: U8, end: int, counts: I64) -> int:
    """The status; `counts` says how many symbols and series there are, or the OFFSET of trouble."""
    p = 0
    while p < end:
        tag, _, after = next_field(buf, p, end)
        if after < 0:
            counts[first.OFFSET] = p
            return first.MALFORMED
        if tag == SYMBOL_TAG:
            counts[first.SYMBOLS] += 1
        elif tag == SERIES_TAG:
            counts[first.SERIES] += 1
        elif tag >> np.uint64(3) == np.uint64(1) or tag >> np.uint64(3) == np.uint64(3):
            counts[first.OFFSET] = p
            return first.OTHER_VERSION
        p = after
    return first.OK


@walker(int64(BYTES, int64, U64S, I64S_OUT, U64_ROWS_OUT, I64S_OUT))
def read_symbols(  # noqa: PLR0917 - compiled by position
    buf: U8, end: int, seed: U64, spans: I64, hashes: U64, counts: I64
) -> int:
    """OK; spans: (2 y,), start and end of each symbol; hashes: (y, 2); counts[NAME] is set."""
    symbols = 0
    p = 0
    counts[first.NAME] = -1
    while p < end:
        tag, start, after = next_field(buf, p, end)
        if tag == SYMBOL_TAG:
            lane0, lane1 = hash_step(buf, start, after, seed[0], seed[1], seed[2], seed[3])
            hashes[symbols, 0] = lane0
            hashes[symbols, 1] = lane1
            spans[2 * symbols] = start
            spans[2 * symbols + 1] = after
            if after - start == 8 and load_u64(buf, start) == NAME_BITS:
                counts[first.NAME] = symbols
            symbols += 1
        p = after
    return first.OK


@inlined
def key_of(buf: Any, start: Any, end: Any, seed: Any, hashes: Any) -> Any:
    """Both lanes of the key of packed references in [start, end).

    A sum of products over the symbols' hashes, each with a key of its place, so that the processor
    overlaps them. Source: NH of UMAC, RFC 4418.

    References that do not come in pairs or point nowhere are hashed as they are: such a series has
    a key of its own, is not known, and is refused when its labels are read.
    """
    lane0, lane1, key0, key1 = seed[1], seed[0], seed[2], seed[3]
    symbols = np.uint64(hashes.shape[0])
    p = start
    references = np.uint64(0)
    while p < end:
        ref = np.uint64(buf[p])
        if ref < ONE_BYTE:
            p += 1
        else:
            ref, p = read_varint(buf, p)
            if p < 0 or p > end:
                references = np.uint64(1)
                break
        if ref >= symbols:
            references = np.uint64(1)
            break
        a = hashes[ref, 0] ^ key0
        b = hashes[ref, 1] ^ key1
        lane0 += multiply_high(a, b)
        lane1 += multiply_low(a, b)
        key0 += STEP0
        key1 += STEP1
        references += np.uint64(1)
    if references & np.uint64(1):
        return hash_step(buf, start, end, seed[1], seed[0], seed[3], seed[2])
    return fold(lane0 ^ key0, lane1 ^ seed[3]), fold(lane1 ^ key1, lane0 ^ seed[2])


@inlined
def metric_name_of(buf: Any, start: Any, end: Any, name: Any, symbols: Any) -> Any:
    """The number of the symbol that `__name__`, number `name`, has as its value; -1 if none."""
    p = start
    while p >= 0 and p < end:
        label, p = read_varint(buf, p)
        if p < 0 or p >= end:
            return np.int64(-1)
        value, p = read_varint(buf, p)
        if np.int64(label) == name and p >= 0 and p <= end and value < np.uint64(symbols):
            return np.int64(value)
    return np.int64(-1)


@walker(
    int64(
        BYTES,
        int64,
        U64S,
        U64_ROWS,
        U64_ROWS_OUT,
        I64S_OUT,
        I64_ROWS_OUT,
        I64_ROWS_OUT,
        I64S_OUT,
        I64S_OUT,
        I64S_OUT,
    )
)
def walk(  # noqa: PLR0917 - compiled by position
    buf: U8,
    end: int,
    seed: U64,
    hashes: U64,
    keys: U64,
    series_spans: I64,
    samples: I64,
    others: I64,
    is_described: I64,
    descriptions: I64,
    counts: I64,
) -> int:
    """The status; as `remote_write.walk`, for a message that `outline` passed.

    hashes: (y, 2), as `read_symbols` wrote them. is_described: (y,), zero; of metric names whose
    metadata was seen 1. descriptions: (4 y,), numbers of name, help and unit, and the type.
    On FULL an output is too small and no output may be used.
    """
    counts[first.SERIES] = counts[first.SAMPLES] = counts[first.OTHERS] = counts[first.METADATA] = 0
    out = first.Values(samples, others, counts)
    p = 0
    while p < end:
        tag, start, after = next_field(buf, p, end)
        if tag != SERIES_TAG:
            p = after
            continue

        # One TimeSeries in [start, after).
        p = start
        values = counts[first.SAMPLES] + counts[first.OTHERS]
        refs_start = start
        refs_end = start
        metadata_start = 0
        metadata_end = 0
        while p < after:
            next_p = first.usual_sample(buf, p, after, out)
            if next_p >= 0:
                p = next_p
                continue
            tag, value_start, next_p = next_field(buf, p, after)
            if next_p < 0:
                counts[first.OFFSET] = p
                return first.MALFORMED
            if tag >> np.uint64(3) == np.uint64(1):
                if tag != REFERENCES_TAG or refs_end > refs_start:
                    # In pieces, which no sender does: refused, rather than a part of it taken.
                    counts[first.OFFSET] = p
                    return first.MALFORMED
                refs_start = value_start
                refs_end = next_p
            elif tag == METADATA_TAG:
                metadata_start = value_start
                metadata_end = next_p
            else:
                field = tag, value_start, next_p
                status: int = first.add_value(buf, field, EXEMPLAR_TAG, HISTOGRAM_TAG, out)
                if status != first.OK:
                    return status
            p = next_p
        if counts[first.SAMPLES] + counts[first.OTHERS] > values:
            series = counts[first.SERIES]
            lane0, lane1 = key_of(buf, refs_start, refs_end, seed, hashes)
            keys[series, 0] = lane0
            keys[series, 1] = lane1
            series_spans[2 * series] = refs_start
            series_spans[2 * series + 1] = refs_end
            counts[first.SERIES] = series + 1
            name = np.int64(-1)
            if metadata_end > metadata_start:
                name = metric_name_of(
                    buf, refs_start, refs_end, counts[first.NAME], hashes.shape[0]
                )
            if name >= 0 and not is_described[name]:
                is_described[name] = 1
                kind = np.uint64(0)
                help_ref = np.uint64(0)
                unit_ref = np.uint64(0)
                p = metadata_start
                while p < metadata_end:
                    tag, value_start, value_end = next_field(buf, p, metadata_end)
                    if value_end < 0:
                        counts[first.OFFSET] = p
                        return first.MALFORMED
                    number, _ = read_varint(buf, value_start)
                    if tag == TYPE_TAG:
                        kind = number
                    elif tag == HELP_TAG:
                        help_ref = number
                    elif tag == UNIT_TAG:
                        unit_ref = number
                    p = value_end
                symbols = np.uint64(hashes.shape[0])
                if help_ref < symbols and unit_ref < symbols:
                    described = counts[first.METADATA]
                    descriptions[4 * described] = name
                    descriptions[4 * described + 1] = np.int64(help_ref)
                    descriptions[4 * described + 2] = np.int64(unit_ref)
                    descriptions[4 * described + 3] = np.int64(min(kind, np.uint64(255)))
                    counts[first.METADATA] = described + 1
        p = after
    return first.OK


@walker(int64(BYTES, int64, int64, I64S_OUT))
def read_references(buf: U8, start: int, end: int, references: I64) -> int:
    """How many references [start, end) has, the first in `references`; -1 when malformed."""
    read = 0
    p = start
    while p < end:
        ref, p = read_varint(buf, p)
        if p < 0 or p > end:
            return -1
        if read < references.size:
            references[read] = np.int64(ref)
        read += 1
    return read
