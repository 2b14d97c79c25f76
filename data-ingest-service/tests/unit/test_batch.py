"""Laws of the batch payload (docs/formats/batch.md)."""

import struct

import cramjam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest import batch
from data_ingest.errors import BadPayload

i64 = st.integers(-(2**63), 2**63 - 1)
rows = st.lists(st.tuples(i64, i64, st.integers(0, 2**64 - 1)), min_size=1, max_size=50)


def columns_of(rows) -> batch.Columns:
    ids, times, bits = zip(*rows, strict=True)
    values = np.array(bits, np.uint64).view(np.float64)
    return batch.Columns(np.array(ids, np.int64), np.array(times, np.int64), values)


def read_as_documented(payload: bytes) -> list[list[int]]:
    """The reader that the format document gives, in numpy."""
    magic, codec, n, raw_bytes = struct.unpack_from("<4sB3xII", payload)
    assert (magic, raw_bytes) == (b"COB1", 24 * n)
    body = payload[16:] if codec == 0 else bytes(cramjam.zstd.decompress(payload[16:]))
    planes = np.frombuffer(body, np.uint8).reshape(3, 8, n)
    items = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<u8").reshape(3, n)
    deltas = (items[:2] >> np.uint64(1)) ^ (np.uint64(0) - (items[:2] & np.uint64(1)))
    whole = np.cumsum(deltas, axis=1, dtype=np.uint64)
    return [whole[0].view(np.int64).tolist(), whole[1].view(np.int64).tolist(), items[2].tolist()]


@given(rows)
def test_round_trip(found):
    """Whatever is packed is unpacked bit for bit, in its order."""
    columns = batch.unpack(batch.pack(columns_of(found)))
    bits = columns.values.view(np.uint64).tolist()
    ids = columns.series_ids.tolist()
    assert list(zip(ids, columns.timestamps_ms.tolist(), bits, strict=True)) == found


@given(rows)
def test_the_document_reads_it(found):
    """The reader of the format document finds the same samples."""
    read = read_as_documented(batch.pack(columns_of(found)))
    assert [tuple(row) for row in zip(*read, strict=True)] == found


@given(st.binary(max_size=80))
def test_any_bytes_are_unpacked_or_refused(payload):
    """A payload that is not one is refused, never a crash."""
    for given_bytes in (payload, b"COB1\x01\0\0\0" + payload, b"COB1\0\0\0\0" + payload):
        try:
            batch.unpack(given_bytes)
        except BadPayload:
            continue


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: b"COB2" + p[4:], id="magic"),
        pytest.param(lambda p: p[:4] + b"\x07" + p[5:], id="codec"),
        pytest.param(lambda p: p[:8] + b"\x09" + p[9:], id="count"),
        pytest.param(lambda p: p[:-1], id="cut"),
        pytest.param(lambda p: p[:12] + struct.pack("<I", 48) + p[16:], id="raw bytes"),
    ],
)
def test_another_format_is_refused(change):
    """Another magic, codec, count or size is refused."""
    payload = batch.pack(columns_of([(i, i * 10, i) for i in range(100)]))
    with pytest.raises(BadPayload):
        batch.unpack(change(payload))
