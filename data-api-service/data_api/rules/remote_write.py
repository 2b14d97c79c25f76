"""Samples as remote_write 1.0 requests.

    WriteRequest { repeated TimeSeries timeseries = 1; }
    TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; }
    Label        { string name = 1; string value = 2; }
    Sample       { double value = 1; int64 timestamp = 2; }

Source: Prometheus remote-write 1.0 specification, prompb/types.proto.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import cramjam

from data_api.protobuf import DOUBLE, bytes_field, number_field
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
    time = b"\x09" + DOUBLE.pack(value) + number_field(2, timestamp_ms)
    return bytes_field(1, _labels(key) + bytes_field(2, time))


@lru_cache(maxsize=16_384)  # the same series are written again at each evaluation
def _labels(key: LabelKey) -> bytes:
    return b"".join(
        bytes_field(1, bytes_field(1, name.encode()) + bytes_field(2, value.encode()))
        for name, value in key
    )
