"""A stored native histogram as a value; pure over bytes. Format: docs/formats/histogram.md.

A scrape changes counts and seldom buckets: keys and layouts are kept by their bytes, so histograms
of a series share them, and comparing two begins with `is`.
"""

import struct
from functools import lru_cache
from typing import Final, cast

import numpy as np

from data_api.errors import CorruptData
from data_api.native_histogram import F64, I64, KEY_OF_BUCKET_0, Hint, Histogram, Layout
from data_api.protobuf import DOUBLE, Fields, fields_of, last

BUCKETS_MAX: Final = 16_384  # more than a stored histogram's bytes can hold
LAYOUTS_KEPT: Final = 1024


def decode(payload: bytes) -> Histogram:
    """The histogram of a stored message. Raises CorruptData for what its format does not allow."""
    try:
        return _histogram(fields_of(payload))
    except (ValueError, IndexError, TypeError, OverflowError, struct.error) as exc:
        raise CorruptData(detail=f"a stored histogram: {exc}", bytes=len(payload)) from exc


def _histogram(fields: Fields) -> Histogram:
    schema = _signed(last(fields, 4))
    layout = _layout(schema, float(last(fields, 5)), _joined(fields, 16))
    counts = _counts(fields, 12, 13)
    if layout.is_custom:
        keys = _keys(None, _joined(fields, 11), len(layout.bounds))
    else:
        keys = _keys(_joined(fields, 8), _joined(fields, 11))
        zero = float(last(fields, 6) or last(fields, 7))
        counts = np.concatenate((_counts(fields, 9, 10)[::-1], [zero], counts))
    if keys.size != counts.size:
        raise ValueError(f"{counts.size} buckets in spans of {keys.size}")
    total = float(last(fields, 1) or last(fields, 2))
    hint = Hint(int(last(fields, 14)))
    if hint is Hint.NOT_RESET:  # said of the sample before, which may not have arrived: compared
        hint = Hint.UNKNOWN
    numbers = np.concatenate(([total, float(last(fields, 3))], counts))
    return Histogram(layout, keys, numbers, hint)


def _joined(fields: Fields, number: int) -> tuple[bytes, ...]:
    """The bytes of a repeated field, in order; doubles may stand one by one."""
    values = fields.get(number, ())
    return tuple(value if isinstance(value, bytes) else DOUBLE.pack(value) for value in values)


def _signed(number: float) -> int:
    """Undo of zigzag."""
    return (int(number) >> 1) ^ -(int(number) & 1)


@lru_cache(LAYOUTS_KEPT)
def _layout(schema: int, zero_threshold: float, bounds: tuple[bytes, ...]) -> Layout:
    return Layout(schema, zero_threshold, tuple(np.frombuffer(b"".join(bounds), "<f8").tolist()))


@lru_cache(LAYOUTS_KEPT)
def _keys(
    negative: tuple[bytes, ...] | None, positive: tuple[bytes, ...], bounds: int | None = None
) -> I64:
    """The keys of the buckets in these spans; without a negative side those of custom bounds."""
    keys = _side(positive)
    if negative is not None:
        return np.concatenate((-_side(negative)[::-1], [0], keys))
    last = KEY_OF_BUCKET_0 + (bounds or 0)
    if keys.size and not KEY_OF_BUCKET_0 <= keys[0] <= keys[-1] <= last:
        raise ValueError("a bucket without bounds")
    return keys


def _side(spans: tuple[bytes, ...]) -> I64:
    """Ascending keys of the buckets on one side of zero."""
    indexes: list[int] = []
    following = 0
    for message in spans:
        span = fields_of(message)
        offset, length = _signed(last(span, 1)), int(last(span, 2))
        if (indexes and offset < 0) or len(indexes) + length > BUCKETS_MAX:
            raise ValueError(f"a span of {length} buckets at {offset}")
        following += offset
        indexes.extend(range(following, following + length))
        following += length
    return np.array(indexes, np.int64) + KEY_OF_BUCKET_0


def _counts(fields: Fields, deltas: int, floats: int) -> F64:
    """Counts of one side's buckets: each as it is, or as the difference to the one before."""
    if deltas not in fields:
        return np.frombuffer(b"".join(_joined(fields, floats)), "<f8")
    counts: list[int] = []
    count = number = shift = 0
    for value in fields[deltas]:
        if isinstance(value, int):  # not packed
            count += _signed(value)
            counts.append(count)
            continue
        for byte in cast("bytes", value):  # for tens of buckets faster than numpy
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                count += (number >> 1) ^ -(number & 1)
                counts.append(count)
                number = shift = 0
    if shift:
        raise ValueError("a number that is cut off")
    return np.array(counts, np.float64)
