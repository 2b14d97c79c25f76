"""The lookup table of known series: open addressing, one row a key, so a hit costs one cache line.

    row (4 x uint64):  lane0 │ lane1 │ series_id (0 = empty row) │ minute it was last seen

The capacity is a power of two; a key starts at `lane0 & (capacity - 1)` and walks forward.
"""

import numpy as np

from data_ingest.chassis.jit import I64S_OUT, U64_ROWS, U64_ROWS_OUT, int64, kernel, uint64
from data_ingest.model import I64, U64


@kernel(int64(U64_ROWS_OUT, U64_ROWS_OUT, uint64, I64S_OUT))
def find(rows: U64, keys: U64, minute: np.uint64, series_ids: I64) -> int:
    """How many of `keys` are not in the table; `series_ids` has the id of each, 0 where unknown.

    Rows that were hit carry `minute` afterwards. The probes do not depend on one another, so the
    processor overlaps their cache misses; that is why this is a pass of its own after the walk.
    """
    mask = np.uint64(rows.shape[0] - 1)
    unknown = 0
    for i in range(keys.shape[0]):
        lane0 = keys[i, 0]
        lane1 = keys[i, 1]
        at = lane0 & mask
        series_id = np.int64(0)
        while rows[at, 2] != np.uint64(0):
            if rows[at, 0] == lane0 and rows[at, 1] == lane1:
                series_id = np.int64(rows[at, 2])
                if rows[at, 3] != minute:
                    rows[at, 3] = minute
                break
            at = (at + np.uint64(1)) & mask
        if series_id == 0:
            unknown += 1
        series_ids[i] = series_id
    return unknown


@kernel(int64(U64_ROWS_OUT, U64_ROWS_OUT, I64S_OUT, uint64))
def insert(rows: U64, keys: U64, series_ids: I64, minute: np.uint64) -> int:
    """How many rows became used; a key that is already there keeps its row and gets the id given.

    At least one row must stay empty, or the loop does not end.
    """
    mask = np.uint64(rows.shape[0] - 1)
    inserted = 0
    for i in range(keys.shape[0]):
        at = keys[i, 0] & mask
        while rows[at, 2] != np.uint64(0) and not (
            rows[at, 0] == keys[i, 0] and rows[at, 1] == keys[i, 1]
        ):
            at = (at + np.uint64(1)) & mask
        if rows[at, 2] == np.uint64(0):
            inserted += 1
        rows[at, 0] = keys[i, 0]
        rows[at, 1] = keys[i, 1]
        rows[at, 2] = np.uint64(series_ids[i])
        rows[at, 3] = minute
    return inserted


@kernel(int64(U64_ROWS, U64_ROWS_OUT, uint64))
def rebuild(old: U64, new: U64, since_minute: np.uint64) -> int:
    """How many rows `new` (zeroed) holds: those of `old` seen at or after `since_minute`."""
    mask = np.uint64(new.shape[0] - 1)
    copied = 0
    for i in range(old.shape[0]):
        if old[i, 2] == np.uint64(0) or old[i, 3] < since_minute:
            continue
        at = old[i, 0] & mask
        while new[at, 2] != np.uint64(0):
            at = (at + np.uint64(1)) & mask
        for j in range(4):
            new[at, j] = old[i, j]
        copied += 1
    return copied
