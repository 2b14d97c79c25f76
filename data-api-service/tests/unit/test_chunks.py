"""The kernels of remote_read against the slow decoder of `remote.py`."""

import numpy as np
import remote
from hypothesis import given
from hypothesis import strategies as st

from data_api.promql.kernels import chunks

TIMES = st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=120, unique=True).map(sorted)
STEPS = st.lists(
    st.sampled_from([1, 2, 8191, 8192, 8193, 15_000, 65_536, 65_537, 524_288, 524_289, 2**40]),
    min_size=0,
    max_size=119,
).map(lambda steps: list(np.cumsum([1_700_000_000_000, *steps])))
BITS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.floats(-1e3, 1e3, width=32).map(lambda v: int(np.float64(v).view(np.uint64))),
    st.just(0x7FF0000000000002),
)


def arrays(times, bits):
    return np.array(times, np.int64), np.array(bits, np.uint64).view(np.int64)


@given(st.data(), st.one_of(TIMES, STEPS))
def test_a_chunk_holds_every_sample_bit_for_bit(data, times):
    """Whatever times and values are, a reader of Prometheus's chunks has them back."""
    bits = data.draw(st.lists(BITS, min_size=len(times), max_size=len(times)))
    out = np.zeros(chunks.CHUNK_BYTES_MAX, np.uint8)
    size = chunks.xor_chunk(*arrays(times, bits), out)
    assert list(remote.xor_samples(out[:size].tobytes())) == list(zip(times, bits, strict=True))


@given(st.binary(max_size=300))
def test_the_checksum_is_castagnolis(data):
    """A frame's checksum is what the polynomial gives, a bit at a time."""
    assert chunks.crc32c(np.frombuffer(data, np.uint8)) == remote.castagnoli(data)


@given(st.data(), TIMES)
def test_samples_are_fields_of_a_series(data, times):
    """Each sample is a message of value and time, negative times in ten bytes."""
    bits = data.draw(st.lists(BITS, min_size=len(times), max_size=len(times)))
    out = np.zeros(chunks.SAMPLE_BYTES_MAX * len(times), np.uint8)
    size = chunks.sample_messages(*arrays(times, bits), out)
    samples = [dict(remote.fields(one)) for _, one in remote.fields(out[:size].tobytes())]
    assert [remote.signed(one[2]) for one in samples] == times
    assert [int.from_bytes(one[1], "little") for one in samples] == bits
