"""The snappy block that a remote_write body is: its length is checked before memory is taken.

Source: snappy's `format_description.txt`.
"""

from typing import Final

import cramjam
import numpy as np

from data_ingest.errors import BadBody, BodyTooLarge
from data_ingest.kernels.hashing import SPARE_BYTES
from data_ingest.model import U8
from data_ingest.protocols.protobuf import read_varint

# The densest element of a snappy block: a copy of 64 bytes in 3 (2-byte offset). A block that
# claims more than this is refused before anything is allocated for it.
_RATIO_MAX: Final = 22
_SNAPPY_LENGTH_BYTES: Final = 5
_SIZE_MAX: Final = 0xFFFF_FFFF


def declared_bytes(body: bytes | bytearray | memoryview) -> int:
    """What the snappy block says it will unpack to: at most 2**32 - 1."""
    try:
        size, _ = read_varint(body[:_SNAPPY_LENGTH_BYTES], 0)
    except ValueError:
        size = _SIZE_MAX + 1
    if size > _SIZE_MAX:
        raise BadBody(detail="it is not a snappy block: no length at its start", bytes=len(body))
    return size


def decompress(body: bytes | bytearray | memoryview, decoded_bytes_max: int) -> tuple[U8, int]:
    """The message and its size; the buffer has `SPARE_BYTES` zeros after the message."""
    size = declared_bytes(body)
    if size > decoded_bytes_max:
        raise BodyTooLarge(detail="decompressed", bytes=size, limit=decoded_bytes_max)
    if size > _RATIO_MAX * len(body):
        raise BadBody(
            detail="the snappy block claims more than its bytes can hold",
            claimed=size,
            bytes=len(body),
        )
    buf = np.empty(size + SPARE_BYTES, np.uint8)
    buf[size:] = 0
    try:
        written = cramjam.snappy.decompress_raw_into(body, buf[:size].data) if size else 0
    except cramjam.DecompressionError as exc:
        raise BadBody(detail=f"it is not a snappy block: {exc}") from exc
    if written != size:
        raise BadBody(
            detail="the snappy block is shorter than it claims", claimed=size, got=written
        )
    return buf, size
