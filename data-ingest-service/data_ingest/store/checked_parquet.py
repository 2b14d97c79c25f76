"""Parquet objects whose bytes are counted and summed before they leave the process.

Source: docs/formats/block.md, "Checks".
"""

import contextlib
import hashlib
import io
import zlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Self
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from data_ingest.chassis.checked import BYTES_KEY, SEGMENT_BYTES, SUMS_KEY, Digest


class CheckedParquet:
    """Writes one object to `sink`, whose owner makes it durable.

    An error that leaves its `with` block discards it: what the sink has is no object then.
    """

    def __init__(  # noqa: PLR0917 - what makes one format unlike another
        self,
        sink: BinaryIO,
        tenant: UUID,
        resolution_ms: int,
        object_format: str,
        schema: pa.Schema,
        encodings: Mapping[str, str],
        statistics: Sequence[str],
    ) -> None:
        self._sink = _SummedSink(sink)
        self._parquet = pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=False,
            column_encoding=encodings,
            write_statistics=statistics,
            store_schema=False,
        )
        facts = {"format": object_format, "tenant": str(tenant), "resolution_ms": resolution_ms}
        self._parquet.add_key_value_metadata(
            {f"cloudopshub.{name}": str(fact) for name, fact in facts.items()}
        )

    def write_table(self, table: pa.Table, rows: int) -> None:
        """The table is in row groups of at most so many rows."""
        self._parquet.write_table(table, row_group_size=rows)

    def end(self) -> tuple[int, Digest]:
        """The footer is written; the object's bytes, and the digest of its tail: the footer, its
        length and the magic.
        """
        sums = self._sink.end_body()
        self._parquet.add_key_value_metadata({BYTES_KEY: str(self._sink.bytes), SUMS_KEY: sums})
        self._parquet.close()
        return self._sink.bytes, self._sink.tail.digest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: object, __: TracebackType | None
    ) -> None:
        if kind is not None:
            self._sink.is_open = False
            with contextlib.suppress(pa.ArrowException, OSError):
                self._parquet.close()


class _SummedSink(io.RawIOBase):
    """Counts and sums what is written; its owner flushes and closes the file."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._sums: list[int] = []
        self._sum = 0
        self._is_body = True
        self.is_open = True
        self.bytes = 0
        self.tail = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Passed on, counted and summed."""
        if self.is_open:
            self._sink.write(data)
        view = memoryview(data)
        if self._is_body:
            at = 0
            while at < len(view):
                piece = view[at : at + SEGMENT_BYTES - self.bytes % SEGMENT_BYTES]
                self._sum = zlib.crc32(piece, self._sum)
                at += len(piece)
                self.bytes += len(piece)
                if self.bytes % SEGMENT_BYTES == 0:
                    self._end_segment()
        else:
            self.tail.update(view)
            self.bytes += len(view)
        return len(view)

    def end_body(self) -> str:
        """The sums of all segments, 8 hexadecimal digits each; what comes now is the tail."""
        if self.bytes % SEGMENT_BYTES:
            self._end_segment()
        self._is_body = False
        return "".join(f"{one:08x}" for one in self._sums)

    def _end_segment(self) -> None:
        self._sums.append(self._sum)
        self._sum = 0

    def tell(self) -> int:
        """Bytes so far: pyarrow places its footer by it."""
        return self.bytes

    def writable(self) -> bool:
        """Always; it cannot be read, nor written but front to back."""
        return True
