"""Calls × steps → columns: which function gets which arguments; other modules compute."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np

from data_api.model import F64
from data_api.native_histogram import Histogram
from data_api.promql import (
    classic_histogram,
    info_function,
    label_functions,
    native_histogram_functions,
    native_windows,
    range_functions,
    rollup_functions,
    vector_functions,
)
from data_api.promql.errors import EvaluationError
from data_api.promql.functions import FUNCTIONS, ValueType
from data_api.promql.native_operators import CELLS_A_CHECKPOINT
from data_api.promql.nodes import (
    Aggregate,
    Call,
    Expr,
    MatrixSelector,
    VectorSelector,
    info_selector,
    unwrap,
)
from data_api.promql.numerals import format_value
from data_api.promql.rollup_functions import BucketWindows
from data_api.promql.tree_evaluator import TreeEvaluator
from data_api.promql.values import (
    Value,
    Vector,
    Windows,
    checked,
    empty,
    merge_equal,
    one_row,
    stacked,
)

SORTS = frozenset({"sort", "sort_desc", "sort_by_label", "sort_by_label_desc"})


class Evaluator(TreeEvaluator):
    """Evaluates whole expressions, calls included."""

    def call(self, expr: Call) -> Value:
        """The value of a function at all steps. Raises EvaluationError."""
        name = expr.name
        if not FUNCTIONS[name].supported:
            raise EvaluationError(reason=f"function {name}() is experimental and not supported")
        if name in range_functions.NAMES:
            return self._range_function(expr)
        if name in vector_functions.ELEMENTWISE:
            value = self.floats(expr.args[0])
            function = vector_functions.ELEMENTWISE[name]
            return self.renamed(value.with_values(function(value.values)))
        if name in vector_functions.CALENDAR:
            value = self.floats(expr.args[0]) if expr.args else one_row(self._now())
            return self.renamed(value.with_values(vector_functions.calendar(name, value.values)))
        if name in SORTS:
            return self._sorted(expr)
        if name.startswith("histogram_"):
            return self._histogram(expr)
        return self._OTHERS[name](self, expr)

    def floats(self, expr: Expr) -> Vector:
        """The samples of an instant vector that are floats."""
        return self.query.pool.floats(self.vector(expr))

    def _now(self) -> F64:
        return self.steps_ms / 1000.0

    def _constant(self, value: float) -> F64:
        return np.full(self.steps_ms.size, value)

    def _range_function(self, expr: Call) -> Vector:
        result = self._of_buckets(expr)
        if result is None:
            result = self._of_samples(expr)
        for metric in range_functions.suspicious_counters(expr, result):
            self.notes_at(expr.args[0]).info(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "
                f'"{metric}"'
            )
        return result if expr.name in range_functions.KEEP_NAME else self.renamed(result)

    def _of_buckets(self, expr: Call) -> Vector | None:
        """None where samples were loaded."""
        windows = expr.args[0]
        if not isinstance(windows, MatrixSelector):
            return None
        buckets = self.query.buckets(windows.selector)
        if buckets is None:
            return None
        self.query.budget.check(len(buckets.labels) * self.steps_ms.size)
        ends = self.times(windows.selector.at, windows.selector.offset_ms)
        self.query.counts.windows(buckets.columns["end_ms"], ends, windows.range_ms)
        bucket_windows = BucketWindows(buckets, ends, windows.range_ms, self.steps_ms)
        return rollup_functions.evaluate(expr.name, bucket_windows).compact()

    def _of_samples(self, expr: Call) -> Vector:
        windows: Windows | None = None
        scalars: list[F64] = []
        for arg in expr.args:
            if arg.value_type is ValueType.SCALAR:
                is_quantile = expr.name == "quantile_over_time"
                scalars.append(self.bounded(arg) if is_quantile else self.scalar(arg))
            else:
                windows, notes = self.windows(arg), self.notes_at(arg)
        assert windows is not None
        self.query.budget.check(len(windows.columns.labels) * self.steps_ms.size)
        pool = self.query.pool
        return range_functions.evaluate(
            expr.name,
            windows,
            scalars,
            self.steps_ms,
            (pool, notes) if pool else None,
        ).compact()

    def _sorted(self, expr: Call) -> Vector:
        by_value = expr.name in {"sort", "sort_desc"}
        value = self.floats(expr.args[0]) if by_value else self.vector(expr.args[0])
        if not self.query.instant:
            self.notes_at(expr).warn(
                "sort is ineffective for range queries since results are always ordered by labels"
            )
            return value
        descending = expr.name.endswith("_desc")
        if by_value:
            if self.steps_ms.size != 1:
                return value
            return label_functions.sort_by_value(value.compact(), descending=descending)
        names = [self.text(arg) for arg in expr.args[1:]]
        return label_functions.sort_by_label(value, names, descending=descending)

    def _histogram(self, expr: Call) -> Vector:
        match expr.name:
            case "histogram_quantile":
                q = self.bounded(expr.args[0])
                return self._classic(expr, self.vector(expr.args[1]), q, None)
            case "histogram_fraction":
                low, high = self.scalar(expr.args[0]), self.scalar(expr.args[1])
                return self._classic(expr, self.vector(expr.args[2]), low, high)
            case "histogram_quantiles":
                return self._quantiles(expr)
            case _:
                part, inner = native_histogram_functions.PARTS[expr.name], unwrap(expr.args[0])
                is_of_samples = (
                    isinstance(inner, Aggregate) and isinstance(unwrap(inner.expr), VectorSelector)
                ) or (isinstance(inner, Call) and inner.name in native_windows.SUMS)
                is_count = expr.name in native_histogram_functions.COUNTS
                self.compares_hints = is_count and is_of_samples
                value = self.vector(inner)
                self.compares_hints = False
                return self.renamed(self._of_natives(value, lambda histogram, _: part(histogram)))

    def _of_natives(self, value: Vector, function: Callable[[Histogram, int], float]) -> Vector:
        """What `function` makes of each histogram and its step; floats are left out."""
        natives = self.query.pool.mask(value)
        if natives is None:
            return empty(self.steps_ms.size)
        values = np.zeros(value.values.shape)
        cells = checked(np.argwhere(natives).tolist(), CELLS_A_CHECKPOINT)
        histograms = self.query.pool.of(value.values[natives])
        for (row, step), one in zip(cells, histograms, strict=True):
            values[row, step] = function(one, step)
        return replace(value, values=values, present=natives).compact()

    def _classic(self, expr: Call, value: Vector, first: F64, second: F64 | None) -> Vector:
        """Quantile `first`, or the share between both, of classic and of native histograms."""
        notes = self.notes_at(next(a for a in expr.args if a.value_type is ValueType.VECTOR))
        floats = self.query.pool.floats(value)
        classic = classic_histogram.classic(floats, first, second, expr.name, notes)

        def one(histogram: Histogram, step: int) -> float:
            if second is None:
                return native_histogram_functions.quantile(first[step], histogram, notes.info)
            return native_histogram_functions.fraction(
                first[step], second[step], histogram, notes.info
            )

        natives = self._of_natives(value, one)
        if natives.rows:
            classic = classic_histogram.joined(classic, natives, notes)
        return self.renamed(classic)

    def _quantiles(self, expr: Call) -> Vector:
        """One row a quantile; the second argument names the label that says which."""
        value = self.vector(expr.args[0])
        label = self.text(expr.args[1])
        if any(label in labels for labels in value.labels):
            raise EvaluationError(
                reason=f'label "{label}" of histogram_quantiles() exists in its input already'
            )
        parts: list[Vector] = []
        kept_values = 0
        for arg in expr.args[2:]:
            q = self.bounded(arg)
            part = self._classic(expr, value, q, None)
            name, budget = _quantile_label(float(q[0])), self.query.budget
            labels = [label_functions.with_label(old, label, name, budget) for old in part.labels]
            parts.append(replace(part, labels=labels))
            kept_values += part.values.size
            budget.check(value.values.size + 2 * kept_values)
        return merge_equal(stacked(parts))

    def _scalar_of(self, expr: Call) -> F64:
        """The only float at each step, NaN where there is none or several."""
        value = self.floats(expr.args[0])
        single = value.present.sum(axis=0) == 1
        only: F64 = np.where(value.present, value.values, 0).sum(axis=0)
        return np.where(single, only, np.nan)

    def _timestamp(self, expr: Call) -> Vector:
        """When a selector's samples are from; anything computed is from its step."""
        inner = unwrap(expr.args[0])
        if isinstance(inner, VectorSelector):
            columns, indexes = self.select(inner)
            seconds = columns.timestamps_ms / 1000.0
            return self.renamed(self.picked(columns.labels, seconds, indexes))
        value = self.vector(inner)
        now = np.broadcast_to(self._now(), value.values.shape)
        return self.renamed(value.with_values(now))

    def _round(self, expr: Call) -> Vector:
        value = self.floats(expr.args[0])
        nearest = self.scalar(expr.args[1]) if len(expr.args) > 1 else self._constant(1.0)
        return self.renamed(value.with_values(vector_functions.round_to(value.values, nearest)))

    def _clamp(self, expr: Call) -> Vector:
        value = self.floats(expr.args[0])
        bounded_below = expr.name != "clamp_max"
        bounded_above = expr.name != "clamp_min"
        low = self.scalar(expr.args[1]) if bounded_below else self._constant(-np.inf)
        high = self.scalar(expr.args[-1]) if bounded_above else self._constant(np.inf)
        return self.renamed(vector_functions.clamp(value, low, high))

    def _absent_over_time(self, expr: Call) -> Vector:
        windows = self.evaluate(expr.args[0])
        assert isinstance(windows, Windows)
        seen = range_functions.evaluate("present_over_time", windows, [], self.steps_ms)
        return label_functions.absent(seen, expr.args[0], self.query.budget)

    def _label_replace(self, expr: Call) -> Vector:
        value, texts = self.vector(expr.args[0]), map(self.text, expr.args[1:])
        return label_functions.label_replace(self.query.budget, value, *texts)

    def _label_join(self, expr: Call) -> Vector:
        value, texts = self.vector(expr.args[0]), map(self.text, expr.args[1:])
        return label_functions.label_join(self.query.budget, value, *texts)

    def _info(self, expr: Call) -> Vector:
        selector = info_selector(expr)
        columns, indexes = self.select(selector)
        with self.query.budget.beside(indexes.size):
            value = self.vector(expr.args[0])
            budget = self.query.budget
            return info_function.enriched(value, columns, indexes, selector.matchers, budget)

    _OTHERS: ClassVar[dict[str, Callable[["Evaluator", Call], Value]]] = {
        "absent": lambda self, expr: label_functions.absent(
            self.vector(expr.args[0]), expr.args[0], self.query.budget
        ),
        "absent_over_time": _absent_over_time,
        "clamp": _clamp,
        "clamp_max": _clamp,
        "clamp_min": _clamp,
        "end": lambda self, _: self._constant(self.query.end_ms / 1000),
        "info": _info,
        "label_join": _label_join,
        "label_replace": _label_replace,
        "max_of": lambda self, expr: np.maximum(*map(self.scalar, expr.args)),
        "min_of": lambda self, expr: np.minimum(*map(self.scalar, expr.args)),
        "pi": lambda self, _: self._constant(np.pi),
        "range": lambda self, _: self._constant((self.query.end_ms - self.query.start_ms) / 1000),
        "round": _round,
        "scalar": _scalar_of,
        "start": lambda self, _: self._constant(self.query.start_ms / 1000),
        "step": lambda self, _: self._constant(
            0.0 if self.query.instant else self.query.step_ms / 1000
        ),
        "time": lambda self, _: self._now(),
        "timestamp": _timestamp,
        "vector": lambda self, expr: one_row(self.scalar(expr.args[0])),
    }


def _quantile_label(q: float) -> str:
    text = format_value(q)
    return f"{text}.0" if text.lstrip("-").isdigit() else text
