"""The payload of `metrics.batch` as three columns; pure over bytes.

    "COB1" codec 000 n raw_bytes │ series_id planes │ timestamp planes │ value planes

Format: docs/formats/batch.md, version 1.
"""

import struct
from dataclasses import dataclass
from typing import Final

import cramjam
import numpy as np
import numpy.typing as npt

from data_api.errors import CorruptData
from data_api.model import F64, I64

U64 = npt.NDArray[np.uint64]

MAGIC: Final = b"COB1"
HEADER: Final = struct.Struct("<4sB3sII")
STORED: Final = 0
ZSTD: Final = 1


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """The samples of one batch in arrival order: equally long columns."""

    series_ids: I64
    timestamps_ms: I64
    values: F64

    def take(self, rows: npt.NDArray[np.bool_] | I64) -> "SampleColumns":
        """Those of `rows` (a mask, or ascending places)."""
        return SampleColumns(self.series_ids[rows], self.timestamps_ms[rows], self.values[rows])


def decode(payload: bytes) -> SampleColumns:
    """The three columns of a payload. Raises CorruptData for anything the format does not allow."""
    if len(payload) < HEADER.size:
        raise CorruptData(detail="a batch is shorter than its header", bytes=len(payload))
    magic, codec, _, n, raw_bytes = HEADER.unpack_from(payload)
    if magic != MAGIC:
        raise CorruptData(detail="a batch of an unknown version", magic=magic.hex())
    if n == 0 or raw_bytes != 24 * n:
        raise CorruptData(detail="a batch with a wrong size", samples=n, raw_bytes=raw_bytes)
    body = _undo_codec(codec, memoryview(payload)[HEADER.size :], raw_bytes)
    if len(body) != raw_bytes:
        raise CorruptData(detail="a batch with a cut body", bytes=len(body), raw_bytes=raw_bytes)
    planes = np.frombuffer(body, np.uint8).reshape(3, 8, n)
    columns = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<u8").reshape(3, n)
    return SampleColumns(
        _undo_delta(columns[0]), _undo_delta(columns[1]), columns[2].copy().view(np.float64)
    )


def _undo_codec(codec: int, body: memoryview, raw_bytes: int) -> bytes | memoryview:
    if codec == STORED:
        return body
    if codec != ZSTD:
        raise CorruptData(detail="a batch with an unknown codec", codec=codec)
    # The output is bounded by what the header claims, whatever the frame says of itself; one byte
    # more, so that a longer body shows itself instead of being cut.
    raw = np.empty(raw_bytes + 1, np.uint8)
    try:
        written = cramjam.zstd.decompress_into(body, raw.data)
    except cramjam.DecompressionError as exc:
        raise CorruptData(detail=f"a batch that does not decompress: {exc}") from exc
    return raw.data[:written]


def _undo_delta(zigzag: U64) -> I64:
    one = np.uint64(1)
    deltas = (zigzag >> one) ^ (np.uint64(0) - (zigzag & one))
    return np.cumsum(deltas, dtype=np.uint64).view(np.int64)
