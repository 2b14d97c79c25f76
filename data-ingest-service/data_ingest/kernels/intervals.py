"""One sample a series and interval: a hash table by series, open addressing as in `table`.

    row (3 x int64):  series id (0 = empty) │ newest interval that has its sample │ bits

Bit i of `bits` says whether the interval `newest - i` has its sample; without any bit all samples
of the series are stored.
"""

import numpy as np

from data_ingest.chassis.jit import BYTES_OUT, I64_ROWS, I64_ROWS_OUT, I64S, inlined, int64, kernel
from data_ingest.model import I64, U8

INTERVALS = 64


@inlined
def place(rows: I64, series_id: int) -> int:
    """The row of the series, or the empty one where it would be."""
    mask = rows.shape[0] - 1
    at: int = series_id & mask
    while rows[at, 0] != 0 and rows[at, 0] != series_id:
        at = (at + 1) & mask
    return at


@kernel(int64(I64_ROWS, I64S, BYTES_OUT))
def unseen(rows: I64, series_ids: I64, is_unseen: U8) -> int:
    """How many samples are of series without a row; `is_unseen` says which."""
    count = 0
    for i in range(series_ids.size):
        is_unseen[i] = rows[place(rows, series_ids[i]), 0] == 0
        count += is_unseen[i]
    return count


@kernel(int64(I64_ROWS_OUT, I64_ROWS))
def insert(rows: I64, more: I64) -> int:
    """How many rows became used; `more` has rows, an older one of the same series is replaced.

    At least one row must stay empty, or the loop does not end.
    """
    inserted = 0
    for i in range(more.shape[0]):
        at = place(rows, more[i, 0])
        if rows[at, 0] == 0:
            inserted += 1
        for j in range(3):
            rows[at, j] = more[i, j]
    return inserted


@kernel(int64(I64_ROWS_OUT, I64S, I64S, int64, BYTES_OUT))
def lower(rows: I64, series_ids: I64, timestamps_ms: I64, interval_ms: int, keep: U8) -> int:
    """How many samples are to be stored; `keep` says which: the first of each interval to come.

    Every series has a row. Intervals begin at multiples of `interval_ms` since the epoch; what is
    INTERVALS or more before the newest is not stored.
    """
    count = 0
    for i in range(series_ids.size):
        at = place(rows, series_ids[i])
        interval = timestamps_ms[i] // interval_ms
        newer, bits = interval - rows[at, 1], rows[at, 2]
        if newer > 0:
            rows[at, 1] = interval
        if bits == 0:
            keep[i] = 1
        elif newer > 0:
            rows[at, 2] = 1 if newer >= INTERVALS else (bits << newer) | 1
            keep[i] = 1
        elif newer > -INTERVALS and (bits >> -newer) & 1 == 0:
            rows[at, 2] = bits | (np.int64(1) << -newer)
            keep[i] = 1
        else:
            keep[i] = 0
        count += keep[i]
    return count


@kernel(int64(I64_ROWS_OUT, I64S))
def forget(rows: I64, series_ids: I64) -> int:
    """No interval of these series has its sample; how many samples were of series with a row."""
    count = 0
    for i in range(series_ids.size):
        at = place(rows, series_ids[i])
        if rows[at, 0] != 0:
            count += 1
            if rows[at, 2] != 0:
                rows[at, 1], rows[at, 2] = -1, 1
    return count
