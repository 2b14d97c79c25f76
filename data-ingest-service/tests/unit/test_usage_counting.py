"""Laws of counting usage: each sample once, and each minute of a series once, however sent."""

import io
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.batch import Columns
from data_ingest.kernels.counting import STORED
from data_ingest.model import U8
from data_ingest.store import block
from data_ingest.store.block import BlockWriter, SortedSamples
from data_ingest.store.block_times import BlockTimes
from data_ingest.store.sorting import merge, sort_and_deduplicate
from data_ingest.usage.counting import Budget, Counting, Span, mark_block, minutes_of

Key: TypeAlias = tuple[int, int]
NOON_MS = 1_795_003_200_000
TIMES = st.builds(
    lambda minute, ms: NOON_MS + minute * 60_000 + ms,
    st.integers(-3, 70),
    st.sampled_from([0, 1, 30_000, 59_999]),
)
BATCHES = st.tuples(
    st.integers(0, 2), st.lists(st.tuples(st.integers(1, 4), TIMES), min_size=1, max_size=8)
)
"""The hour it was received in, and its (series, timestamp)."""
RUNS = st.lists(st.lists(BATCHES, min_size=1, max_size=3), min_size=1, max_size=6)


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Blocks of a few samples have many chunks and row groups, as large ones do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "CHUNK_SAMPLES_MAX", 3)
        patch.setattr(block, "GROUP_CHUNKS_MAX", 2)
        yield


def columns_of(run: list[tuple[int, list[Key]]]) -> tuple[Columns, list[int]]:
    """The samples of a run in order of arrival, and the hour of each."""
    keys = [key for _, rows in run for key in rows]
    ids, times = zip(*keys, strict=True)
    samples = Columns(
        np.array(ids, np.int64), np.array(times, np.int64), np.arange(len(keys), dtype=np.float64)
    )
    return samples, [hour for hour, rows in run for _ in rows]


def written(pieces: list[SortedSamples]) -> bytes:
    sink = io.BytesIO()
    writer = BlockWriter(sink, uuid.UUID(int=1))
    for piece in pieces:
        writer.write(piece)
    writer.close()
    return sink.getvalue()


class Blocks:
    """What the runs before have stored."""

    def __init__(self, budget: int) -> None:
        self.blocks: list[bytes] = []
        self.budget = Budget(budget)
        self.is_enough = True

    def mark(self, piece: SortedSamples, span: Span, marks: U8) -> None:
        for one in self.blocks:
            opened = BlockTimes(io.BytesIO(one), None)
            self.is_enough &= mark_block(piece, span, opened, marks, self.budget)

    def merge(self) -> None:
        """All of them are one."""
        inputs = [block.read(io.BytesIO(one)) for one in self.blocks]
        self.blocks = [written(list(merge(inputs)))]


@given(RUNS, st.sets(st.integers(0, 5)))
def test_every_sample_and_every_minute_of_a_series_is_counted_once(
    runs: list[list[tuple[int, list[Key]]]], merged: set[int]
) -> None:
    """Whatever was sent again, in one batch, run or hour, or after its block was merged: a sample
    counts in the first hour that brought it, a series once in each minute that it has a sample in.
    """
    stored, seen = Blocks(10**9), set[Key]()
    samples: Counter[int] = Counter()
    counted: Counter[int] = Counter()
    active: Counter[int] = Counter()
    for number, run in enumerate(runs):
        for hour, rows in sorted(run, key=lambda one: one[0]):
            new = set(rows) - seen
            samples[hour] += len(new)
            seen |= new
        columns, hours = columns_of(run)
        piece = sort_and_deduplicate(columns.series_ids, columns.timestamps_ms, columns.values)
        counting = Counting(hours, [1] * len(hours), stored.mark)
        counting.add(columns, slice(None), piece)
        for hour_ms, new_samples, series in counting.rows():
            counted[hour_ms] += new_samples
            for minute, n in enumerate(series):
                active[hour_ms // 60_000 + minute] += n
        stored.blocks.append(written([piece]))
        if number in merged:
            stored.merge()
    assert +counted == +samples
    assert +active == Counter(minute for _, minute in {(s, at // 60_000) for s, at in seen})
    assert stored.is_enough


@given(BATCHES, RUNS, st.integers(0, 100_000))
def test_a_look_up_that_costs_too_much_says_so(
    sent: tuple[int, list[Key]], runs: list[list[tuple[int, list[Key]]]], budget: int
) -> None:
    """What is marked is stored, whatever the budget; only when it was too small is more stored than
    is marked.
    """
    stored, keys = Blocks(budget), set[Key]()
    for run in runs:
        columns, _ = columns_of(run)
        stored.blocks.append(
            written(
                [sort_and_deduplicate(columns.series_ids, columns.timestamps_ms, columns.values)]
            )
        )
        keys |= {key for _, rows in run for key in rows}
    columns, _ = columns_of([sent])
    piece = sort_and_deduplicate(columns.series_ids, columns.timestamps_ms, columns.values)
    marks = np.zeros(len(piece), np.uint8)
    stored.mark(piece, minutes_of(piece.timestamps_ms), marks)
    ids = np.repeat(piece.series_ids, np.diff(piece.starts)).tolist()
    marked = {
        key
        for key, mark in zip(
            zip(ids, piece.timestamps_ms.tolist(), strict=True), marks.tolist(), strict=True
        )
        if mark & STORED
    }
    assert marked <= keys
    assert not stored.is_enough or marked == keys & set(sent[1])
