"""What expressions evaluate to: whole columns over all steps of the query.

    type             value          shape
    scalar           F64            (m,)
    string           str
    instant vector   Vector         (n, m) values and presence
    range vector     Windows        samples in rows, the ends of m windows

A value counts only where `present` is true; elsewhere it is unspecified. A native histogram is a
value that names one of the query's `Pool`.
"""

import contextlib
import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, Self, TypeVar

import numpy as np

from data_api.model import CHECKPOINT, F64, I64, METRIC_NAME, STALE_BITS, Bools, Columns, Labels
from data_api.promql.errors import EvaluationError

SCHEMA_LABELS = frozenset({METRIC_NAME, "__type__", "__unit__"})
"""Labels that say what a metric is; what computes another quantity drops them."""
FEW_NAMES = 16
SORTED_AT_ONCE = 4096
ROWS_AT_ONCE: Final = 1024
T = TypeVar("T")


@contextlib.contextmanager
def stopping_at(checkpoint: Callable[[], None]) -> Iterator[None]:
    """In the block every pass over label sets can be stopped by `checkpoint`."""
    token = CHECKPOINT.set(checkpoint)
    try:
        yield
    finally:
        CHECKPOINT.reset(token)


def checkpoint() -> None:
    """The query, if there is one, may be stopped here by an exception."""
    CHECKPOINT.get()()


def runs(rows: Sequence[T], size: int = ROWS_AT_ONCE) -> Iterator[Sequence[T]]:
    """The rows, `size` at a time, each time after a checkpoint."""
    for start in range(0, len(rows), size):
        checkpoint()
        yield rows[start : start + size]


def checked(rows: Sequence[T], every: int = ROWS_AT_ONCE) -> Iterator[T]:
    """The rows one by one; before each `every` of them is a checkpoint."""
    return chain.from_iterable(runs(rows, every))


@dataclass(frozen=True, slots=True)
class Vector:
    """labels: (n,); values, present: (n, m); unnamed: rows whose name is dropped at the end.

    `unnamed` is all false unless names are dropped late (`Options.delayed_name_removal`).
    """

    labels: Sequence[Labels]
    values: F64
    present: Bools
    unnamed: Bools

    @property
    def rows(self) -> int:
        """How many series."""
        return len(self.labels)

    def take(self, rows: I64 | Bools) -> Self:
        """The chosen rows, by index or by mask."""
        indexes = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return type(self)(
            [self.labels[i] for i in checked(indexes.tolist())],
            self.values[indexes],
            self.present[indexes],
            self.unnamed[indexes],
        )

    def compact(self) -> Self:
        """Without the series that have no sample left."""
        has_samples = np.asarray(self.present.any(axis=1))
        return self if has_samples.all() else self.take(has_samples)

    def with_values(self, values: F64) -> Self:
        """The same series with other values."""
        return replace(self, values=values)


@dataclass(frozen=True, slots=True)
class Windows:
    """Samples of n series and the windows ``(end - range_ms, end]`` over them, one a step.

    columns: without stale markers. unnamed: as in Vector. edges: `anchored` or `smoothed`, for
    which samples up to `reach_ms` beyond a window are looked at; else "".
    """

    columns: Columns
    ends_ms: I64
    range_ms: int
    unnamed: Bools
    edges: str = ""
    reach_ms: int = 0


Value = F64 | str | Vector | Windows


def vector(labels: Sequence[Labels], values: F64, present: Bools) -> Vector:
    """A vector that keeps the names of its rows."""
    return Vector(labels, values, present, np.zeros(len(labels), np.bool_))


def empty(steps: int) -> Vector:
    """No series."""
    return vector([], np.empty((0, steps)), np.empty((0, steps), np.bool_))


def stacked(parts: Sequence[Vector]) -> Vector:
    """The rows of all parts, one below the other."""
    return Vector(
        [labels for part in parts for labels in part.labels],
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.present for part in parts]),
        np.concatenate([part.unnamed for part in parts]),
    )


def one_row(values: F64) -> Vector:
    """A series without labels, present at every step."""
    return vector([{}], values.reshape(1, -1), np.ones((1, values.size), np.bool_))


def key(labels: Labels) -> Hashable:
    """Equal exactly when the labels are."""
    return frozenset(labels.items())


def sort_key(labels: Labels) -> list[tuple[str, str]]:
    """Orders label sets as Prometheus orders them."""
    return sorted(labels.items())


def without(labels: Labels, names: frozenset[str]) -> Labels:
    """The labels but those named; the same mapping when there is nothing to drop."""
    if names.isdisjoint(labels):
        return labels
    return {name: value for name, value in labels.items() if name not in names}


def label_keys(labels: Sequence[Labels], names: Sequence[str], *, excluded: bool) -> list[Hashable]:
    """What two series of one group have in common, by which they are grouped.

    The values of the labels `names`; with `excluded`, all labels but those and the metric name.
    """
    if not excluded and not names:
        return [()] * len(labels)
    if not excluded:
        if len(names) > FEW_NAMES:
            carried = set().union(*labels)  # what no series has tells none apart
            names = [name for name in dict.fromkeys(names) if name in carried]
        return [tuple(series.get(name, "") for name in names) for series in checked(labels)]
    ignored = frozenset(names) | {METRIC_NAME}
    return [
        frozenset(item for item in series.items() if item[0] not in ignored)
        for series in checked(labels)
    ]


def ordered(
    keys: Sequence[Any], checkpoint: Callable[[], None] = checkpoint, *, descending: bool
) -> I64:
    """Indexes of `keys` in their order; stable.

    Some thousand are sorted at once, because no other thread goes on meanwhile.
    """
    runs = []
    for start in range(0, len(keys), SORTED_AT_ONCE):
        checkpoint()
        some = range(start, min(start + SORTED_AT_ONCE, len(keys)))
        runs.append(sorted(some, key=keys.__getitem__, reverse=descending))
    merged: Iterable[int] = (
        runs[0] if len(runs) == 1 else heapq.merge(*runs, key=keys.__getitem__, reverse=descending)
    )
    return np.fromiter(merged, np.int64, len(keys))


def by_labels(labels: Sequence[Labels], checkpoint: Callable[[], None] = checkpoint) -> I64:
    """Indexes of label sets in Prometheus's order, whatever the order of each set's names."""
    # One text a set: twice as fast to compare as pairs; no stored label has a zero byte.
    keys = ["\0".join(chain.from_iterable(sorted(one.items()))) for one in checked(labels)]
    return ordered(keys, checkpoint, descending=False)


def group_rows(keys: Iterable[Hashable]) -> tuple[I64, list[int]]:
    """The group of each row, numbered in order of appearance, and each group's first row."""
    numbers: dict[Hashable, int] = {}
    firsts: list[int] = []
    groups: list[int] = []
    for row, group in enumerate(keys):
        if row % ROWS_AT_ONCE == 0:
            checkpoint()
        number = numbers.setdefault(group, len(numbers))
        if number == len(firsts):
            firsts.append(row)
        groups.append(number)
    return np.array(groups, np.int64), firsts


def merge_equal(value: Vector) -> Vector:
    """Rows with equal labels become one; an error where two have a sample at one step."""
    groups, firsts = group_rows(map(key, value.labels))
    if len(firsts) == value.rows:
        return value
    counts = np.zeros((len(firsts), value.present.shape[1]), np.int64)
    np.add.at(counts, groups, value.present)
    if (counts > 1).any():
        raise EvaluationError(reason="vector cannot contain metrics with the same labelset")
    values = np.zeros(counts.shape)
    rows, steps = np.nonzero(value.present)
    values[groups[rows], steps] = value.values[rows, steps]
    unnamed = np.zeros(len(firsts), np.bool_)
    np.logical_or.at(unnamed, groups, value.unnamed)
    return Vector([value.labels[i] for i in firsts], values, counts > 0, unnamed)


def drop_names(value: Vector) -> Vector:
    """All rows without the labels of the metric itself.

    Rows of one metric differ elsewhere, so they stay different: only several metrics can clash.
    """
    labels = [without(old, SCHEMA_LABELS) for old in checked(value.labels)]
    bare = replace(value, labels=labels, unnamed=np.zeros(value.rows, np.bool_))
    metrics = {tuple(map(old.get, SCHEMA_LABELS)) for old in checked(value.labels)}
    return bare if len(metrics) <= 1 else merge_equal(bare)


def drop_marked_names(value: Vector) -> Vector:
    """The rows marked `unnamed` without the labels of the metric itself."""
    if not value.unnamed.any():
        return value
    labels = [
        without(old, SCHEMA_LABELS) if is_marked else old
        for old, is_marked in zip(value.labels, value.unnamed, strict=True)
    ]
    return merge_equal(replace(value, labels=labels, unnamed=np.zeros(value.rows, np.bool_)))


def drop_stale(columns: Columns) -> Columns:
    """The samples that are not stale markers, which no window counts."""
    if not columns.has_stale:
        return columns
    return drop_samples(columns, columns.values.view(np.int64) == STALE_BITS)


def drop_samples(columns: Columns, is_dropped: Bools) -> Columns:
    """The samples (n,) but those; a series stays where none of its samples does."""
    if not is_dropped.any():
        return columns
    kept_before = np.concatenate(([0], np.cumsum(~is_dropped)))
    return Columns(
        columns.labels,
        kept_before[columns.offsets],
        columns.timestamps_ms[~is_dropped],
        columns.values[~is_dropped],
    )


def to_columns(value: Vector, steps_ms: I64) -> Columns:
    """A vector's samples as rows, each at its step: the samples of a subquery's windows."""
    counts = value.present.sum(axis=1)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    times = np.broadcast_to(steps_ms, value.present.shape)[value.present]
    return Columns(value.labels, offsets, times, value.values[value.present])
