"""remote_read, as another Prometheus asks; answers are read by `remote.py`."""

import struct

import cramjam
import pytest
import remote
from conftest import NOW_MS
from histograms import Written

from data_api.model import STALE_BITS

UP = (0, "__name__", "up")
STREAM = bytes([remote.STREAMED_XOR_CHUNKS])


def bits(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


async def read(das, *queries, accepted=b""):
    answer = await das.post("/api/v1/read", content=remote.request(*queries, accepted=accepted))
    assert answer.status_code == 200, answer.text
    return answer


@pytest.fixture
async def filled(das, ingest, tenant):
    """Two series, half in a block, one that ends; and one of another name."""
    (stale,) = struct.unpack("<d", struct.pack("<Q", STALE_BITS))
    for host in ("b", "a"):
        samples = [(NOW_MS - 600_000 + n * 1000, n / 3) for n in range(300)]
        await ingest.write(tenant, {"__name__": "up", "host": host}, samples)
    await ingest.compact(tenant)
    await ingest.write(tenant, {"__name__": "up", "host": "a"}, [(NOW_MS, 7.5), (NOW_MS + 1, 1.0)])
    await ingest.write(tenant, {"__name__": "up", "host": "b"}, [(NOW_MS, stale)])
    await ingest.write(tenant, {"__name__": "down"}, [(NOW_MS, 1.0)])
    return das


def wanted(host):
    last = bits(7.5) if host == "a" else STALE_BITS
    samples = [(NOW_MS - 600_000 + n * 1000, bits(n / 3)) for n in range(300)]
    return {"__name__": "up", "host": host}, [*samples, (NOW_MS, last)]


async def test_samples_of_head_and_blocks(filled):
    """Both ends belong to the answer, stale markers too; series come by labels, queries in order.
    No accepted type means SAMPLES.
    """
    everything = (NOW_MS - 600_000, NOW_MS, [UP])
    answer = await read(filled, everything, (NOW_MS, NOW_MS, [(0, "__name__", "down")]))
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert answer.headers["content-encoding"] == "snappy"
    first, second = remote.of_samples(answer.content)
    assert first == [(*wanted("a"), []), (*wanted("b"), [])]
    assert second == [({"__name__": "down"}, [(NOW_MS, bits(1.0))], [])]


async def test_a_stream_of_chunks_is_the_same(filled):
    """Frames say which query they answer; every chunk holds 120 samples at most."""
    everything = (NOW_MS - 600_000, NOW_MS, [UP])
    only_b = (NOW_MS - 600_000, NOW_MS, [(2, "host", "b|c"), (1, "host", "a"), UP])
    answer = await read(filled, everything, only_b, accepted=STREAM + b"\x00")
    kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
    assert answer.headers["content-type"] == kind
    assert "content-encoding" not in answer.headers
    frames = remote.of_stream(answer.content)
    assert frames == [(0, *wanted("a")), (0, *wanted("b")), (1, *wanted("b"))]


async def test_a_long_series_takes_several_frames(das, ingest, tenant):
    """No frame is much larger than 1 MiB, and a reader finds each sample once."""
    values = [(NOW_MS - n * 997, (n * 2654435761 % 2**32) * 1e-7) for n in range(160_000)][::-1]
    await ingest.write(tenant, {"__name__": "up"}, values)
    query = (NOW_MS - 10**9, NOW_MS, [UP])
    frames = remote.of_stream((await read(das, query, accepted=STREAM)).content)
    assert len(frames) > 1
    samples = [sample for _, _, some in frames for sample in some]
    assert samples == [(at, bits(value)) for at, value in values]


async def test_native_histograms_are_samples(das, ingest, tenant):
    """They go out as they are stored, with their time; who accepts chunks alone is told so."""
    stored = Written(positive=((1, 3), (2, 4)), total=5.0).encoded()
    samples = [(NOW_MS - 1, 1.0), (NOW_MS, stored)]
    await ingest.write(tenant, {"__name__": "up"}, samples)
    query = (NOW_MS - 1, NOW_MS, [UP])
    answer = await read(das, query, accepted=STREAM + b"\x00")
    ((series,),) = remote.of_samples(answer.content)
    assert series[1] == [(NOW_MS - 1, bits(1.0))]
    assert series[2] == [stored + b"\x78" + remote.varint(NOW_MS)]
    refused = await das.post("/api/v1/read", content=remote.request(query, accepted=STREAM))
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "ReadRequest"),
        (b"nothing", 400, "ReadRequest"),
        (b"\xff\xff\xff\xff\x0f", 413, "too large"),
        (bytes(cramjam.snappy.compress_raw(b"\x0a\x05\x08")), 400, "ReadRequest"),
        (remote.request((0, 1, [UP]), accepted=b"\x07"), 400, "does not support any"),
        (remote.request((0, 1, [(2, "host", "(")])), 400, "regex"),
        (remote.request((0, 1, [(9, "host", "a")])), 400, "matcher of type 9"),
        (remote.request(*[(0, 1, [UP])] * 65), 400, "65 queries"),
        (remote.request((0, 1, [UP] * 257)), 400, "257 matchers"),
    ],
)
async def test_what_is_no_request_is_refused(das, body, status, words):
    """Each with what was wrong, as a line of text, which is what Prometheus shows."""
    answer = await das.post("/api/v1/read", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert words in answer.text.removesuffix("\n")


async def test_the_plan_bounds_a_read(filled, hub, tenant):
    """Samples over the plan's are refused, and what it does not keep is not there."""
    query = (NOW_MS - 600_000, NOW_MS, [UP])
    filled.headers["X-API-Key"] = hub.key(tenant, query_samples=100)
    answer = await filled.post("/api/v1/read", content=remote.request(query))
    assert answer.status_code == 422
    filled.headers["X-API-Key"] = hub.key(tenant, retention_days=0)
    answer = await read(filled, query)
    assert [len(one[1]) for one in remote.of_samples(answer.content)[0]] == [1, 1]


async def test_an_answer_of_samples_has_a_size(serve, hub, ingest, tenant):
    """One message is whole in memory: over the bound it is refused; a stream is not."""
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS - n, 1.0) for n in range(100)])
    das = await serve(answer_bytes_max=1000)
    das.headers["X-API-Key"] = hub.key(tenant)
    query = (0, NOW_MS, [UP])
    answer = await das.post("/api/v1/read", content=remote.request(query))
    assert answer.status_code == 422
    assert len(remote.of_stream((await read(das, query, accepted=STREAM)).content)[0][2]) == 100
