"""When a block has samples of which series, without reading a value; and lists of its columns.

    statistics ──▶ row groups in a span ──▶ chunks (series, first, last) ──▶ timestamps

Source: docs/formats/block.md.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from data_ingest.chassis.checked import CorruptObject, Digest, parquet_file, read_tail
from data_ingest.errors import BadPayload
from data_ingest.kernels import chunks
from data_ingest.model import I64

KEYS: Final = ("series_id", "min_ts", "max_ts")
_SINCE_2: Final = ("samples", "step_ms", "jitter")


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks by series, then time: which series, the first and the last timestamp, the row group;
    each (c,).
    """

    series_ids: I64
    first_ms: I64
    last_ms: I64
    groups: I64


@dataclass(frozen=True, slots=True)
class Times:
    """Timestamps row by row: row i, of `series_ids[i]`, owns [starts[i], starts[i + 1])."""

    series_ids: I64
    starts: I64
    timestamps_ms: I64


class BlockTimes:
    """One block, open for reading. Every call may raise `BadPayload`."""

    def __init__(self, source: Any, tail_sha256: Digest | None) -> None:
        with _translated():
            tail = read_tail(source, tail_sha256)
            self._metadata = tail.metadata
            self._parquet = parquet_file(source, tail, pre_buffer=True)
            self._is_first_version = "timestamps" in self._parquet.schema_arrow.names

    def chunks(self, first_ms: int, last_ms: int) -> Chunks:
        """The chunks that reach into [first_ms, last_ms]."""
        groups = [
            group
            for group in range(self._metadata.num_row_groups)
            if self._bound(group, 1, "min") <= last_ms and self._bound(group, 2, "max") >= first_ms
        ]
        columns = self._read(groups, KEYS)
        series_ids, first, last = [columns.column(name).to_numpy() for name in KEYS]
        rows = [self._metadata.row_group(group).num_rows for group in groups]
        in_groups = np.repeat(np.array(groups, np.int64), rows)
        reach = np.flatnonzero((first <= last_ms) & (last >= first_ms))
        return Chunks(series_ids[reach], first[reach], last[reach], in_groups[reach])

    def samples(self, group: int) -> int:
        """How many samples the row group has."""
        if self._is_first_version:
            return int(self._metadata.row_group(group).column(len(KEYS)).num_values)
        return int(self._read([group], ["samples"]).column(0).to_numpy().sum())

    def times(self, group: int) -> Times:
        """All timestamps of a row group."""
        columns = ["timestamps"] if self._is_first_version else ["min_ts", *_SINCE_2]
        rows = self._read([group], ["series_id", *columns]).combine_chunks().to_batches()[0]
        return Times(rows["series_id"].to_numpy(), *times_of(rows))

    def _bound(self, group: int, column: int, end: str) -> int:
        statistics = self._metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_min_max:
            return -(2**63) if end == "min" else 2**63 - 1
        return int(getattr(statistics, end))

    def _read(self, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
        with _translated():
            return self._parquet.read_row_groups(
                list(groups), columns=list(columns), use_threads=False
            )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except CorruptObject as exc:
        raise BadPayload(**exc.facts) from exc
    except (pa.ArrowException, KeyError) as exc:
        raise BadPayload(detail=str(exc)) from exc


def times_of(rows: pa.RecordBatch) -> tuple[I64, I64]:
    """Where the chunks start, with the end of the last, (c + 1,); and their timestamps, (n,)."""
    if "timestamps" in rows.schema.names:  # version 1
        lists: pa.ListArray = rows["timestamps"]
        starts = lists.offsets.to_numpy().astype(np.int64)
        return starts - starts[0], lists.flatten().to_numpy()
    lengths = rows["samples"].to_numpy()
    if lengths.min() < 1:
        raise BadPayload(detail="a chunk without samples")
    starts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    is_regular = rows["jitter"].is_null().to_numpy(zero_copy_only=False)
    jitter = items_of(rows, "jitter", int(lengths[~is_regular].sum()))
    timestamps_ms = np.empty(int(starts[-1]), np.int64)
    chunks.place_on_grid(
        starts, rows["min_ts"].to_numpy(), rows["step_ms"].to_numpy(), is_regular, jitter,
        timestamps_ms,
    )  # fmt: skip
    return starts, timestamps_ms


def integers_of(rows: pa.RecordBatch, lengths: I64) -> tuple[I64, I64]:
    """The base of each chunk, (c,), and the integers of all; `lengths` as they must be."""
    if "integers" in rows.schema.names:
        bases = rows["base"].fill_null(0).to_numpy(zero_copy_only=False)
        return bases, items_of(rows, "integers", int(lengths.sum()))
    integers = np.cumsum(items_of(rows, "deltas", int(lengths.sum())))  # version 1
    before = np.concatenate(([0], integers))[np.cumsum(lengths) - lengths]
    return -before, integers


def items_of(rows: pa.RecordBatch, column: str, expected: int) -> Any:
    """The items of all lists of a column, one list after another."""
    items = rows[column].flatten().to_numpy(zero_copy_only=False)
    if items.size != expected:
        raise BadPayload(
            detail="columns disagree", column=column, items=items.size, expected=expected
        )
    return items
