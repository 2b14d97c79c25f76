"""The payload of `metrics.batch` as three columns; pure over bytes.

    "COB1" codec 000 n raw_bytes │ series_id planes │ timestamp planes │ value planes
    "COB2"                                                                       │ histograms

Format: docs/formats/batch.md, versions 1 and 2.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

import cramjam
import numpy as np
import numpy.typing as npt

from data_api.errors import CorruptData
from data_api.model import F64, I64, is_histogram
from data_api.store import beside
from data_api.store.beside import Histograms

U64 = npt.NDArray[np.uint64]

MAGIC: Final = b"COB1"
MAGIC_WITH_HISTOGRAMS: Final = b"COB2"
SAMPLE_BYTES: Final = 24
HEADER: Final = struct.Struct("<4sB3sII")
STORED: Final = 0
ZSTD: Final = 1


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """The samples of one batch in arrival order: equally long columns."""

    series_ids: I64
    timestamps_ms: I64
    values: F64
    histograms: Histograms = field(default_factory=beside.none)

    def take(self, rows: npt.NDArray[np.bool_] | I64) -> "SampleColumns":
        """Those of `rows` (a mask, or ascending places)."""
        values, histograms = beside.pick(self.values[rows], self.histograms)
        return SampleColumns(self.series_ids[rows], self.timestamps_ms[rows], values, histograms)


def decode(payload: bytes) -> SampleColumns:
    """The columns of a payload. Raises CorruptData for anything the format does not allow."""
    if len(payload) < HEADER.size:
        raise CorruptData(detail="a batch is shorter than its header", bytes=len(payload))
    magic, codec, _, n, raw_bytes = HEADER.unpack_from(payload)
    if magic not in {MAGIC, MAGIC_WITH_HISTOGRAMS}:
        raise CorruptData(detail="a batch of an unknown version", magic=magic.hex())
    beyond = raw_bytes - SAMPLE_BYTES * n
    if n == 0 or beyond < 0 or (beyond == 0) != (magic == MAGIC):
        raise CorruptData(detail="a batch with a wrong size", samples=n, raw_bytes=raw_bytes)
    body = _undo_codec(codec, memoryview(payload)[HEADER.size :], raw_bytes)
    if len(body) != raw_bytes:
        raise CorruptData(detail="a batch with a cut body", bytes=len(body), raw_bytes=raw_bytes)
    planes = np.frombuffer(body, np.uint8, SAMPLE_BYTES * n).reshape(3, 8, n)
    columns = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<u8").reshape(3, n)
    values = columns[2].copy().view(np.float64)
    histograms = _histograms(body, values) if beyond else beside.NONE
    if not beyond and is_histogram(values).any():
        raise CorruptData(detail="a batch that names histograms and has none")
    return SampleColumns(_undo_delta(columns[0]), _undo_delta(columns[1]), values, histograms)


def _histograms(body: bytes | memoryview, values: F64) -> Histograms:
    """What follows the columns of version 2; `values` carry their places afterwards."""
    rest = memoryview(body)[SAMPLE_BYTES * values.size :]
    count = beside.number(values)
    sizes = np.frombuffer(rest, "<u4", count) if 0 < 4 * count <= len(rest) else None
    if sizes is None or 4 * count + int(sizes.sum()) != len(rest):
        raise CorruptData(detail="a batch with wrong lengths of histograms", histograms=count)
    ends = 4 * count + np.cumsum(sizes, dtype=np.int64)
    starts = ends - sizes
    return beside.of(
        [bytes(rest[a:b]) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
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
