"""Rollups: Parquet objects of buckets, of which only the columns that matter are read.

Format: docs/formats/rollup.md, version 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from prometheus_client import Counter

from data_api.chassis.checked import Tail, parquet_file, read_tail
from data_api.chassis.objects import Bucket, Directory
from data_api.errors import CorruptData
from data_api.model import I64, Bools
from data_api.store.block import BlockRef, translated_errors
from data_api.store.buckets import Arrays, Grid, Part
from data_api.store.cache import ByteCache

FORMAT: Final = b"rollup/1"
ROWS: Final = Counter("cloudopshub_rollup_rows_total", "Rows of rollups read for queries.")


@dataclass(frozen=True, slots=True)
class _Footer:
    tail: Tail
    series: I64  # (groups, 2): first and last series of each row group


@dataclass(frozen=True, slots=True)
class _Group:
    """Decoded columns of a row group."""

    columns: Arrays

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns.values())


class RollupReader:
    """Reads rollups from one object store through caches; safe from several threads."""

    def __init__(self, objects: Directory | Bucket, bytes_max: int) -> None:
        self._objects = objects
        self._footers: ByteCache[str, _Footer] = ByteCache(
            "rollup_footer",
            max(1 << 20, bytes_max // 8),
            lambda footer: footer.tail.nbytes,
        )
        self._groups: ByteCache[tuple[str, int, tuple[str, ...]], _Group] = ByteCache(
            "rollup", bytes_max, lambda group: group.nbytes
        )

    def parts(
        self, rollup: BlockRef, series_ids: I64, grid: Grid, wanted: Bools, names: tuple[str, ...]
    ) -> Iterator[Part]:
        """Its rows of `series_ids` (ascending) in the `wanted` buckets of the grid.

        Raises CorruptData, also where such a row has samples that are not rolled up.
        """
        footer = self._footers.get(rollup.object_key, lambda: self._read_footer(rollup))
        first = np.searchsorted(series_ids, footer.series[:, 0])
        is_near = np.searchsorted(series_ids, footer.series[:, 1], side="right") > first
        read = ("series_id", "end_ms", *dict.fromkeys(("count", *names)))
        for group in np.flatnonzero(is_near).tolist():
            columns = self._groups.get(
                (rollup.object_key, group, read),
                partial(self._read, rollup, footer.tail, group, read),
            ).columns
            part = _select(columns, series_ids, grid, wanted)
            if part is not None:
                ROWS.inc(part.columns["end_ms"].size)
                yield part

    def _read_footer(self, rollup: BlockRef) -> _Footer:
        with self._objects.reading(rollup.object_key) as source, translated_errors(rollup):
            tail = read_tail(source, rollup.tail_sha256)
            if (tail.metadata.metadata or {}).get(b"cloudopshub.format") != FORMAT:
                raise CorruptData(detail="not a rollup", object=rollup.object_key)
            statistics = [
                tail.metadata.row_group(group).column(0).statistics
                for group in range(tail.metadata.num_row_groups)
            ]
            bounds = [(one.min, one.max) if one else (-(2**63), 2**63 - 1) for one in statistics]
            return _Footer(tail, np.array(bounds, np.int64).reshape(-1, 2))

    def _read(self, rollup: BlockRef, tail: Tail, group: int, names: tuple[str, ...]) -> _Group:
        with self._objects.reading(rollup.object_key) as source, translated_errors(rollup):
            table = parquet_file(source, tail, pre_buffer=True).read_row_group(
                group, columns=list(names), use_threads=False
            )
            return _Group(
                {
                    name: table.column(name).combine_chunks().to_numpy(zero_copy_only=False)
                    for name in names
                }
            )


def _select(columns: Arrays, series_ids: I64, grid: Grid, wanted: Bools) -> Part | None:
    places = np.searchsorted(series_ids, columns["series_id"])
    places[places == series_ids.size] = 0
    buckets = grid.bucket(columns["end_ms"])
    is_inside = (buckets >= 0) & (buckets < grid.size)
    rows = np.flatnonzero(
        (series_ids[places] == columns["series_id"])
        & is_inside
        & wanted[np.where(is_inside, buckets, 0)]
    )
    if not rows.size:
        return None
    chosen = {name: column[rows] for name, column in columns.items()}
    if not chosen["count"].all():
        raise CorruptData(detail="histograms are not rolled up")
    positions, counts = np.unique(places[rows], return_counts=True)
    return Part(positions, counts, chosen)
