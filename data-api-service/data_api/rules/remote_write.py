"""Samples as remote_write 1.0 requests.

    WriteRequest { repeated TimeSeries timeseries = 1; }
    TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; }
    Label        { string name = 1; string value = 2; }
    Sample       { double value = 1; int64 timestamp = 2; }

Source: Prometheus remote-write 1.0 specification, prompb/types.proto.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import cramjam

from data_api.rules.model import LabelKey, Sample

HEADERS: Final = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
REQUEST_SAMPLES: Final = 5_000


def requests(samples: Sequence[Sample]) -> Iterator[bytes]:
    """Bodies of at most REQUEST_SAMPLES samples, every bit of their values kept."""
    for start in range(0, len(samples), REQUEST_SAMPLES):
        message = b"".join(map(_series, samples[start : start + REQUEST_SAMPLES]))
        yield bytes(cramjam.snappy.compress_raw(message))


def _series(sample: Sample) -> bytes:
    key, timestamp_ms, value = sample
    time = b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(timestamp_ms)
    return _field(1, _labels(key) + _field(2, time))


@lru_cache(maxsize=16_384)  # the same series are written again at each evaluation
def _labels(key: LabelKey) -> bytes:
    return b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in key
    )


def _field(tag: int, content: bytes) -> bytes:
    return bytes((tag << 3 | 2,)) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """In groups of seven bits, least significant first; int64 negatives take ten."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
