"""Which samples of a sorted piece are stored already: two sorted lists walked side by side.

    piece   s1: 10 20 30 │ s2: 10      what is about to be stored
    stored  s1: 20       │ s3: 10      of a block, or of an earlier hour
    marks       .  S  .        .

Source: docs/adr/0018-usage-and-retention.md.
"""

from typing import Any, Final

from data_ingest.chassis.jit import BYTES, BYTES_OUT, I64S, I64S_OUT, inlined, int64, kernel, void
from data_ingest.model import I64, U8

MINUTE_MS: Final = 60_000
STORED: Final = 1
"""The sample's (series, timestamp) is stored already."""
COUNTED: Final = 2
"""On the first sample of a series in a minute: it has a stored sample in that minute."""


@inlined
def _first_not_before(times: Any, start: Any, end: Any, wanted: Any) -> Any:
    """The first index in [start, end) with a time ≥ `wanted`, or `end`."""
    low = start
    high = end
    while low < high:
        middle = (low + high) // 2
        if times[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@kernel(void(I64S, I64S, I64S, I64S, I64S, I64S, BYTES_OUT))
def mark(  # noqa: PLR0917 - compiled by position
    ids: I64,
    starts: I64,
    times: I64,
    other_ids: I64,
    other_starts: I64,
    other_times: I64,
    marks: U8,
) -> None:
    """`marks` has STORED and COUNTED where the other list says so; other marks stay.

    ids, starts, times: the piece, by series then time, each series once.
    other_…: rows by series; a series may have several. Times ascend within a row.
    marks: (n,), one for each sample of the piece.
    """
    p = 0
    for row in range(other_ids.size):
        while p < ids.size and ids[p] < other_ids[row]:
            p += 1
        if p == ids.size:
            return
        if ids[p] != other_ids[row] or other_starts[row] == other_starts[row + 1]:
            continue
        end = starts[p + 1]
        first = other_times[other_starts[row]]
        i = _first_not_before(times, starts[p], end, first - first % MINUTE_MS)
        j = i
        for k in range(other_starts[row], other_starts[row + 1]):
            time = other_times[k]
            minute = time - time % MINUTE_MS
            while i < end and times[i] < minute:
                i += 1
            if i == end:
                break
            if times[i] < minute + MINUTE_MS:
                marks[i] |= COUNTED
            while j < end and times[j] < time:
                j += 1
            if j < end and times[j] == time:
                marks[j] |= STORED


@kernel(void(I64S, I64S, I64S, I64S, I64S, I64S, BYTES_OUT))
def reaches_between(  # noqa: PLR0917 - compiled by position
    ids: I64, starts: I64, times: I64, chunk_ids: I64, first_ms: I64, last_ms: I64, reaches: U8
) -> None:
    """`reaches[c]` is 1 where the piece has a sample between the first and the last of chunk c:
    only its timestamps tell then which are stored. ids, starts, times: as for `mark`.
    """
    p = 0
    for c in range(chunk_ids.size):
        reaches[c] = 0
        while p < ids.size and ids[p] < chunk_ids[c]:
            p += 1
        if p < ids.size and ids[p] == chunk_ids[c]:
            i = _first_not_before(times, starts[p], starts[p + 1], first_ms[c] + 1)
            if i < starts[p + 1] and times[i] < last_ms[c]:
                reaches[c] = 1


@kernel(int64(I64S, I64S, BYTES, int64, I64S_OUT))
def count_unmarked(starts: I64, times: I64, marks: U8, first_minute: int, active: I64) -> int:
    """How many samples are not STORED; `active[m - first_minute]` has one more for each series with
    samples in minute m (since the epoch) that are not COUNTED. starts, times, marks: as for `mark`.
    """
    new = 0
    for s in range(starts.size - 1):
        next_ms = times[starts[s]]
        for i in range(starts[s], starts[s + 1]):
            if marks[i] & STORED == 0:
                new += 1
            if times[i] >= next_ms:
                minute = times[i] // MINUTE_MS
                next_ms = (minute + 1) * MINUTE_MS
                if marks[i] & COUNTED == 0:
                    active[minute - first_minute] += 1
    return new
