"""A remote_write 1.0 request: the few protobuf bytes it needs, and snappy.

    WriteRequest { repeated TimeSeries timeseries = 1; }
    TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; }
    Label        { string name = 1; string value = 2; }
    Sample       { double value = 1; int64 timestamp = 2; }

Source: Prometheus remote-write 1.0 specification, prompb/types.proto.
"""

import struct
from collections.abc import Iterable

import cramjam

from analysis_processing.model import Labels

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def varint(number: int) -> bytes:
    """The number in groups of seven bits, least significant first; int64 negatives take ten."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return bytes((tag << 3 | 2,)) + varint(len(content)) + content


def time_series(labels: Labels, samples: Iterable[tuple[int, float]]) -> bytes:
    """One TimeSeries message; labels go out sorted by name, samples as given (ms, value)."""
    parts = [
        field(1, field(1, name.encode()) + field(2, value.encode()))
        for name, value in sorted(labels.items())
    ]
    parts += [
        field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(timestamp_ms))
        for timestamp_ms, value in samples
    ]
    return b"".join(parts)


def encode(series: Iterable[tuple[Labels, list[tuple[int, float]]]]) -> bytes:
    """The body of one request: a snappy block of the WriteRequest."""
    message = b"".join(field(1, time_series(labels, samples)) for labels, samples in series)
    return bytes(cramjam.snappy.compress_raw(message))
