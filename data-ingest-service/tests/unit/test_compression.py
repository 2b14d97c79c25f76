"""Laws of unpacking: what was packed comes back, within a bound, or is refused."""

import gzip
import random
import zlib
from collections.abc import Callable

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.errors import BadBody, BodyTooLarge, UnsupportedBody
from data_ingest.protocols import compression
from data_ingest.protocols.protocol import WriteRequest

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": lambda body: bytes(cramjam.zstd.compress(body)),
}


def decompressed(body: bytes | bytearray, encoding: str, bytes_max: int) -> bytes:
    request = WriteRequest("/", {"content-encoding": encoding}, body=body)
    return compression.decompressed(request, bytes_max)


encodings = st.sampled_from(sorted(PACK))


@given(st.binary(max_size=2_000), encodings)
def test_a_body_comes_back(body, encoding):
    """In every encoding, where it fits exactly; one byte more than fits is too large."""
    packed = PACK[encoding](body)
    assert decompressed(packed, f" {encoding.upper()} ", len(body)) == body
    assert decompressed(bytearray(packed), encoding, len(body) + 100) == body
    if body:
        with pytest.raises(BodyTooLarge):
            decompressed(packed, encoding, len(body) - 1)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_bombs_and_damage(encoding):
    """A bomb is too large; what is cut or is something else is no body."""
    bomb = PACK[encoding](bytes(8 << 20))
    for bytes_max in (1 << 20, 64 << 20):  # over the bound; over what so few bytes may become
        with pytest.raises(BodyTooLarge):
            decompressed(bomb, encoding, bytes_max)
    packed = PACK[encoding](random.Random(1).randbytes(1 << 20))
    for damaged in (packed[:-5], packed[:20], b"not compressed at all"):
        with pytest.raises(BadBody, match=f"it is not {encoding}"):
            decompressed(damaged, encoding, 16 << 20)


def test_other_encodings_are_named():
    """An encoding nobody knows is unsupported, not a body."""
    with pytest.raises(UnsupportedBody, match="'br'"):
        decompressed(b"x", "br", 10)
