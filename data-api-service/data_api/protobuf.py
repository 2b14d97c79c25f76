"""Protobuf messages of a few known fields, read and written by hand; pure.

Source: the wire format (protobuf.dev/programming-guides/encoding). Groups and fixed32 are refused.
"""

import struct
from collections.abc import Mapping
from typing import Final

VARINT, FIXED64, BYTES = 0, 1, 2
DOUBLE: Final = struct.Struct("<d")
VARINT_BYTES_MAX: Final = 10

Value = int | float | bytes
Fields = Mapping[int, list[Value]]


def read_varint(payload: bytes, at: int) -> tuple[int, int]:
    """An unsigned number, and the place behind it."""
    number = 0
    for shift in range(0, 7 * VARINT_BYTES_MAX, 7):
        byte = payload[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number of too many bytes")


def fields_of(payload: bytes) -> Fields:
    """Every value by its field's number, in the order of the message.

    Raises ValueError, IndexError or struct.error for what is no message.
    """
    fields: dict[int, list[Value]] = {}
    at = 0
    while at < len(payload):
        tag, at = read_varint(payload, at)
        value: Value
        if tag & 7 == VARINT:
            value, at = read_varint(payload, at)
        elif tag & 7 == FIXED64:
            (value,) = DOUBLE.unpack_from(payload, at)
            at += DOUBLE.size
        elif tag & 7 == BYTES:
            size, at = read_varint(payload, at)
            value = payload[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    if at > len(payload):
        raise ValueError("a field that is cut off")
    return fields


def last(fields: Fields, number: int) -> int | float:
    """The value of a number's field that is not repeated; 0 where it is absent."""
    value = fields.get(number, (0,))[-1]
    if isinstance(value, bytes):
        raise TypeError(f"field {number} is no number")
    return value


def messages(fields: Fields, number: int) -> list[bytes]:
    """The values of a repeated field of bytes, texts or messages. Raises TypeError for others."""
    values = [value for value in fields.get(number, ()) if isinstance(value, bytes)]
    if len(values) != len(fields.get(number, ())):
        raise TypeError(f"field {number} is a number")
    return values


def int64(number: float) -> int:
    """A varint as the signed number that it stands for."""
    number = int(number) & 0xFFFF_FFFF_FFFF_FFFF
    return number - (1 << 64) if number >> 63 else number


def varint(number: int) -> bytes:
    """The number in groups of seven bits, least significant first; negatives take ten bytes."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_field(field: int, number: int) -> bytes:
    """A field that is an integer."""
    return varint(field << 3 | VARINT) + varint(number)


def bytes_field(field: int, content: bytes) -> bytes:
    """A field that is a text, bytes or a message."""
    return varint(field << 3 | BYTES) + varint(len(content)) + content
