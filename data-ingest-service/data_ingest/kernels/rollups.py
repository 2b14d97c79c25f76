"""Sorted samples to buckets: one row for each series and stretch of `resolution` ms with samples.

    samples   s1:  1 2 3 │ 4   NaN(stale) │      bucket (end - resolution, end]
    rows           row   │ row, is_stale  │

Source: docs/formats/rollup.md; docs/adr/0021-rollups.md.
"""

from typing import Any, Final

import numpy as np

from data_ingest.chassis.jit import (
    F64_ROWS_OUT,
    F64S,
    I64_ROWS_OUT,
    I64S,
    U64S,
    inlined,
    int64,
    kernel,
)
from data_ingest.model import F64, I64, STALE_MARKER_BITS, U64

SERIES, END, COUNT, FIRST_MS, LAST_MS, RESETS, LOWEST_BIT, IS_STALE = range(8)
MIN, MAX, SUM, SUM_REST, FIRST, LAST, RESET_SUM = range(7)
NO_BIT: Final = 32_767
"""The lowest bit of values that are all zero, infinite or NaN."""
RESETS_MAX: Final = 3
"""A series that falls more often within a bucket is no counter: its RESETS are -1, RESET_SUM 0."""
HISTOGRAM_BITS: Final = 0x7FFC_0C0B
"""The upper half of a sample that is no float but a native histogram (docs/formats/batch.md)."""
_STALE = np.uint64(STALE_MARKER_BITS)
_HISTOGRAM = np.uint64(HISTOGRAM_BITS)
_MANTISSA = np.uint64((1 << 52) - 1)
_IMPLICIT = np.uint64(1 << 52)


@inlined
def _lower_bit(bits: Any, lowest: Any) -> Any:
    """The smaller of `lowest` and the exponent of the value's lowest set bit: a finite value is a
    multiple of 2**exponent.
    """
    exponent = np.int64((bits >> np.uint64(52)) & np.uint64(0x7FF))
    mantissa = bits & _MANTISSA
    if exponent == 0x7FF or (exponent == 0 and mantissa == np.uint64(0)):
        return lowest
    if exponent != 0:
        mantissa |= _IMPLICIT
    place: Any = max(exponent, np.int64(1)) - 1075
    while place < lowest and mantissa & np.uint64(1) == np.uint64(0):
        mantissa >>= np.uint64(1)
        place += 1
    return min(place, lowest)


@inlined
def _add(term: Any, total: Any, rest: Any) -> Any:
    """`total + term`, and the low-order part lost so far (Neumaier), as das sums."""
    t = total + term
    if np.isinf(t):
        return t, 0.0
    if abs(total) >= abs(term):
        return t, rest + ((total - t) + term)
    return t, rest + ((term - t) + total)


@kernel(int64(I64S, I64S, int64))
def count_buckets(starts: I64, times: I64, resolution: int) -> int:
    """How many buckets with samples the series have in all; starts, times: as for `roll_up`."""
    buckets = 0
    for series in range(starts.size - 1):
        end = times[starts[series]] - 1 if starts[series] < starts[series + 1] else 0
        for i in range(starts[series], starts[series + 1]):
            if times[i] > end:
                end = -(-times[i] // resolution) * resolution
                buckets += 1
    return buckets


@kernel(int64(I64S, U64S, F64S, int64, int64, int64, I64_ROWS_OUT, F64_ROWS_OUT))
def fill_bucket(  # noqa: PLR0917 - compiled by position
    times: I64, bits: U64, values: F64, start: int, end: int, row: int, whole: I64, real: F64
) -> int:
    """How many rows the samples [start, end) of one bucket make: 1, which is column `row` of the
    outputs from then on, or 0 where all are stale markers.
    """
    count = resets = is_stale = 0
    first_ms = last_ms = times[start]
    lowest = NO_BIT
    low = high = first = last = total = rest = reset_sum = 0.0
    for i in range(start, end):
        if bits[i] >> np.uint64(32) == _HISTOGRAM:
            whole[COUNT, row] = 0
            return 1
        is_stale = 1 if bits[i] == _STALE else 0
        if is_stale:
            continue
        value = values[i]
        if count == 0:
            first_ms = times[i]
            low = high = first = value
        elif value < last:
            resets += 1
            reset_sum += last
        if value < low or np.isnan(low):
            low = value
        if value > high or np.isnan(high):
            high = value
        count += 1
        last_ms, last = times[i], value
        total, rest = _add(value, total, rest)
        lowest = _lower_bit(bits[i], lowest)
    if resets > RESETS_MAX:
        resets = -1
        reset_sum = 0.0
    whole[COUNT, row], whole[FIRST_MS, row], whole[LAST_MS, row] = count, first_ms, last_ms
    whole[RESETS, row], whole[LOWEST_BIT, row], whole[IS_STALE, row] = resets, lowest, is_stale
    real[MIN, row], real[MAX, row], real[SUM, row], real[SUM_REST, row] = low, high, total, rest
    real[FIRST, row], real[LAST, row], real[RESET_SUM, row] = first, last, reset_sum
    return 1 if count else 0


@kernel(int64(I64S, I64S, U64S, F64S, int64, I64_ROWS_OUT, F64_ROWS_OUT))
def roll_up(  # noqa: PLR0917 - compiled by position
    starts: I64, times: I64, bits: U64, values: F64, resolution: int, whole: I64, real: F64
) -> int:
    """How many buckets have a sample that is no stale marker; they are the first columns of the
    outputs, by series, then time.

    starts: (s + 1,), where each series starts in times, bits and values, (n,); times ascend within
    a series; bits and values are two views of one array.
    whole: (8, b), SERIES (its place in `starts`), END, … out. real: (7, b), MIN, … out. b: as
    `count_buckets` says. COUNT is 0 where a sample is a histogram, and the rest unspecified.
    """
    row = 0
    for series in range(starts.size - 1):
        i = starts[series]
        while i < starts[series + 1]:
            end = -(-times[i] // resolution) * resolution
            stop = i
            while stop < starts[series + 1] and times[stop] <= end:
                stop += 1
            has_row = fill_bucket(times, bits, values, i, stop, row, whole, real)
            if has_row:
                whole[SERIES, row], whole[END, row] = series, end
                row += has_row
            i = stop
    return row
