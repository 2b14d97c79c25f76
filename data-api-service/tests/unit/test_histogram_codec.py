"""Stored native histograms are read as docs/formats/histogram.md says, or refused."""

import struct

import numpy as np
import pytest
from histograms import CUSTOM, Written
from hypothesis import given
from hypothesis import strategies as st

from data_api import histogram_codec
from data_api.errors import CorruptData
from data_api.native_histogram import KEY_OF_BUCKET_0, Hint

BUCKETS = st.dictionaries(st.integers(-(2**20), 2**20), st.integers(0, 2**50), max_size=8).map(
    lambda counts: tuple(sorted(counts.items()))
)
EXPONENTIAL = st.builds(
    Written,
    schema=st.integers(-4, 8),
    positive=BUCKETS,
    negative=BUCKETS,
    zero=st.integers(0, 2**40),
    zero_threshold=st.floats(0, 1e9),
    total=st.floats(allow_nan=False),
    hint=st.sampled_from(Hint).map(int),
    is_float=st.booleans(),
)


@given(EXPONENTIAL)
def test_a_stored_histogram_comes_back(written):
    """Counts of both kinds, spans with any gaps, both sides and the zero bucket between them."""
    histogram = histogram_codec.decode(written.encoded())
    wanted = {0: written.zero}
    wanted |= {index + KEY_OF_BUCKET_0: count for index, count in written.positive}
    wanted |= {-index - KEY_OF_BUCKET_0: count for index, count in written.negative}
    keys = sorted(wanted)
    assert histogram.keys.tolist() == keys
    assert histogram.numbers[2:].tolist() == [float(wanted[key]) for key in keys]
    assert (histogram.count, histogram.sum) == (float(written.count), written.total)
    assert histogram.layout.schema == written.schema
    assert histogram.layout.zero_threshold == written.zero_threshold


def test_repeated_fields_may_stand_one_by_one():
    """As protobuf allows: two deltas of the positive side, two custom bounds."""
    packed = Written(CUSTOM, ((0, 1), (1, 3)), bounds=(0.5, 2.0)).encoded()
    deltas, bounds = b"\x62\x02\x02\x04", b"\x82\x01\x10" + struct.pack("<2d", 0.5, 2.0)
    assert deltas in packed
    assert bounds in packed
    single = packed.replace(deltas, b"\x60\x02\x60\x04").replace(
        bounds, b"".join(b"\x81\x01" + struct.pack("<d", bound) for bound in (0.5, 2.0))
    )
    assert histogram_codec.decode(single).equals(histogram_codec.decode(packed))


@pytest.mark.parametrize("hint", Hint)
def test_not_reset_is_compared_again(hint):
    """The sample of which a sender says so may not have arrived."""
    read = histogram_codec.decode(Written(positive=((0, 1),), hint=int(hint)).encoded()).hint
    assert read is (Hint.UNKNOWN if hint is Hint.NOT_RESET else hint)


def test_a_bucket_beyond_the_custom_bounds_is_refused():
    """Two bounds make three buckets."""
    inside = Written(CUSTOM, ((0, 1), (2, 4)), bounds=(0.5, 2.0))
    assert histogram_codec.decode(inside.encoded()).layout.bounds == (0.5, 2.0)
    for index in (-1, 3):
        outside = Written(CUSTOM, ((index, 1),), bounds=(0.5, 2.0))
        with pytest.raises(CorruptData):
            histogram_codec.decode(outside.encoded())


def test_a_huge_span_is_refused_before_it_is_made():
    """A few bytes that claim four thousand million buckets."""
    span = b"\x5a\x06" + b"\x10" + b"\xff\xff\xff\xff\x0f"
    with pytest.raises(CorruptData, match="stored histogram"):
        histogram_codec.decode(b"\x08\x01" + span)


@given(st.binary(max_size=60), EXPONENTIAL, st.integers(0, 200))
def test_any_bytes_are_decoded_or_refused(noise, written, at):
    """Whatever is not as written is CorruptData, never another error."""
    whole = written.encoded()
    for payload in (noise, whole[:at], whole[:at] + noise + whole[at:]):
        try:
            histogram = histogram_codec.decode(payload)
        except CorruptData:
            continue
        assert np.all(np.diff(histogram.keys) > 0)
        assert histogram.numbers.size == histogram.keys.size + 2
