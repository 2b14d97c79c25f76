"""Laws of what compaction takes and merges: facts in, a plan out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.background import compaction_plan as plan
from data_ingest.store.refs import BatchRef, BlockRef

H = plan.HOUR_MS
NOW = 1_795_000_000_000
WINDOW = NOW - NOW % (2 * H)


def _block(
    precedence: int,
    level: int = 0,
    at: int = WINDOW,
    *,
    end: int | None = None,
    size: int = 10,
    age: int = 0,
) -> BlockRef:
    return BlockRef(
        precedence, precedence, level, at, end or at + 1000, size, NOW - age, f"k{precedence}"
    )


def _precedences(groups: list[list[BlockRef]]) -> list[list[int]]:
    return [[block.precedence for block in group] for group in groups]


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 50), st.booleans()), max_size=20),
    st.integers(1, 100),
)
def test_batches_are_taken_as_a_prefix_of_whole_transactions(
    rows: list[tuple[int, int, bool]], samples_max: int
) -> None:
    """What is taken is due, the oldest, never half a transaction, and within the limit unless one
    transaction is larger.
    """
    batches = [BatchRef(i, xid, n, due) for i, (xid, n, due) in enumerate(sorted(rows))]
    taken = plan.batches_to_take(batches, samples_max)
    assert taken == batches[: len(taken)]
    assert all(batch.is_due for batch in taken)
    if taken and len(taken) < len(batches):
        assert taken[-1].xid < batches[len(taken)].xid
    if len({batch.xid for batch in taken}) > 1:
        assert sum(batch.samples for batch in taken) <= samples_max
    if batches and not taken:
        assert not all(batch.is_due for batch in batches if batch.xid == batches[0].xid)


def test_the_last_transaction_of_a_cut_listing_waits() -> None:
    """When more rows may follow, the last listed transaction may not be whole, so it is left."""
    batches = [BatchRef(1, 10, 5, True), BatchRef(2, 11, 5, True)]
    assert plan.batches_to_take(batches, 100, is_complete=False) == batches[:1]


@given(st.lists(st.integers(0, 4_000_000_000_000), min_size=1, max_size=200))
def test_windows_hold_their_samples_and_are_few(times: list[int]) -> None:
    """Every sample lies in its aligned window; only an import of decades makes more than 48
    windows, of 32 days.
    """
    array = np.array(times, np.int64)
    starts, span = plan.window_starts(array)
    assert ((starts <= array) & (array < starts + span)).all()
    assert (starts % span == 0).all()
    assert span == plan.SPANS_MS[-1] or np.unique(starts).size <= plan.WINDOWS_MAX


def test_a_window_is_two_hours() -> None:
    """Samples of a day or two are split at even hours UTC."""
    starts, span = plan.window_starts(np.array([NOW, NOW + 2 * H]))
    assert (span, starts.tolist()) == (2 * H, [WINDOW, WINDOW + 2 * H])


def test_eight_of_a_level_merge() -> None:
    """Eight neighbours of one level become one; seven wait; different windows do not mix."""
    assert _precedences(plan.merges([_block(i) for i in range(9)], NOW, 10**9)) == [list(range(8))]
    assert plan.merges([_block(i) for i in range(7)], NOW, 10**9) == []
    mixed = [_block(i, at=WINDOW if i % 2 else WINDOW - 2 * H) for i in range(14)]
    assert plan.merges(mixed, NOW, 10**9) == []


def test_a_higher_level_block_parts_lower_ones() -> None:
    """Only neighbours in precedence merge; a large block is not rewritten for a few small ones."""
    blocks = [_block(i, level=2 if i == 4 else 0) for i in range(12)]
    assert plan.merges(blocks, NOW, 10**9) == []
    blocks += [_block(12)]
    assert _precedences(plan.merges(blocks, NOW, 10**9)) == [list(range(5, 13))]


def test_small_blocks_between_larger_ones_go_along() -> None:
    """Eight of a level merge with the smaller ones that stand between them."""
    blocks = [_block(i, level=0 if i == 4 else 1) for i in range(9)]
    assert _precedences(plan.merges(blocks, NOW, 10**9)) == [list(range(9))]


def test_a_closed_quiet_window_becomes_one_block() -> None:
    """Ten minutes after a window's end and after its last late block, what it has is merged."""
    old = WINDOW - 4 * H
    blocks = [_block(1, 2, old, age=H), _block(2, 0, old, age=H)]
    assert _precedences(plan.merges(blocks, NOW, 10**9)) == [[1, 2]]
    assert plan.merges([blocks[0], _block(2, 0, old, age=60_000)], NOW, 10**9) == []
    assert plan.merges([_block(1), _block(2)], NOW, 10**9) == []


def test_a_wide_block_in_the_way_parts_neighbours() -> None:
    """A block of another window that overlaps this one must not be jumped over."""
    old = WINDOW - 4 * H
    wide = _block(2, 0, old - 10 * H, end=old + 1000, age=H)
    assert plan.merges([_block(1, 0, old, age=H), wide, _block(3, 0, old, age=H)], NOW, 10**9) == []


def test_merged_blocks_stay_within_their_size() -> None:
    """Neighbours are merged only as far as they fit into one object."""
    old = WINDOW - 4 * H
    blocks = [_block(i, 0, old, size=60, age=H) for i in range(1, 6)]
    assert _precedences(plan.merges(blocks, NOW, 130)) == [[1, 2]]
    assert plan.merges(blocks, NOW, 100) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 30 * H), st.integers(0, 40 * H)),
        min_size=2,
        max_size=40,
    )
)
def test_no_plan_lets_an_older_sample_win(rows: list[tuple[int, int, int]]) -> None:
    """Between the precedences of a group there is no other block that overlaps the group's time."""
    blocks = [
        _block(i, level, WINDOW - 60 * H + at, end=WINDOW - 60 * H + at + length, age=H)
        for i, (level, at, length) in enumerate(rows)
    ]
    for group in plan.merges(blocks, NOW, 10**9):
        ids = {block.block_id for block in group}
        low, high = min(b.min_ts for b in group), max(b.max_ts for b in group)
        for other in blocks:
            if other.block_id not in ids and other.min_ts <= high and other.max_ts >= low:
                assert not group[0].precedence < other.precedence < group[-1].precedence
