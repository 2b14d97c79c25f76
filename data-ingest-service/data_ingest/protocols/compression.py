"""Bodies that come compressed: unpacked within a bound, or refused.

The output goes into room of a fixed size, so a bomb takes no more memory than was kept free for it,
and pages that nothing is written to take none.
"""

from collections.abc import Callable
from typing import Any, Final

import cramjam
import numpy as np

from data_ingest.errors import BadBody, BodyTooLarge, UnsupportedBody
from data_ingest.protocols.protocol import WriteRequest

_DECOMPRESS: Final[dict[str, Callable[..., Any]]] = {
    "gzip": cramjam.gzip.decompress_into,
    "x-gzip": cramjam.gzip.decompress_into,
    "zstd": cramjam.zstd.decompress_into,
    "deflate": cramjam.zlib.decompress_into,  # RFC 9110, section 8.4.1.2: the zlib format
}
RATIO_MAX: Final = 100
"""What is unpacked is at most so many times larger, or SMALL_MAX; real requests are 5 to 20."""
SMALL_MAX: Final = 1 << 20
ENCODINGS: Final = frozenset({"", "identity", *_DECOMPRESS})
_ROOM_IS_USED_UP: Final = "failed to write whole buffer"


def check(request: WriteRequest) -> None:
    """Passes for encodings that can be undone, else `UnsupportedBody`."""
    if request.encoding not in ENCODINGS:
        raise UnsupportedBody(
            detail=f"Content-Encoding {request.encoding[:100]!r}; it can be gzip, zstd or deflate"
        )


def decompressed(request: WriteRequest, bytes_max: int) -> bytes:
    """The body without its `Content-Encoding`; it has at most `bytes_max` bytes.

    Raises what `check` raises, `BodyTooLarge` and `BadBody`.
    """
    check(request)
    body, encoding = request.body, request.encoding
    if encoding not in _DECOMPRESS:
        if len(body) > bytes_max:
            raise BodyTooLarge(bytes=len(body), limit=bytes_max)
        return bytes(body)
    limit = min(bytes_max, room_for(len(body)))
    room = np.empty(limit, np.uint8)
    try:
        size = _DECOMPRESS[encoding](body, room.data)
    except cramjam.DecompressionError as exc:
        if _ROOM_IS_USED_UP in str(exc):
            raise BodyTooLarge(detail="decompressed", limit=limit) from exc
        raise BadBody(detail=f"it is not {encoding}: {exc}", bytes=len(body)) from exc
    return room[:size].tobytes()


def room_for(packed_bytes: int) -> int:
    """How large a body of so many bytes may become: these formats do not say it first."""
    return max(SMALL_MAX, RATIO_MAX * packed_bytes)


def unpacked_bytes(request: WriteRequest) -> int:
    """What to keep free for the body unpacked."""
    packed = len(request.body)
    return room_for(packed) if request.encoding in _DECOMPRESS else packed
