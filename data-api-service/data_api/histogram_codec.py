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

VARINT, FIXED64, BYTES = 0, 1, 2
DOUBLE: Final = struct.Struct("<d")
VARINT_BYTES_MAX: Final = 10
BUCKETS_MAX: Final = 16_384  # more than a stored histogram's bytes can hold
LAYOUTS_KEPT: Final = 1024

Value = int | float | bytes
Fields = dict[int, list[Value]]


def decode(payload: bytes) -> Histogram:
    """The histogram of a stored message. Raises CorruptData for what its format does not allow."""
    try:
        return _histogram(_fields(payload))
    except (ValueError, IndexError, TypeError, OverflowError, struct.error) as exc:
        raise CorruptData(detail=f"a stored histogram: {exc}", bytes=len(payload)) from exc


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """An unsigned number, and the place behind it."""
    number = 0
    for shift in range(0, 7 * VARINT_BYTES_MAX, 7):
        byte = payload[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number of too many bytes")


def _fields(payload: bytes) -> Fields:
    """Every value by its field's number, in the order of the message."""
    fields: Fields = {}
    at = 0
    while at < len(payload):
        tag, at = _varint(payload, at)
        value: Value
        if tag & 7 == VARINT:
            value, at = _varint(payload, at)
        elif tag & 7 == FIXED64:
            (value,) = DOUBLE.unpack_from(payload, at)
            at += DOUBLE.size
        elif tag & 7 == BYTES:
            size, at = _varint(payload, at)
            value = payload[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    if at > len(payload):
        raise ValueError("a field that is cut off")
    return fields


def _histogram(fields: Fields) -> Histogram:
    schema = _signed(_last(fields, 4))
    layout = _layout(schema, float(_last(fields, 5)), _joined(fields, 16))
    counts = _counts(fields, 12, 13)
    if layout.is_custom:
        keys = _keys(None, _joined(fields, 11), len(layout.bounds))
    else:
        keys = _keys(_joined(fields, 8), _joined(fields, 11))
        zero = float(_last(fields, 6) or _last(fields, 7))
        counts = np.concatenate((_counts(fields, 9, 10)[::-1], [zero], counts))
    if keys.size != counts.size:
        raise ValueError(f"{counts.size} buckets in spans of {keys.size}")
    total = float(_last(fields, 1) or _last(fields, 2))
    hint = Hint(int(_last(fields, 14)))
    if hint is Hint.NOT_RESET:  # said of the sample before, which may not have arrived: compared
        hint = Hint.UNKNOWN
    numbers = np.concatenate(([total, float(_last(fields, 3))], counts))
    return Histogram(layout, keys, numbers, hint)


def _last(fields: Fields, number: int) -> int | float:
    """The value of a field that is not repeated; 0 where it is absent."""
    value = fields.get(number, (0,))[-1]
    if isinstance(value, bytes):
        raise TypeError(f"field {number} is no number")
    return value


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
        span = _fields(message)
        offset, length = _signed(_last(span, 1)), int(_last(span, 2))
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
