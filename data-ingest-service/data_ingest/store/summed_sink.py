"""What a block is written through: its bytes are counted and summed (docs/formats/block.md)."""

import hashlib
import zlib
from typing import Any, BinaryIO

from data_ingest.chassis.checked import SEGMENT_BYTES


class SummedSink:
    """A sink that counts and sums the bytes written; its owner closes the file."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._sums: list[int] = []
        self._sum = 0
        self._is_body = True
        self.is_open = True
        self.bytes = 0
        self.tail = hashlib.sha256()
        self.closed = False

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

    def flush(self) -> None:
        """The owner flushes when it makes the object durable."""

    def tell(self) -> int:
        """Bytes so far: pyarrow places its footer by it."""
        return self.bytes

    def writable(self) -> bool:
        """Always, until its owner closes it."""
        return True

    def readable(self) -> bool:
        """Never."""
        return False

    def seekable(self) -> bool:
        """Never: a block is written front to back."""
        return False
