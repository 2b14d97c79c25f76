"""Parquet objects whose every byte is checked when it is read.

    object = body (segments of 64 KiB, the last one shorter) + tail (footer, its length, PAR1)
    catalogue ── SHA-256 of the tail ──▶ tail ── CRC-32 of each segment ──▶ body

Parquet's own page checksums leave out page headers and the footer. An object written before there
were sums has none, and is read unchecked. Source: docs/formats/block.md.
"""

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .kinds import Kind, ServiceError

Digest: TypeAlias = bytes
"""A SHA-256: 32 bytes."""
SEGMENT_BYTES: Final = 64 * 1024
BYTES_KEY: Final = "cloudopshub.body_bytes"
SUMS_KEY: Final = "cloudopshub.crc32"
LENGTH_AND_MAGIC_BYTES: Final = 8
MAGIC: Final = b"PAR1"
COLUMN_BYTES: Final = 940  # of one column of one row group, as Arrow holds it


class CorruptObject(ServiceError):
    """Stored bytes are not those that were written"""

    kind: ClassVar[Kind] = Kind.INTERNAL


@dataclass(frozen=True, slots=True)
class Tail:
    """What the end of an object says; sums: CRC-32 of each segment, None where it has none."""

    metadata: Any  # pyarrow.parquet.FileMetaData
    body_bytes: int
    sums: NDArray[np.uint32] | None

    @property
    def nbytes(self) -> int:
        """Memory of it, roughly; the same bytes take a tenth of that in the object."""
        columns: int = self.metadata.num_row_groups * self.metadata.num_columns
        return columns * COLUMN_BYTES


def read_tail(source: BinaryIO | pa.NativeFile, tail_sha256: Digest | None) -> Tail:
    """The metadata of an object, checked against `tail_sha256`, None for an object without sums.

    Raises CorruptObject, and OSError where bytes cannot be read.
    """
    size = source.seek(0, 2)
    end = _read_at(source, max(0, size - LENGTH_AND_MAGIC_BYTES), LENGTH_AND_MAGIC_BYTES)
    tail_bytes = int.from_bytes(end[:4], "little") + LENGTH_AND_MAGIC_BYTES
    if end[4:] != MAGIC or tail_bytes + len(MAGIC) > size:
        raise CorruptObject(detail="it does not end as Parquet does", bytes=size)
    body_bytes = size - tail_bytes
    tail = _read_at(source, body_bytes, tail_bytes)
    if tail_sha256 is not None and hashlib.sha256(tail).digest() != tail_sha256:
        raise CorruptObject(detail="the footer differs from its digest", offset=body_bytes)
    try:
        metadata = pq.read_metadata(pa.BufferReader(tail))
    except (pa.ArrowException, OSError) as exc:
        raise CorruptObject(detail=f"the footer: {exc}", offset=body_bytes) from exc
    keys = metadata.metadata or {}
    if tail_sha256 is None and SUMS_KEY.encode() not in keys:
        return Tail(metadata, body_bytes, None)
    try:
        written_bytes = int(keys[BYTES_KEY.encode()])
        sums = np.frombuffer(bytes.fromhex(keys[SUMS_KEY.encode()].decode()), ">u4")
    except (KeyError, ValueError) as exc:
        raise CorruptObject(detail="the footer has no sums", offset=body_bytes) from exc
    if written_bytes != body_bytes or sums.size != -(-body_bytes // SEGMENT_BYTES):
        raise CorruptObject(detail="bytes are missing or added", body_bytes=body_bytes)
    return Tail(metadata, body_bytes, sums.astype(np.uint32))


def parquet_file(source: BinaryIO | pa.NativeFile, tail: Tail, *, pre_buffer: bool) -> Any:
    """A `ParquetFile` whose reads raise CorruptObject for a segment that differs from its sum."""
    body = source if tail.sums is None else CheckedBody(source, tail.body_bytes, tail.sums)
    return pq.ParquetFile(body, metadata=tail.metadata, pre_buffer=pre_buffer)


class CheckedBody:
    """The body as a file, as far as Arrow uses one; each read takes in and checks whole segments.

    Its owner closes the source.
    """

    closed = False

    def __init__(
        self, source: BinaryIO | pa.NativeFile, body_bytes: int, sums: NDArray[np.uint32]
    ) -> None:
        self._source = source
        self._body_bytes = body_bytes
        self._sums: list[int] = sums.tolist()
        self._at = 0

    def read(self, size: int = -1) -> memoryview:
        """The next `size` bytes, or those that are left."""
        start = min(self._at, self._body_bytes)
        end = self._body_bytes if size < 0 else min(start + size, self._body_bytes)
        first, past = start // SEGMENT_BYTES, -(-end // SEGMENT_BYTES)
        low = first * SEGMENT_BYTES
        data = memoryview(
            _read_at(self._source, low, min(past * SEGMENT_BYTES, self._body_bytes) - low)
        )
        for segment in range(first, past):
            at = segment * SEGMENT_BYTES - low
            if zlib.crc32(data[at : at + SEGMENT_BYTES]) != self._sums[segment]:
                raise CorruptObject(
                    detail=f"bytes from {low + at} on differ from their sum", segment=segment
                )
        self._at = end
        return data[start - low : end - low]

    def seek(self, offset: int, whence: int = 0) -> int:
        """The next read begins there."""
        self._at = offset + (0, self._at, self._body_bytes)[whence]
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Nothing: the owner of the source closes it."""


def _read_at(source: BinaryIO | pa.NativeFile, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` on; fewer where the object ends before."""
    source.seek(offset)
    data: bytes = source.read(size)
    return data
