"""Uploads in pieces: what is read at once is bounded, packed or not.

Rows count from 1: lines of text, rows of a table without its header. A format reads the same rows
in the same order each time, so an import goes on after the last row it has finished.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from data_ingest.chassis.objects import translating
from data_ingest.errors import BodyTooLarge
from data_ingest.kernels.hashing import hash_bytes, seed_for
from data_ingest.model import F64, I64, U64, RawLabels, SampleBatch
from data_ingest.protocols.compression import RATIO_MAX, room_for

MALFORMED_ROW: Final = "malformed_row"
PIECE_BYTES: Final = 1 << 20
LINE_BYTES_MAX: Final = 32 << 20
_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SEED: Final = seed_for(b"import")


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be read; text: the row, as far as it is known."""

    row: int
    why: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `first_row` … `first_row + rows - 1`; bytes_read: of the upload, up to their end.

    data: what the format's `decode` takes, without the rows of `faults`.
    """

    first_row: int
    rows: int
    bytes_read: int
    data: Any
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """The samples of a piece, and its rows that cannot be read."""

    batch: SampleBatch
    faults: Sequence[Fault]


def decoded(
    labels: Sequence[RawLabels],
    series_of: I64,
    timestamps_ms: I64,
    values: F64,
    faults: Sequence[Fault],
) -> Decoded:
    """Samples of the series `labels`; series_of: (n,) int64, the index of each sample's series."""
    keys = keys_of([b"\xff".join(text for pair in pairs for text in pair) for pairs in labels])
    batch = SampleBatch(
        keys, series_of, timestamps_ms, values, labels.__getitem__, **refusals(faults)
    )
    return Decoded(batch, faults)


def keys_of(series: Sequence[bytes]) -> U64:
    """The cache key of each series, (s, 2), by bytes that are equal where its labels are."""
    keys = np.empty((len(series), 2), np.uint64)
    for i, text in enumerate(series):
        keys[i] = hash_bytes(text, _SEED)
    return keys


def refusals(faults: Sequence[Fault]) -> dict[str, Any]:
    """`refused` and `first_error` of a `SampleBatch`: a row that cannot be read counts once."""
    if not faults:
        return {}
    return {
        "refused": {MALFORMED_ROW: len(faults)},
        "first_error": f"row {faults[0].row}: {faults[0].why}: {faults[0].text[:200]}",
    }


class _Stored(io.RawIOBase):
    """An object whose read errors are the store's, told apart from those of what it holds."""

    def __init__(self, source: pa.NativeFile) -> None:
        self._source = source

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`."""
        with translating():
            data: bytes = self._source.read(size)
        return data

    def tell(self) -> int:
        """Where the next read begins."""
        return int(self._source.tell())

    def readable(self) -> bool:
        """Always."""
        return True


class Upload(_Stored):
    """The bytes of an upload as they are read; gzip and zstd, by their first bytes, are undone.

    `read` raises ObjectStoreUnavailable where the store fails, BodyTooLarge for a bomb, and OSError
    for packed bytes that cannot be undone. Arrow reads from it as from a file.
    """

    def __init__(self, source: pa.NativeFile) -> None:
        super().__init__(source)
        start = super().read(4)
        source.seek(0)
        codec = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)
        self._unpacking = pa.CompressedInputStream(_Stored(source), codec) if codec else None
        self._unpacked_bytes = 0

    @property
    def bytes_read(self) -> int:
        """How far into the upload the reader is."""
        return int(self._source.tell())

    def read(self, size: int = PIECE_BYTES) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        if self._unpacking is None:
            return super().read(size)
        data: bytes = self._unpacking.read(size)
        self._unpacked_bytes += len(data)
        if self._unpacked_bytes > room_for(self.bytes_read):
            raise BodyTooLarge(
                detail=f"it unpacks to more than {RATIO_MAX} times its size",
                bytes=self.bytes_read,
                unpacked_bytes=self._unpacked_bytes,
            )
        return data

    def tell(self) -> int:
        """How many bytes were given."""
        return self._unpacked_bytes if self._unpacking else self.bytes_read


def lines(upload: Upload, piece_bytes: int = PIECE_BYTES) -> Iterator[Piece]:
    """Whole lines, about `piece_bytes` at once; a line over LINE_BYTES_MAX is a fault."""
    rest, row, is_skipping = bytearray(), 1, False
    while block := upload.read(piece_bytes):
        start = block.find(b"\n") + 1 if is_skipping else 0
        if is_skipping and not start:
            continue
        is_skipping = False
        searched = len(rest)
        rest += memoryview(block)[start:]
        if end := rest.rfind(b"\n", searched) + 1:
            rows = rest.count(b"\n", 0, end)
            yield Piece(row, rows, upload.bytes_read, bytes(rest[:end]))
            row += rows
            del rest[:end]
        if len(rest) > LINE_BYTES_MAX:
            why = f"the line is over {LINE_BYTES_MAX} bytes; export a shorter time"
            fault = Fault(row, why, rest[:100].decode(errors="replace"))
            yield Piece(row, 1, upload.bytes_read, b"", (fault,))
            row, is_skipping = row + 1, True
            rest.clear()
    if rest:
        yield Piece(row, 1, upload.bytes_read, bytes(rest))
