import numpy as np
import pytest
from factories import encode_batch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BITS, WIDE_MS

from data_api.errors import CorruptData
from data_api.store import batch

ROWS = st.lists(st.tuples(st.integers(1, 2**62), WIDE_MS, BITS), min_size=1, max_size=50)


def bits(values):
    return np.array(values, np.float64).view(np.uint64).tolist()


@given(ROWS, st.sampled_from([batch.STORED, batch.ZSTD]))
def test_a_payload_comes_back_bit_for_bit(rows, codec):
    """Whatever the format can hold, the decoder reads back unchanged: NaN payloads, -0.0, order."""
    ids, times, values = zip(*rows, strict=True)
    found = batch.decode(encode_batch(ids, times, values, codec))
    assert found.series_ids.tolist() == list(ids)
    assert found.timestamps_ms.tolist() == list(times)
    assert bits(found.values) == bits(values)


@given(st.binary(max_size=80))
def test_any_bytes_are_decoded_or_refused(payload):
    """Bytes that are no batch are CorruptData, never another error."""
    for data in (payload, b"COB1" + payload):
        try:
            batch.decode(data)
        except CorruptData:
            continue


@given(st.integers(0, 60), st.integers(0, 255))
def test_a_damaged_payload_is_refused_or_decoded_to_its_size(at, byte):
    """One changed byte never yields another number of samples than the header says, nor a crash."""
    payload = bytearray(encode_batch([1, 2, 3], [10, 20, 30], [1.0, 2.0, 3.0]))
    payload[at % len(payload)] = byte
    try:
        found = batch.decode(bytes(payload))
    except CorruptData:
        return
    assert found.values.size == int.from_bytes(payload[8:12], "little")


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"COB2" + encode_batch([1], [1], [1.0])[4:], id="another version"),
        pytest.param(encode_batch([1], [1], [1.0], 0)[:-1], id="cut body"),
        pytest.param(encode_batch([1], [1], [1.0], 0) + b"x", id="long body"),
        pytest.param(encode_batch([1], [1], [1.0], 0)[:4] + b"\x07" + b"\0" * 19, id="codec"),
    ],
)
def test_what_the_format_forbids_is_refused(payload):
    """Another magic, codec or size is CorruptData."""
    with pytest.raises(CorruptData):
        batch.decode(payload)
