"""Columns of samples to and from the byte planes of a batch payload (docs/formats/batch.md)."""

import numpy as np

from data_ingest.chassis.jit import BYTES, BYTES_OUT, I64S, I64S_OUT, U64S, U64S_OUT, kernel, void
from data_ingest.model import I64, U8, U64


@kernel(void(I64S, I64S, U64S, BYTES_OUT))
def shuffle(series_ids: I64, timestamps_ms: I64, value_bits: U64, out: U8) -> None:
    """`out` holds the raw body: three byte-shuffled columns, the first two as zigzag deltas.

    out: 24 n bytes, that is 8 planes of n bytes for each column.
    """
    n = series_ids.size
    previous_id = np.int64(0)
    previous_ms = np.int64(0)
    for i in range(n):
        delta = series_ids[i] - previous_id
        previous_id = series_ids[i]
        ids = np.uint64((delta << np.int64(1)) ^ (delta >> np.int64(63)))
        delta = timestamps_ms[i] - previous_ms
        previous_ms = timestamps_ms[i]
        times = np.uint64((delta << np.int64(1)) ^ (delta >> np.int64(63)))
        bits = value_bits[i]
        for plane in range(8):
            shift = np.uint64(8 * plane)
            out[plane * n + i] = np.uint8((ids >> shift) & np.uint64(255))
            out[(8 + plane) * n + i] = np.uint8((times >> shift) & np.uint64(255))
            out[(16 + plane) * n + i] = np.uint8((bits >> shift) & np.uint64(255))


@kernel(void(BYTES, I64S_OUT, I64S_OUT, U64S_OUT))
def unshuffle(raw: U8, series_ids: I64, timestamps_ms: I64, value_bits: U64) -> None:
    """The three columns of a raw body of 24 n bytes; the outputs are (n,)."""
    n = series_ids.size
    previous_id = np.int64(0)
    previous_ms = np.int64(0)
    for i in range(n):
        ids = np.uint64(0)
        times = np.uint64(0)
        bits = np.uint64(0)
        for plane in range(8):
            shift = np.uint64(8 * plane)
            ids |= np.uint64(raw[plane * n + i]) << shift
            times |= np.uint64(raw[(8 + plane) * n + i]) << shift
            bits |= np.uint64(raw[(16 + plane) * n + i]) << shift
        previous_id += np.int64(ids >> np.uint64(1)) ^ -np.int64(ids & np.uint64(1))
        previous_ms += np.int64(times >> np.uint64(1)) ^ -np.int64(times & np.uint64(1))
        series_ids[i] = previous_id
        timestamps_ms[i] = previous_ms
        value_bits[i] = bits
