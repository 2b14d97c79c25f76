"""Hypothesis strategies for what the store holds."""

import struct

from hypothesis import strategies as st

MS = st.integers(0, 40)
WIDE_MS = st.integers(-(2**62), 2**62)
BITS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
VALUES = st.one_of(
    st.integers(-(10**6), 10**6).map(lambda n: n / 100),
    st.floats(allow_nan=True, allow_infinity=True),
    BITS,
)
SERIES = st.integers(1, 6)
LABELS = st.dictionaries(
    st.sampled_from(["__name__", "job", "host", "le"]),
    st.sampled_from(["a", "b", "ab", "c"]),
    max_size=3,
)
