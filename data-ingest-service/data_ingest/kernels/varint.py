"""Protobuf's numbers and how to step over what is not wanted.

Every reader takes a buffer with at least `hashing.SPARE_BYTES` readable bytes after its logical
end, so one number may be read whole before its end is checked. A position of -1 says that bytes are
malformed.
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
def field_end(buf: Any, p: Any, wire: Any, end: Any) -> Any:
    """Position after a field's value that starts at `p`; -1 when it leaves `end` or its wire type
    is unknown.
    """
    if wire == VARINT:
        _, after = read_varint(buf, p)
    elif wire == FIXED64:
        after = p + 8
    elif wire == FIXED32:
        after = p + 4
    elif wire == BYTES_FIELD:
        size, start = read_varint(buf, p)
        if start < 0 or start > end or size > np.uint64(end - start):
            return -1
        after = start + np.int64(size)
    else:
        return -1
    if after > end:
        return -1
    return after
