"""Laws of OTLP's bodies: encodings are undone, and no body takes more than its bounds."""

import gzip
import resource
import zlib

import cramjam
import pytest

from data_ingest.errors import BadBody, BodyTooLarge, UnsupportedBody
from data_ingest.protocols.otlp import Options, protocol
from data_ingest.protocols.protocol import Bounds, WriteRequest
from tests import otlp
from tests.otlp import AT_NS, JSON, PROTOBUF, decode


def bodies(message: bytes) -> dict[str, bytes]:
    return {
        "": message,
        "gzip": gzip.compress(message),
        "zstd": bytes(cramjam.zstd.compress(message)),
        "deflate": zlib.compress(message),
        "identity": message,
    }


def test_every_encoding_is_undone():
    """The same request compressed in any of the ways is the same samples."""
    for encoding, body in bodies(otlp.request(AT_NS)[0].SerializeToString()).items():
        assert decode(body, headers={**PROTOBUF, "content-encoding": encoding}).samples == 1


def test_a_bomb_is_refused_within_bounds():
    """64 MiB of zeros in a small body are too large, and take no such memory; so are a gzip body
    that says less than it holds, and one that claims too much.
    """
    bombs = bodies(bytes(64 << 20))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for encoding in ("gzip", "zstd", "deflate"):
        body = bombs[encoding]
        lies = [body, body[:-4] + bytes(4)] if encoding == "gzip" else [body]
        for sent in lies:
            with pytest.raises((BodyTooLarge, BadBody)):
                decode(sent, headers={**PROTOBUF, "content-encoding": encoding})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 << 10


def test_too_many_samples_are_refused():
    """A request over the bound of samples is too large, however small its bytes."""
    request, scope_metrics = otlp.request(AT_NS)
    points = scope_metrics.metrics[0].gauge.data_points
    for i in range(200):
        points.add(time_unix_nano=AT_NS + i, as_int=i)
    body = request.SerializeToString()
    assert decode(body, bounds=Bounds(1 << 20, 300)).samples == 201
    with pytest.raises(BodyTooLarge, match="too many samples"):
        decode(body, bounds=Bounds(1 << 20, 200))


def test_the_unpacked_size_is_reserved_before_it_is_taken():
    """What a body may unpack to is known before it is unpacked, and unpacking keeps to it."""
    row = protocol(Options())
    message = otlp.request(AT_NS)[0].SerializeToString()
    for encoding, body in bodies(message).items():
        sent = WriteRequest("/", {**PROTOBUF, "content-encoding": encoding}, body=body)
        assert row.unpacked_bytes(sent) >= len(message)
        as_json = WriteRequest("/", {**JSON, "content-encoding": encoding}, body=body)
        assert row.unpacked_bytes(as_json) == 16 * row.unpacked_bytes(sent)


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "text/plain"}, {**PROTOBUF, "content-encoding": "br"}],
    ids=["no type", "another type", "another encoding"],
)
def test_other_types_and_encodings_are_refused(headers):
    """OTLP is protobuf or JSON, plain or in an encoding that is known."""
    with pytest.raises(UnsupportedBody):
        decode(b"", headers=headers or {"x": "y"})
