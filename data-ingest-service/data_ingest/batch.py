"""The payload of one committed batch: columns to bytes and back.

    "COB1" │ codec u8 │ 0 0 0 │ n u32 │ raw_bytes u32 │ body: ids, timestamps, values (zstd or not)

Source: docs/formats/batch.md, version 1.
"""

import struct
from dataclasses import dataclass
from typing import Final

import cramjam
import numpy as np

from data_ingest.errors import BadPayload
from data_ingest.kernels import columns
from data_ingest.model import F64, I64

MAGIC: Final = b"COB1"
STORED: Final = 0
ZSTD: Final = 1
ZSTD_LEVEL: Final = 1
SAMPLE_BYTES: Final = 24
SAMPLES_MAX: Final = 0xFFFF_FFFF // SAMPLE_BYTES
_HEADER: Final = struct.Struct("<4sB3xII")


@dataclass(frozen=True, slots=True)
class Columns:
    """Samples in arrival order: three arrays of shape (n,); the bits of each value are kept."""

    series_ids: I64
    timestamps_ms: I64
    values: F64

    def __len__(self) -> int:
        return int(self.series_ids.size)

    def take(self, chosen: I64 | slice) -> "Columns":
        """The samples at these places, in their order."""
        return Columns(self.series_ids[chosen], self.timestamps_ms[chosen], self.values[chosen])


def pack(samples: Columns) -> bytes:
    """The payload of these samples, 1 <= n <= SAMPLES_MAX. Runs mostly without the GIL."""
    n = len(samples)
    assert 1 <= n <= SAMPLES_MAX, n
    raw = np.empty(SAMPLE_BYTES * n, np.uint8)
    columns.shuffle(
        np.ascontiguousarray(samples.series_ids, np.int64),
        np.ascontiguousarray(samples.timestamps_ms, np.int64),
        np.ascontiguousarray(samples.values, np.float64).view(np.uint64),
        raw,
    )
    body = memoryview(cramjam.zstd.compress(raw.data, level=ZSTD_LEVEL))
    codec = ZSTD
    if len(body) >= raw.size:
        codec, body = STORED, memoryview(raw.data)
    return b"".join((_HEADER.pack(MAGIC, codec, n, raw.size), body))


def unpack(payload: bytes | memoryview) -> Columns:
    """The samples of a payload; `BadPayload` for what does not follow docs/formats/batch.md."""
    if len(payload) < _HEADER.size:
        raise BadPayload(detail="shorter than its header", bytes=len(payload))
    magic, codec, n, raw_bytes = _HEADER.unpack_from(payload)
    if magic != MAGIC:
        raise BadPayload(detail="another magic", magic=magic)
    if n < 1 or raw_bytes != SAMPLE_BYTES * n:
        raise BadPayload(detail="sizes do not agree", samples=n, raw_bytes=raw_bytes)
    raw = _decompress(codec, memoryview(payload)[_HEADER.size :], raw_bytes)
    series_ids, timestamps_ms, bits = (
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.uint64),
    )
    columns.unshuffle(raw, series_ids, timestamps_ms, bits)
    return Columns(series_ids, timestamps_ms, bits.view(np.float64))


def _decompress(
    codec: int, body: memoryview, raw_bytes: int
) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    if codec == STORED:
        if len(body) != raw_bytes:
            raise BadPayload(detail="body of another size", expected=raw_bytes, got=len(body))
        return np.frombuffer(body, np.uint8)
    if codec != ZSTD:
        raise BadPayload(detail="unknown codec", codec=codec)
    # One byte more than promised, so that a longer body shows itself instead of being cut.
    raw = np.empty(raw_bytes + 1, np.uint8)
    try:
        written = cramjam.zstd.decompress_into(body, raw.data)
    except cramjam.DecompressionError as exc:
        raise BadPayload(detail=str(exc)) from exc
    if written != raw_bytes:
        raise BadPayload(detail="body of another size", expected=raw_bytes, got=written)
    return raw[:raw_bytes]
