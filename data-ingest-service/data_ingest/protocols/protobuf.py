"""Protobuf in Python, for what is read or written once in a while; requests go through kernels.

Source: protobuf encoding guide, https://protobuf.dev/programming-guides/encoding/.
"""

from typing import Final

VARINT, FIXED64, BYTES = 0, 1, 2
_VARINT_BYTES: Final = 10
_ONE_BYTE: Final = [bytes([value]) for value in range(128)]
_U64: Final = 0xFFFF_FFFF_FFFF_FFFF


def write_varint(value: int) -> bytes:
    """A number; negative ones as 64-bit two's complement."""
    if 0 <= value < 128:
        return _ONE_BYTE[value]
    value &= _U64
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, body: bytes) -> bytes:
    """A field of text, bytes or a message."""
    return write_varint(number << 3 | BYTES) + write_varint(len(body)) + body


def read_varint(message: bytes | bytearray | memoryview, at: int) -> tuple[int, int]:
    """(number, position after it); ValueError when it ends early or is longer than 10 bytes."""
    value = 0
    for i, byte in enumerate(message[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value & _U64, at + i + 1
    raise ValueError("malformed protobuf")
