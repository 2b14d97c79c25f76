"""Which rows of a source hold wanted samples, and copies of them.

A source is compressed sparse rows, row by row ascending by series id; a series may have several
rows, one behind the other. Times ascend within a row.
"""
# ruff: noqa: PLR0917 - numba compiles signatures, and those are positional

import numpy as np

from data_api.chassis.jit import F64S, F64S_OUT, I64S, I64S_OUT, int64, kernel, void
from data_api.model import F64, I64, STALE_BITS

BACKWARDS, STALE = 1, 2
FEW = 16  # so many rows to each wanted series: then they are searched, not walked


@kernel(int64(I64S, int64, int64, int64))
def first_not_before(numbers: I64, low: int, high: int, wanted: int) -> int:
    """The first place in [low, high) of the ascending `numbers` with one ≥ `wanted`, or `high`."""
    while low < high:
        middle = (low + high) >> 1
        if numbers[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@kernel(int64(I64S, I64S, I64S, I64S, int64, int64, I64S_OUT, I64S_OUT, I64S_OUT))
def match(
    ids: I64,
    offsets: I64,
    times: I64,
    wanted: I64,
    first_ms: int,
    last_ms: int,
    positions: I64,
    starts: I64,
    ends: I64,
) -> int:
    """How many rows of `wanted` series (ascending ids) hold samples in [first_ms, last_ms]: of each
    the place of its series in `wanted`, and the range of those samples.
    """
    is_searched = wanted.size * FEW < ids.size
    matches = 0
    row = 0
    for position in range(wanted.size):
        series_id = wanted[position]
        if is_searched:
            row = first_not_before(ids, row, ids.size, series_id)
        else:
            while row < ids.size and ids[row] < series_id:
                row += 1
        while row < ids.size and ids[row] == series_id:
            low = offsets[row]
            high = offsets[row + 1]
            row += 1
            if low < high and times[low] < first_ms:
                low = first_not_before(times, low, high, first_ms)
            if low < high and times[high - 1] > last_ms:
                high = first_not_before(times, low, high, last_ms + 1)
            if low < high:
                positions[matches] = position
                starts[matches] = low
                ends[matches] = high
                matches += 1
    return matches


@kernel(void(I64S, I64S, I64S, I64S, int64, int64, I64S_OUT))
def mark(
    ids: I64,
    min_ms: I64,
    max_ms: I64,
    wanted: I64,
    first_ms: int,
    last_ms: int,
    present: I64,
) -> None:
    """`present` is 1 for each of `wanted` (ascending ids) with a row that reaches into
    [first_ms, last_ms]: from `min_ms` to `max_ms`, both inclusive.
    """
    row = 0
    for position in range(wanted.size):
        row = first_not_before(ids, row, ids.size, wanted[position])
        while row < ids.size and ids[row] == wanted[position]:
            if min_ms[row] <= last_ms and max_ms[row] >= first_ms:
                present[position] = 1
            row += 1


@kernel(void(I64S, I64S, I64S, F64S, I64S_OUT, F64S_OUT))
def gather(
    starts: I64, ends: I64, times: I64, values: F64, out_times: I64, out_values: F64
) -> None:
    """The samples of each range, one range behind the other."""
    at = 0
    for place in range(starts.size):
        for sample in range(starts[place], ends[place]):
            out_times[at] = times[sample]
            out_values[at] = values[sample]
            at += 1


@kernel(int64(I64S, I64S, I64S, I64S, I64S, I64S, I64S, I64S_OUT, I64S_OUT, I64S_OUT))
def scatter(
    positions: I64,
    starts: I64,
    counts: I64,
    times: I64,
    bits: I64,
    places: I64,
    offsets: I64,
    cursors: I64,
    out_times: I64,
    out_bits: I64,
) -> int:
    """Each range of samples is copied behind those that its series has. BACKWARDS where one is not
    later than the one before, plus STALE where one is a stale marker. places: the row of `out` of
    each position, -1 where it is left out.
    """
    # Without a branch in the loop, which is then one of vectors.
    backwards = False
    stale = False
    for which in range(positions.size):
        row = places[positions[which]]
        if row < 0:
            continue
        cursor = cursors[row]
        start = starts[which]
        count = counts[which]
        if cursor > offsets[row] and times[start] <= out_times[cursor - 1]:
            backwards = True
        for sample in range(count):
            out_times[cursor + sample] = times[start + sample]
            out_bits[cursor + sample] = bits[start + sample]
        for sample in range(start + 1, start + count):
            backwards |= times[sample] <= times[sample - 1]
        for sample in range(start, start + count):
            stale |= bits[sample] == STALE_BITS
        cursors[row] = cursor + count
    return BACKWARDS * backwards + STALE * stale


@kernel(void(I64S_OUT, I64S_OUT, int64, int64, I64S_OUT, I64S_OUT, I64S_OUT))
def sort_row(
    times: I64, bits: I64, first: int, last: int, runs: I64, other_times: I64, other_bits: I64
) -> None:
    """``first:last`` ascends by time; equal times stay in their order. A natural merge sort: the
    row is a few runs, one of each source, that ascend already.

    runs, other_times, other_bits: as long as the row at least, `runs` by one more.
    """
    while True:
        count = 0
        for i in range(first, last):
            if i == first or times[i] < times[i - 1]:
                runs[count] = i
                count += 1
        runs[count] = last
        if count < 2:
            return
        at = 0
        for run in range(0, count, 2):
            left = runs[run]
            middle = runs[run + 1]
            right = middle
            end = runs[run + 2] if run + 1 < count else middle
            while left < middle or right < end:
                if right >= end or (left < middle and times[left] <= times[right]):
                    source = left
                    left += 1
                else:
                    source = right
                    right += 1
                other_times[at] = times[source]
                other_bits[at] = bits[source]
                at += 1
        for i in range(at):
            times[first + i] = other_times[i]
            bits[first + i] = other_bits[i]


@kernel(void(I64S, I64S_OUT, I64S_OUT, I64S_OUT))
def sort_rows(offsets: I64, times: I64, bits: I64, new_offsets: I64) -> None:
    """Times strictly ascend in each row: of one time the last value stays, a stale marker only
    where there is no value. Rows move together; `new_offsets` says where they are then.
    """
    longest = 0
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    runs = np.empty(longest + 1, np.int64)
    other_times = np.empty(longest, np.int64)
    other_bits = np.empty(longest, np.int64)
    at = 0
    new_offsets[0] = 0
    for row in range(offsets.size - 1):
        sort_row(times, bits, offsets[row], offsets[row + 1], runs, other_times, other_bits)
        start = at
        for i in range(offsets[row], offsets[row + 1]):
            if at > start and times[at - 1] == times[i]:
                if bits[i] != STALE_BITS:
                    bits[at - 1] = bits[i]
                continue
            times[at] = times[i]
            bits[at] = bits[i]
            at += 1
        new_offsets[row + 1] = at
