"""The payload of one committed batch: columns to bytes and back.

    "COB1" │ codec u8 │ 0 0 0 │ n u32 │ raw_bytes u32 │ body: ids, timestamps, values (zstd or not)
    "COB2" │ the same, and after the values: size u32 of each histogram, histograms

Source: docs/formats/batch.md.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

import cramjam
import numpy as np
import pyarrow as pa

from data_ingest import histograms
from data_ingest.errors import BadPayload
from data_ingest.histograms import NO_MESSAGES, Messages
from data_ingest.kernels import columns
from data_ingest.model import F64, I64, U8

MAGIC: Final = b"COB1"
MAGIC_2: Final = b"COB2"
STORED: Final = 0
ZSTD: Final = 1
ZSTD_LEVEL: Final = 1
SAMPLE_BYTES: Final = 24
SAMPLES_MAX: Final = 0xFFFF_FFFF // SAMPLE_BYTES
_HEADER: Final = struct.Struct("<4sB3xII")


@dataclass(frozen=True, slots=True)
class Columns:
    """Samples in arrival order: three arrays of shape (n,); the bits of each value are kept.

    histograms: what values that stand for one have the numbers of, see `histograms`.
    """

    series_ids: I64
    timestamps_ms: I64
    values: F64
    histograms: Messages = field(default_factory=lambda: NO_MESSAGES)

    def __len__(self) -> int:
        return int(self.series_ids.size)

    def take(self, chosen: I64 | slice) -> "Columns":
        """The samples at these places, in their order."""
        return Columns(
            self.series_ids[chosen],
            self.timestamps_ms[chosen],
            self.values[chosen],
            self.histograms,
        )


def pack(samples: Columns) -> bytes:
    """The payload of these samples, 1 <= n <= SAMPLES_MAX. Runs mostly without the GIL."""
    n = len(samples)
    assert 1 <= n <= SAMPLES_MAX, n
    values, messages = histograms.in_order(samples.values, samples.histograms)
    more = _section(messages) if len(messages) else b""
    raw = np.empty(SAMPLE_BYTES * n + len(more), np.uint8)
    raw[SAMPLE_BYTES * n :] = np.frombuffer(more, np.uint8)
    columns.shuffle(
        np.ascontiguousarray(samples.series_ids, np.int64),
        np.ascontiguousarray(samples.timestamps_ms, np.int64),
        np.ascontiguousarray(values, np.float64).view(np.uint64),
        raw[: SAMPLE_BYTES * n],
    )
    body = memoryview(cramjam.zstd.compress(raw.data, level=ZSTD_LEVEL))
    codec = ZSTD
    if len(body) >= raw.size:
        codec, body = STORED, memoryview(raw.data)
    magic = MAGIC_2 if more else MAGIC
    return b"".join((_HEADER.pack(magic, codec, n, raw.size), body))


def unpack(payload: bytes | memoryview) -> Columns:
    """The samples of a payload; `BadPayload` for what does not follow docs/formats/batch.md."""
    if len(payload) < _HEADER.size:
        raise BadPayload(detail="shorter than its header", bytes=len(payload))
    magic, codec, n, raw_bytes = _HEADER.unpack_from(payload)
    if magic not in {MAGIC, MAGIC_2}:
        raise BadPayload(detail="another magic", magic=magic)
    more = raw_bytes - SAMPLE_BYTES * n
    if n < 1 or more < 0 or bool(more) != (magic == MAGIC_2):
        raise BadPayload(detail="sizes do not agree", samples=n, raw_bytes=raw_bytes)
    raw = _decompress(codec, memoryview(payload)[_HEADER.size :], raw_bytes)
    series_ids, timestamps_ms, bits = (
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.uint64),
    )
    columns.unshuffle(raw[: SAMPLE_BYTES * n], series_ids, timestamps_ms, bits)
    values = bits.view(np.float64)
    messages = _messages(raw[SAMPLE_BYTES * n :], int(histograms.are_histograms(values).sum()))
    if len(messages):
        values = histograms.numbered(values)
    return Columns(series_ids, timestamps_ms, values, messages)


def histogram_bytes(payload: bytes) -> int:
    """What the histograms of a payload of ours take unpacked; 0 without any."""
    _, _, n, raw_bytes = _HEADER.unpack_from(payload)
    return int(raw_bytes - SAMPLE_BYTES * n)


def _section(messages: Messages) -> bytes:
    """The size of each message and the messages, one after another."""
    sizes = histograms.lengths(messages)
    texts = memoryview(messages.buffers()[2])[: sizes.sum()]
    return b"".join((sizes.astype("<u4").tobytes(), texts))


def _messages(section: U8, count: int) -> Messages:
    if section.size < 4 * count or bool(section.size) != bool(count):
        raise BadPayload(detail="another number of histograms", samples=count, bytes=section.size)
    ends = np.cumsum(section[: 4 * count].view("<u4"), dtype=np.int64)
    if count and ends[-1] != section.size - 4 * count:
        raise BadPayload(detail="histograms of another size", bytes=section.size)
    offsets = pa.py_buffer(np.concatenate((np.zeros(1, np.int64), ends)))
    return pa.Array.from_buffers(
        pa.large_binary(), count, [None, offsets, pa.py_buffer(section[4 * count :])]
    )


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
