"""Arrival order to block order: the one sort, for compacting batches and for merging blocks."""

from typing import Final

import numpy as np

from data_ingest.histograms import NO_MESSAGES, Messages
from data_ingest.kernels import chunks
from data_ingest.model import F64, I64
from data_ingest.store.block import SortedSamples

SPARSE: Final = 4
"""Ids spread over this many times the samples or more are numbered anew before the sort."""


def sort_and_deduplicate(
    series_ids: I64, timestamps_ms: I64, values: F64, histograms: Messages = NO_MESSAGES
) -> SortedSamples:
    """Samples by series and time; of one (series, timestamp) the last arrived wins, bit for bit.

    A value wins over a stale marker whichever came last (docs/adr/0018-usage-and-retention.md).

    The first three arrays are (n,), in arrival order; n may be 0. O(n), but n log n within a series
    whose samples are out of order.
    """
    n = series_ids.size
    if n == 0:
        empty = np.empty(0, np.int64)
        return SortedSamples(empty, np.zeros(1, np.int64), empty, np.empty(0, np.float64))
    codes, ids = _codes(series_ids)
    bits = np.ascontiguousarray(values).view(np.uint64)
    starts = np.empty(ids.size + 1, np.int64)
    chunks.counting_order(codes, starts)
    times, sorted_bits = np.empty(n, np.int64), np.empty(n, np.uint64)
    ends = starts[:-1].copy()
    chunks.scatter(codes, np.ascontiguousarray(timestamps_ms), bits, ends, times, sorted_bits)
    out_starts = np.empty(ids.size + 1, np.int64)
    left = chunks.order_times_and_deduplicate(
        ends, times, sorted_bits, np.empty(n, np.int64), np.empty(n, np.uint64), out_starts
    )
    present = np.flatnonzero(np.diff(out_starts))
    return SortedSamples(
        ids[present],
        np.append(out_starts[present], left),
        times[:left],
        sorted_bits[:left].view(np.float64),
        histograms,
    )


def _codes(series_ids: I64) -> tuple[I64, I64]:
    """Small codes that ascend with the ids, and the id of each code (some may have no sample)."""
    low, high = int(series_ids.min()), int(series_ids.max())
    if high - low < SPARSE * series_ids.size:
        return series_ids - low, np.arange(low, high + 1, dtype=np.int64)
    ids, codes = np.unique(series_ids, return_inverse=True)
    return codes.astype(np.int64), ids
