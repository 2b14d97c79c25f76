"""Laws of what retention deletes and writes anew: facts in, a plan out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.limits import DAY_MS
from data_ingest.retention import plan
from data_ingest.store.refs import BlockRef
from data_ingest.store.sorting import sort_and_deduplicate

NOW = 1_795_000_000_000
BLOCKS = st.lists(
    st.builds(
        lambda i, first, length, size, is_quarantined: BlockRef(
            i, i, 0, first, first + length, size, NOW, str(i), is_quarantined=is_quarantined
        ),
        st.integers(1, 1000),
        st.integers(NOW - 70 * DAY_MS, NOW),
        st.sampled_from([0, 7_199_999, DAY_MS, 32 * DAY_MS]),
        st.integers(1, 10**9),
        st.booleans(),
    ),
    max_size=8,
)


def test_the_plan_decides_and_the_setting_where_it_is_not_known():
    """The tenant's days, 0 of which keep all; the setting's where no plan was seen."""
    assert plan.cutoff_ms(NOW, 30, 10) == NOW - 30 * DAY_MS
    assert plan.cutoff_ms(NOW, 0, 10) is None
    assert plan.cutoff_ms(NOW, None, 10) == NOW - 10 * DAY_MS
    assert plan.cutoff_ms(NOW, None, None) is None


@given(BLOCKS)
def test_rewriting_a_block_ends(blocks):
    """A block is written anew only where more than half of it, and a day at least, is past; as time
    goes on it is written a few times, in all no more than its size.
    """
    for block in blocks:
        left, cutoff, rewrites, written = block, block.min_ts, 0, 0.0
        while cutoff <= block.max_ts:
            if (due := plan.mostly_past([left], cutoff)) is not None:
                assert not due.is_quarantined
                assert cutoff - due.min_ts >= DAY_MS
                assert cutoff - due.min_ts > (due.max_ts - due.min_ts + 1) / 2
                written += (due.max_ts - cutoff + 1) / (block.max_ts - block.min_ts + 1)
                left = BlockRef(1, 1, 0, cutoff, block.max_ts, 1, NOW, "left")
                rewrites += 1
            cutoff += DAY_MS // 4
        assert rewrites <= 6
        assert written <= 1


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 20)), min_size=1, max_size=40),
    st.integers(0, 20),
    st.integers(1, 7),
)
def test_what_is_left_of_a_block(rows, cutoff, size):
    """Exactly the samples from the cutoff on, bit for bit, however the block is cut into pieces."""
    ids, times = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    whole = sort_and_deduplicate(ids, times, np.arange(ids.size) / 7)
    flat = np.repeat(whole.series_ids, np.diff(whole.starts))
    pieces = [
        sort_and_deduplicate(
            flat[at : at + size], whole.timestamps_ms[at : at + size], whole.values[at : at + size]
        )
        for at in range(0, len(whole), size)
    ]
    left = [
        sample
        for piece in (one.where(one.timestamps_ms >= cutoff) for one in pieces)
        for sample in zip(
            np.repeat(piece.series_ids, np.diff(piece.starts)).tolist(),
            piece.timestamps_ms.tolist(),
            piece.values.tolist(),
            strict=True,
        )
    ]
    expected = zip(flat.tolist(), whole.timestamps_ms.tolist(), whole.values.tolist(), strict=True)
    assert left == [sample for sample in expected if sample[1] >= cutoff]
