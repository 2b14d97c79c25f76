"""Which of several samples of one series and time is stored: the law that dis and das both keep,
the slow, obvious way. A twin.

Source: docs/contracts.md, section 3.
"""

from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st

STALE_BITS = 0x7FF0_0000_0000_0002
STALE = float(np.array([STALE_BITS], np.uint64).view(np.float64)[0])
REQUESTS = st.lists(
    st.lists(
        st.tuples(
            st.integers(1, 3), st.integers(0, 4), st.sampled_from([1.0, 2.0, float("nan"), STALE])
        ),
        min_size=1,
        max_size=6,
    ),
    max_size=6,
)
"""Samples (series, ms, value) of few series and times, so that many meet; in order of arrival."""


def bits_of(value: float) -> int:
    """The 64 bits of a value: NaN equals nothing, its bits do."""
    return int(np.float64(value).view(np.uint64))


def stored(arrived: Iterable[tuple[int, int, float]]) -> dict[tuple[int, int], int]:
    """(series, ms) → bits: the last value; a stale marker only where no value is."""
    bits: dict[tuple[int, int], int] = {}
    for series_id, ms, value in arrived:
        if bits_of(value) != STALE_BITS or (series_id, ms) not in bits:
            bits[series_id, ms] = bits_of(value)
    return bits
