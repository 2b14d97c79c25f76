"""Protobuf's numbers and fields.

Every reader takes a buffer with at least `hashing.SPARE_BYTES` readable bytes after its logical
end, so one number may be read whole before its end is checked. A position of -1 says that the bytes
are malformed.
Source: protobuf encoding guide, https://protobuf.dev/programming-guides/encoding/.
"""

from typing import Any

import numpy as np

from data_ingest.chassis.jit import inlined

VARINT, FIXED64, BYTES_FIELD, FIXED32 = 0, 1, 2, 5


@inlined
def read_varint(buf: Any, p: Any) -> Any:
    """(value as uint64, position after it); position -1 when it is longer than 10 bytes."""
    byte = np.uint64(buf[p])
    if byte < np.uint64(128):
        return byte, p + 1
    value = byte & np.uint64(127)
    for i in range(1, 10):
        byte = np.uint64(buf[p + i])
        value |= (byte & np.uint64(127)) << np.uint64(7 * i)
        if byte < np.uint64(128):
            return value, p + i + 1
    return value, -1


@inlined
def next_field(buf: Any, p: Any, end: Any) -> Any:
    """The field at `p` of a message that ends at `end`: (tag, value start, value end).

    tag: field number << 3 | wire type, uint64. A value of BYTES_FIELD starts after its length.
    The end is -1 when the tag is malformed, the wire type is unknown, or the value leaves the
    message.
    """
    tag, start = read_varint(buf, p)
    if start < 0 or start > end or tag < np.uint64(8):  # field number 0 does not exist
        return tag, start, -1
    wire = np.int64(tag & np.uint64(7))
    if wire == BYTES_FIELD:
        size, start = read_varint(buf, start)
        if start < 0 or start > end or size > np.uint64(end - start):
            return tag, start, -1
        return tag, start, start + np.int64(size)
    if wire == VARINT:
        _, after = read_varint(buf, start)
    elif wire == FIXED64:
        after = start + 8
    elif wire == FIXED32:
        after = start + 4
    else:
        return tag, start, -1
    if after > end:
        return tag, start, -1
    return tag, start, after
