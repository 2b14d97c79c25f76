"""A stored native histogram as a value; pure over bytes. Format: docs/formats/histogram.md."""

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from data_api.errors import CorruptData
from data_api.native_histogram import CUSTOM, F64, I64, KEY_OF_BUCKET_0, Hint, Histogram, Layout

VARINT, FIXED64, BYTES = 0, 1, 2
DOUBLE: Final = struct.Struct("<d")
SPAN_MAX: Final = 16_384  # buckets: more than a stored histogram's bytes can hold

Fields = dict[int, list[int | float | bytes]]


def decode(payload: bytes) -> Histogram:
    """The histogram of a stored message. Raises CorruptData for what its format does not allow."""
    try:
        return _histogram(_fields(payload))
    except (ValueError, IndexError, struct.error) as exc:
        raise CorruptData(detail=f"a stored histogram: {exc}", bytes=len(payload)) from exc


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """An unsigned number, and the place behind it."""
    number = shift = 0
    while True:
        byte = payload[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 10 bytes")


def _fields(payload: bytes) -> Fields:
    """Every value by its field's number, in the order of the message."""
    fields: Fields = {}
    at = 0
    while at < len(payload):
        tag, at = _varint(payload, at)
        value: int | float | bytes
        if tag & 7 == VARINT:
            value, at = _varint(payload, at)
        elif tag & 7 == FIXED64:
            (value,) = DOUBLE.unpack_from(payload, at)
            at += DOUBLE.size
        elif tag & 7 == BYTES:
            size, at = _varint(payload, at)
            value = payload[at : at + size]
            if len(value) != size:
                raise ValueError("a field that is cut off")
            at += size
        else:
            raise ValueError(f"wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _histogram(fields: Fields) -> Histogram:
    schema = _signed(_last(fields, 4, 0))
    bounds = tuple(_doubles(fields, 16).tolist())
    keys, counts = _side(fields, 11, 12, 13)
    if schema == CUSTOM:
        if keys.size and not KEY_OF_BUCKET_0 <= keys[0] <= keys[-1] <= KEY_OF_BUCKET_0 + len(
            bounds
        ):
            raise ValueError("a bucket without bounds")
    else:
        negative_keys, negative = _side(fields, 8, 9, 10)
        zero = float(_last(fields, 6, _last(fields, 7, 0.0)))
        keys = np.concatenate((-negative_keys[::-1], [0], keys))
        counts = np.concatenate((negative[::-1], [zero], counts))
    total = float(_last(fields, 1, _last(fields, 2, 0.0)))
    numbers = np.concatenate(([total, float(_last(fields, 3, 0.0))], counts))
    hint = Hint(int(_last(fields, 14, 0)))
    if hint is Hint.NOT_RESET:  # said of the sample before, which may not have arrived: compared
        hint = Hint.UNKNOWN
    return Histogram(Layout(schema, float(_last(fields, 5, 0.0)), bounds), keys, numbers, hint)


def _last(fields: Fields, number: int, default: float) -> int | float:
    """The value of a field that is not repeated."""
    value = fields.get(number, [default])[-1]
    if isinstance(value, bytes):
        raise ValueError(f"field {number} is no number")  # noqa: TRY004 - of the bytes, not of a caller
    return value


def _signed(number: float) -> int:
    """Undo of zigzag."""
    return (int(number) >> 1) ^ -(int(number) & 1)


def _doubles(fields: Fields, number: int) -> F64:
    """A repeated field of doubles, packed or one by one."""
    parts = (value for value in fields.get(number, ()))
    packed = b"".join(v if isinstance(v, bytes) else DOUBLE.pack(v) for v in parts)
    return np.frombuffer(packed, "<f8").astype(np.float64)


def _varints(fields: Fields, number: int) -> Iterator[int]:
    """A repeated field of numbers, packed or one by one."""
    for value in fields.get(number, ()):
        if not isinstance(value, bytes):
            yield int(value)
            continue
        at = 0
        while at < len(value):
            item, at = _varint(value, at)
            yield item


def _side(fields: Fields, spans: int, deltas: int, floats: int) -> tuple[I64, F64]:
    """Keys, ascending, and counts of the buckets on one side of zero."""
    counts = _doubles(fields, floats)
    if deltas in fields:
        counts = np.cumsum([_signed(delta) for delta in _varints(fields, deltas)]).astype(
            np.float64
        )
    indexes: list[int] = []
    following = 0
    for message in fields.get(spans, ()):
        if not isinstance(message, bytes):
            raise ValueError("a span that is no message")  # noqa: TRY004 - as in _last
        span = _fields(message)
        following += _signed(_last(span, 1, 0))
        length = int(_last(span, 2, 0))
        if length > SPAN_MAX:
            raise ValueError(f"a span of {length} buckets")
        indexes.extend(range(following, following + length))
        following += length
    if len(indexes) != counts.size or any(b <= a for a, b in pairwise(indexes)):
        raise ValueError(f"{counts.size} buckets in spans of {len(indexes)}")
    return np.array(indexes, np.int64) + KEY_OF_BUCKET_0, counts
