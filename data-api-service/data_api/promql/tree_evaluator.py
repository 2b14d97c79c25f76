"""Nodes of the tree × steps → columns; what a function computes is left to a subclass.

Each node is evaluated once for all steps of the query. A subquery evaluates its expression at steps
of its own; the result becomes samples, over which windows lie as over stored ones.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data_api.model import F64, I64, STALE_BITS, Bools, Columns, Labels, is_histogram
from data_api.native_histogram import Hint, IncompatibleBucketsError, aligned
from data_api.promql import aggregations, binary, native_operators
from data_api.promql.context import Notes
from data_api.promql.kernels import windows as kernels
from data_api.promql.native_operators import Operator
from data_api.promql.nodes import (
    SET_OPERATORS,
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
    chain,
)
from data_api.promql.numerals import format_short
from data_api.promql.query import Query, SampleCounts
from data_api.promql.selectors import resolve, subquery_times
from data_api.promql.values import Value, Vector, Windows, drop_names, drop_stale, empty, to_columns

SMOOTHED_AT_ONCE = 250_000
"""Values: some 20 MB beside the result."""


class TreeEvaluator(ABC):
    """Evaluates expressions at one set of steps."""

    def __init__(self, query: Query, steps_ms: I64) -> None:
        self.query = query
        self.steps_ms = steps_ms
        self.compares_hints = False  # whether histograms are read for their counts alone

    # --- nodes

    def evaluate(self, expr: Expr) -> Value:  # noqa: C901, PLR0911 - a case a node
        """The value of an expression at all steps."""
        self.query.budget.limits.checkpoint()
        match expr:
            case NumberLiteral():
                return np.full(self.steps_ms.size, expr.value)
            case StringLiteral():
                return expr.value
            case Paren():
                return self.evaluate(expr.expr)
            case Unary():
                return self._unary(expr)
            case Binary():
                links = chain(expr)
                value = self.evaluate(links[0].lhs)
                for link in links:
                    with self.query.budget.beside(_samples(value)):
                        value = self._binary(link, value, self.evaluate(link.rhs))
                return value
            case Aggregate():
                return self._aggregate(expr)
            case VectorSelector(edges="smoothed"):
                return self._smoothed(expr)
            case VectorSelector():
                columns, indexes = self.select(expr)
                return self.picked(columns.labels, self._values(columns, indexes), indexes)
            case MatrixSelector():
                return self._windows(expr)
            case Subquery():
                return self._subquery(expr)
            case Call():
                return self.call(expr)

    @abstractmethod
    def call(self, expr: Call) -> Value:
        """The value of a function at all steps."""

    def vector(self, expr: Expr) -> Vector:
        """The value of an expression known to be an instant vector."""
        value = self.evaluate(expr)
        assert isinstance(value, Vector)
        return value

    def windows(self, expr: Expr) -> Windows:
        """The value of an expression known to be a range vector."""
        value = self.evaluate(expr)
        assert isinstance(value, Windows)
        return value

    def scalar(self, expr: Expr) -> F64:
        """The value of an expression known to be a scalar."""
        value = self.evaluate(expr)
        assert isinstance(value, np.ndarray)
        return value

    def bounded(self, expr: Expr, what: str = "quantile") -> F64:
        """A scalar that should be in [0, 1], or of a "ratio" in [-1, 1]; warns where it is not."""
        values, low = self.scalar(expr), -1 if what == "ratio" else 0
        is_inside = (values >= low) & (values <= 1)
        if not is_inside.all():
            first = float(values[~is_inside][0])
            problem = f"{what} value should be between {low} and 1, got {format_short(first)}"
            if low:
                problem += f", capping to {1 if first > 0 else -1}"
            self.notes_at(expr).warn(problem)
        return values

    def text(self, expr: Expr) -> str:
        """The value of an expression known to be a string."""
        value = self.evaluate(expr)
        assert isinstance(value, str)
        return value

    def renamed(self, value: Vector) -> Vector:
        """A vector that is no longer the metric it came from: unnamed now, or at the end."""
        if self.query.options.delayed_name_removal:
            return replace(value, unnamed=np.ones(value.rows, np.bool_))
        return drop_names(value)

    def _unary(self, expr: Unary) -> Value:
        value = self.evaluate(expr.expr)
        if expr.op == "+":
            return value
        if isinstance(value, Vector):
            negative = value.with_values(-value.values)
            if (natives := self.query.pool.mask(value)) is not None:
                histograms = self.query.pool.of(value.values[natives])
                negative.values.view(np.int64)[natives] = [
                    self.query.pool.add(histogram.times(-1.0)) for histogram in histograms
                ]
            return self.renamed(negative)
        assert isinstance(value, np.ndarray)
        return -value

    def notes_at(self, expr: Expr) -> Notes:
        """Notes that name the place of `expr`."""
        return Notes(self.query.notes, expr.span)

    def _binary(self, expr: Binary, lhs: Value, rhs: Value) -> Value:
        natives: Operator | None = None
        if self.query.pool:
            natives = Operator(expr, self.query.pool, self.notes_at(expr))
        match lhs, rhs:
            case Vector(), Vector() if expr.op in SET_OPERATORS:
                return binary.sets(expr, lhs, rhs)
            case Vector(), Vector():
                delayed = self.query.options.delayed_name_removal
                return binary.vectors(expr, lhs, rhs, self.query.budget, natives, delayed=delayed)
            case Vector(), np.ndarray():
                result = binary.vector_scalar(expr, lhs, rhs, natives, swapped=False)
            case np.ndarray(), Vector():
                result = binary.vector_scalar(expr, rhs, lhs, natives, swapped=True)
            case np.ndarray(), np.ndarray():
                return binary.scalars(expr.op, lhs, rhs)
            case _:
                raise AssertionError(expr.op)
        return self.renamed(result) if binary.changes_meaning(expr) else result

    def _aggregate(self, expr: Aggregate) -> Vector:
        param: F64 | str | None = None
        if expr.param is not None:
            what = {"quantile": "quantile", "limit_ratio": "ratio"}.get(expr.op)
            value = self.bounded(expr.param, what) if what else self.evaluate(expr.param)
            assert isinstance(value, str | np.ndarray)
            param = value
        value = self.vector(expr.expr)
        self.query.budget.check(value.values.size)
        natives = self.query.pool.mask(value)
        if natives is None:
            return aggregations.evaluate(expr, value, param, self.query.budget)
        notes, inner = self.notes_at(expr), self.notes_at(expr.expr)
        floats = native_operators.floats_of(expr.op, value, natives, notes)
        sums = native_operators.Sums(value, natives, self.query.pool, inner)
        return aggregations.evaluate(expr, floats, param, self.query.budget, sums)

    # --- samples

    def times(self, at: int | str | None, offset_ms: int) -> I64:
        """The time at which each step reads its samples, by `@` and offset."""
        fixed = resolve(at, self.query.start_ms, self.query.end_ms)  # type: ignore[arg-type]
        if fixed is None:
            return self.steps_ms - offset_ms
        return np.full(self.steps_ms.size, fixed - offset_ms, np.int64)

    def select(self, expr: VectorSelector) -> tuple[Columns, I64]:
        """A selector's samples, and the index of each series' sample at each step, -1 for none."""
        buckets = self.query.buckets(expr)
        columns = self._samples(expr) if buckets is None else buckets.last_samples()
        times = self.times(expr.at, expr.offset_ms)
        rows = len(columns.labels)
        self.query.budget.check(rows * times.size)
        fixed = times.size > 1 and bool((times == times[0]).all())
        steps = np.ascontiguousarray(times[:1] if fixed else times)
        indexes = np.empty((rows, steps.size), np.int64)
        kernels.newest(
            columns.offsets,
            columns.timestamps_ms,
            columns.values.view(np.int64),
            steps,
            self.query.lookback_ms,
            indexes,
        )
        indexes = np.repeat(indexes, times.size, axis=1) if fixed else indexes
        self.query.counts.points(indexes)
        return columns, indexes

    @staticmethod
    def picked(labels: Sequence[Labels], values: F64, indexes: I64) -> Vector:
        """The chosen samples' values; series that show none are left out."""
        present: Bools = indexes >= 0
        is_shown = present.any(axis=1)
        if not is_shown.all():
            indexes, present = indexes[is_shown], present[is_shown]
            labels = [labels[i] for i in np.flatnonzero(is_shown).tolist()]
        if not indexes.size:
            return empty(indexes.shape[1])
        return Vector(labels, values[indexes], present, np.zeros(len(labels), np.bool_))

    def _smoothed(self, expr: VectorSelector) -> Vector:
        """A selector's samples, each moved on the line to the next; the last ones stay, and those
        that no line leads from: to the other kind, or to buckets of another kind.
        """
        columns, places = self.select(expr)
        times = self.times(expr.at, expr.offset_ms)
        present = places >= 0
        if not present.any():
            return empty(times.size)
        values = np.empty(places.shape)
        rows_at_once = max(1, SMOOTHED_AT_ONCE // times.size)
        for first in range(0, len(values), rows_at_once):
            self.query.budget.limits.checkpoint()
            rows = slice(first, first + rows_at_once)
            values[rows] = self._moved(columns, places[rows], columns.offsets[1:][rows], times)
        labels = columns.labels
        return Vector(labels, values, present, np.zeros(len(labels), np.bool_)).compact()

    def _moved(self, columns: Columns, places: I64, row_ends: I64, times: I64) -> F64:
        """Of some rows, whose samples end at `row_ends`, what `_smoothed` says."""
        present = places >= 0
        after = np.minimum(places + 1, columns.samples - 1)
        gap_ms = columns.timestamps_ms[after] - columns.timestamps_ms[places]
        has_next = present & (places + 1 < row_ends[:, np.newaxis])
        has_next &= columns.timestamps_ms[after] <= times + self.query.lookback_ms
        has_next &= columns.values.view(np.int64)[after] != STALE_BITS
        share = (times - columns.timestamps_ms[places]) / np.where(has_next, gap_ms, 1)
        first, second = columns.values[places], columns.values[after]
        values: F64 = np.where(has_next, first + (second - first) * share, first)
        if pool := self.query.pool:
            from_native, to_native = is_histogram(first), is_histogram(second)
            values = np.where(from_native | to_native, first, values)
            bits = values.view(np.int64)
            for row, step in np.argwhere(from_native & to_native & has_next).tolist():
                with contextlib.suppress(IncompatibleBucketsError):
                    both = aligned(pool.of(np.array([first[row, step], second[row, step]])))
                    moved = both.rows[0] + (both.rows[1] - both.rows[0]) * share[row, step]
                    bits[row, step] = pool.add(both.histogram(moved, Hint.GAUGE))
        return values

    def _windows(self, expr: MatrixSelector) -> Windows:
        columns = drop_stale(self._samples(expr.selector))
        columns = replace(columns, values=self._values(columns))
        ends = self.times(expr.selector.at, expr.selector.offset_ms)
        self.query.counts.windows(columns.timestamps_ms, ends, expr.range_ms)
        named = np.zeros(len(columns.labels), np.bool_)
        edges = expr.selector.edges or ""
        return Windows(columns, ends, expr.range_ms, named, edges, self.query.lookback_ms)

    def _values(self, columns: Columns, places: I64 | None = None) -> F64:
        """The columns' values; where hints are compared, those at `places`, or all, have them."""
        if not (self.compares_hints and self.query.pool):
            return columns.values
        places = np.arange(columns.samples) if places is None else places
        return self.query.pool.compared(columns, places)

    def _samples(self, expr: VectorSelector) -> Columns:
        loaded = self.query.samples[expr.span.start]
        assert isinstance(loaded, Columns)
        return loaded

    def _subquery(self, expr: Subquery) -> Windows:
        ends = self.times(expr.at, 0)
        first_ms, last_ms, step_ms = subquery_times(int(ends.min()), int(ends.max()), expr)
        ends = ends - expr.offset_ms
        if first_ms > last_ms:
            return Windows(Columns.empty(), ends, expr.range_ms, np.zeros(0, np.bool_))
        self.query.budget.check((last_ms - first_ms) // step_ms + 1)
        steps = np.arange(first_ms, last_ms + 1, step_ms, dtype=np.int64)
        query = replace(self.query, counts=SampleCounts())
        inner = type(self)(query, steps).vector(expr.expr).compact()
        self.query.budget.check(inner.values.size)
        columns = self.query.pool.apart(to_columns(inner, steps))
        self.query.counts.windows(columns.timestamps_ms, ends, expr.range_ms)
        return Windows(columns, ends, expr.range_ms, inner.unnamed)


def _samples(value: Value) -> int:
    """How many samples a value holds."""
    match value:
        case Vector():
            return value.values.size
        case Windows():
            return value.columns.samples
        case _:
            return len(value)
