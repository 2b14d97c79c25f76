"""What `Content-Encoding` says, undone; a body that unpacks to too much takes no memory for it.

gzip · zstd · deflate (in zlib's frame, as HTTP means it)
"""

from typing import Final

import cramjam
import numpy as np

from data_ingest.errors import BadBody, BodyTooLarge, UnsupportedBody

_FORMATS: Final = {
    "gzip": cramjam.gzip,
    "x-gzip": cramjam.gzip,
    "zstd": cramjam.zstd,
    "deflate": cramjam.zlib,
}
_OUTPUT_FULL: Final = "failed to write whole buffer"


def decompressed(body: bytes | bytearray, encoding: str, bytes_max: int) -> bytes:
    """The body without its encoding, at most `bytes_max`; as it is where there is none.

    Raises `UnsupportedBody`, `BadBody` or `BodyTooLarge`.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        if len(body) > bytes_max:
            raise BodyTooLarge(bytes=len(body), limit=bytes_max)
        return bytes(body)
    if encoding not in _FORMATS:
        raise UnsupportedBody(
            detail=f"Content-Encoding {encoding[:100]!r}; taken are gzip, zstd and deflate"
        )
    # The system gives memory to pages that are written, so a bomb takes at most the bound, and a
    # small body little.
    out = np.empty(bytes_max + 1, np.uint8)
    try:
        size = _FORMATS[encoding].decompress_into(body, out)
    except cramjam.DecompressionError as exc:
        if _OUTPUT_FULL in str(exc):
            raise BodyTooLarge(detail="decompressed", limit=bytes_max) from exc
        raise BadBody(detail=f"it is not {encoding}: {exc}", bytes=len(body)) from exc
    if size > bytes_max:
        raise BodyTooLarge(detail="decompressed", limit=bytes_max)
    return out[:size].tobytes()
