"""Prometheus remote_write 1.0 from its specification: protobuf by hand, snappy block format."""

import struct

import cramjam


def varint(number: int) -> bytes:
    """Base-128, least significant group first; negative numbers as 64-bit two's complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def encode(labels: dict[str, str], samples: list[tuple[int, float]]) -> bytes:
    """The request body of one series: `samples` are (timestamp ms, value)."""
    series = b"".join(
        field(1, field(1, name.encode()) + field(2, value.encode()))
        for name, value in sorted(labels.items())
    )
    for timestamp_ms, value in samples:
        packed = b"\x09" + struct.pack("<d", value) + b"\x10" + varint(timestamp_ms)
        series += field(2, packed)
    return bytes(cramjam.snappy.compress_raw(field(1, series)))


HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
