"""Tree × steps → columns: which function is called with what; the functions are in modules beside.

Each node is evaluated once for all steps of the query. A subquery evaluates its inside at its own
steps, and its result is looked at through windows, like stored samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from data_api.errors import InvalidParameter
from data_api.model import (
    F64,
    I64,
    Bools,
    Columns,
    InstantVector,
    Labels,
    QueryLimits,
    RangeMatrix,
    Result,
    Scalar,
    SelectorSpan,
    String,
)
from data_api.promql import (
    aggregations,
    binary,
    histogram,
    label_functions,
    range_functions,
    vector_functions,
)
from data_api.promql.context import Annotations, Budget, Options
from data_api.promql.errors import EvaluationError, UnsupportedFeature
from data_api.promql.functions import FUNCTIONS, ValueType
from data_api.promql.kernels import windows as kernels
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
    unwrap,
)
from data_api.promql.numerals import format_value
from data_api.promql.selectors import resolve, spans, subquery_times
from data_api.promql.values import (
    Value,
    Vector,
    Windows,
    drop_marked_names,
    drop_names,
    drop_stale,
    empty,
    merge_equal,
    one_row,
    sort_key,
    to_columns,
)

SORTS = frozenset({"sort", "sort_desc", "sort_by_label", "sort_by_label_desc"})


@dataclass(slots=True)
class Query:
    """What all evaluators of one query share: its own times, its samples, its notes.

    samples: by the selector's place in the text.
    """

    start_ms: int
    end_ms: int
    step_ms: int
    lookback_ms: int
    options: Options
    samples: Mapping[int, Columns]
    notes: Annotations
    budget: Budget

    @property
    def instant(self) -> bool:
        """Whether the query asks for one time."""
        return self.start_ms == self.end_ms


def evaluate(  # noqa: PLR0917 - the package's own call, one line above
    text: str,
    expr: Expr,
    loaded: Mapping[SelectorSpan, Columns],
    start_ms: int,
    end_ms: int,
    step_ms: int,
    lookback_ms: int,
    limits: QueryLimits,
    options: Options,
    *,
    instant: bool,
) -> Result:
    """The value of `expr` at `start_ms`, … `end_ms`; `loaded` has the samples of all `spans`."""
    if not instant and expr.value_type not in {ValueType.SCALAR, ValueType.VECTOR}:
        raise InvalidParameter(
            name="query",
            reason=f'invalid expression type "{expr.value_type}" for range query, '
            "must be Scalar or instant Vector",
        )
    selector_spans = spans(expr, start_ms, end_ms, lookback_ms, options.subquery_step_ms)
    budget = Budget(limits)
    for columns in {id(loaded[span]): loaded[span] for span in selector_spans.values()}.values():
        budget.load(columns.samples)
    query = Query(
        start_ms,
        end_ms,
        step_ms,
        lookback_ms,
        options,
        {place: loaded[span] for place, span in selector_spans.items()},
        Annotations(text),
        budget,
    )
    steps_ms = np.arange(start_ms, end_ms + 1, max(step_ms, 1), dtype=np.int64)
    with np.errstate(all="ignore"):
        value = _Evaluator(query, steps_ms).evaluate(expr)
        answer = _instant(value, steps_ms) if instant else _range(value, steps_ms)
    return Result(answer, *query.notes.shown())


def _instant(value: Value, steps_ms: I64) -> Scalar | String | InstantVector | Columns:
    now_ms = int(steps_ms[0])
    match value:
        case str():
            return String(now_ms, value)
        case Vector():
            vector = drop_marked_names(value.compact())
            return InstantVector(vector.labels, now_ms, vector.values[:, 0])
        case Windows():
            return _window_samples(value)
        case _:
            return Scalar(now_ms, float(value[0]))


def _window_samples(windows: Windows) -> Columns:
    """The samples of an instant query's only window, series without one left out."""
    columns = windows.columns
    rows = np.repeat(np.arange(len(columns.labels)), np.diff(columns.offsets))
    inside = (columns.timestamps_ms > windows.ends_ms[0] - windows.range_ms) & (
        columns.timestamps_ms <= windows.ends_ms[0]
    )
    counts = np.bincount(rows[inside], minlength=len(columns.labels))
    filled = np.flatnonzero(counts)
    return Columns(
        [columns.labels[i] for i in filled.tolist()],
        np.concatenate(([0], np.cumsum(counts[filled]))).astype(np.int64),
        columns.timestamps_ms[inside],
        columns.values[inside],
    )


def _range(value: Value, steps_ms: I64) -> RangeMatrix:
    assert not isinstance(value, str | Windows)
    vector = value if isinstance(value, Vector) else one_row(value)
    vector = drop_marked_names(vector.compact())
    order = sorted(range(vector.rows), key=lambda row: sort_key(vector.labels[row]))
    vector = vector.take(np.array(order, np.int64))
    return RangeMatrix(vector.labels, steps_ms, vector.values, vector.present)


class _Evaluator:
    """Evaluates expressions at one set of steps."""

    def __init__(self, query: Query, steps_ms: I64) -> None:
        self.query = query
        self.steps_ms = steps_ms

    # --- nodes

    def evaluate(self, expr: Expr) -> Value:  # noqa: C901, PLR0911 - a case a node
        """The value of an expression at all steps."""
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
                return self._binary(expr, self.evaluate(expr.lhs), self.evaluate(expr.rhs))
            case Aggregate():
                return self._aggregate(expr)
            case VectorSelector():
                columns, indexes = self._select(expr)
                return self._picked(columns.labels, columns.values, indexes)
            case MatrixSelector():
                return self._windows(expr)
            case Subquery():
                return self._subquery(expr)
            case Call():
                return self._call(expr)

    def vector(self, expr: Expr) -> Vector:
        """The value of an expression known to be an instant vector."""
        value = self.evaluate(expr)
        assert isinstance(value, Vector)
        return value

    def scalar(self, expr: Expr) -> F64:
        """The value of an expression known to be a scalar."""
        value = self.evaluate(expr)
        assert isinstance(value, np.ndarray)
        return value

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
            return self.renamed(value.with_values(-value.values))
        assert isinstance(value, np.ndarray)
        return -value

    def _binary(self, expr: Binary, lhs: Value, rhs: Value) -> Value:
        if isinstance(lhs, Vector) and isinstance(rhs, Vector):
            if expr.op in SET_OPERATORS:
                return binary.sets(expr, lhs, rhs)
            delayed = self.query.options.delayed_name_removal
            return binary.vectors(expr, lhs, rhs, delayed=delayed, check=self.query.budget.check)
        if isinstance(lhs, Vector):
            assert isinstance(rhs, np.ndarray)
            result = binary.vector_scalar(expr, lhs, rhs, swapped=False)
        elif isinstance(rhs, Vector):
            assert isinstance(lhs, np.ndarray)
            result = binary.vector_scalar(expr, rhs, lhs, swapped=True)
        else:
            assert isinstance(lhs, np.ndarray)
            assert isinstance(rhs, np.ndarray)
            return binary.scalars(expr.op, lhs, rhs)
        return self.renamed(result) if binary.changes_meaning(expr) else result

    def _aggregate(self, expr: Aggregate) -> Vector:
        param: F64 | str | None = None
        if expr.param is not None:
            value = self.evaluate(expr.param)
            assert isinstance(value, str | np.ndarray)
            param = value
        if expr.op == "quantile":
            assert expr.param is not None
            assert isinstance(param, np.ndarray)
            if problem := range_functions.quantile_problem(param):
                self.query.notes.warn(problem, expr.param.span)
        value = self.vector(expr.expr)
        self.query.budget.check(value.values.size)
        return aggregations.evaluate(expr, value, param, self.query.budget.check)

    # --- samples

    def _times(self, at: int | str | None, offset_ms: int) -> I64:
        """The time at which each step reads its samples, by `@` and offset."""
        fixed = resolve(at, self.query.start_ms, self.query.end_ms)  # type: ignore[arg-type]
        if fixed is None:
            return self.steps_ms - offset_ms
        return np.full(self.steps_ms.size, fixed - offset_ms, np.int64)

    def _select(self, expr: VectorSelector) -> tuple[Columns, I64]:
        """A selector's samples, and the index of each series' sample at each step, -1 for none."""
        columns = self.query.samples[expr.span.start]
        times = self._times(expr.at, expr.offset_ms)
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
        return columns, np.repeat(indexes, times.size, axis=1) if fixed else indexes

    @staticmethod
    def _picked(labels: Sequence[Labels], values: F64, indexes: I64) -> Vector:
        """The chosen samples' values; series that show none are left out."""
        present: Bools = indexes >= 0
        is_shown = present.any(axis=1)
        if not is_shown.all():
            indexes, present = indexes[is_shown], present[is_shown]
            labels = [labels[i] for i in np.flatnonzero(is_shown).tolist()]
        if not indexes.size:
            return empty(indexes.shape[1])
        return Vector(labels, values[indexes], present, np.zeros(len(labels), np.bool_))

    def _windows(self, expr: MatrixSelector) -> Windows:
        columns = drop_stale(self.query.samples[expr.selector.span.start])
        ends = self._times(expr.selector.at, expr.selector.offset_ms)
        return Windows(columns, ends, expr.range_ms, np.zeros(len(columns.labels), np.bool_))

    def _subquery(self, expr: Subquery) -> Windows:
        ends = self._times(expr.at, 0)
        default_ms = self.query.options.subquery_step_ms
        first_ms, last_ms, step_ms = subquery_times(
            int(ends.min()), int(ends.max()), expr, default_ms
        )
        if first_ms > last_ms:
            return Windows(
                Columns.empty(), ends - expr.offset_ms, expr.range_ms, np.zeros(0, np.bool_)
            )
        self.query.budget.check((last_ms - first_ms) // step_ms + 1)
        steps = np.arange(first_ms, last_ms + 1, step_ms, dtype=np.int64)
        inner = _Evaluator(self.query, steps).vector(expr.expr).compact()
        self.query.budget.check(inner.values.size)
        columns = to_columns(inner, steps)
        return Windows(columns, ends - expr.offset_ms, expr.range_ms, inner.unnamed)

    # --- calls

    def _call(self, expr: Call) -> Value:
        name = expr.name
        if not FUNCTIONS[name].supported:
            raise UnsupportedFeature(reason=f"function {name}() is experimental and not supported")
        if name in range_functions.NAMES:
            return self._range_function(expr)
        if name in vector_functions.ELEMENTWISE:
            value = self.vector(expr.args[0])
            function = vector_functions.ELEMENTWISE[name]
            return self.renamed(value.with_values(function(value.values)))
        if name in vector_functions.CALENDAR:
            value = self.vector(expr.args[0]) if expr.args else one_row(self._now())
            return self.renamed(value.with_values(vector_functions.calendar(name, value.values)))
        if name in SORTS:
            return self._sorted(expr)
        if name.startswith("histogram_"):
            return self._histogram(expr)
        return self._OTHERS[name](self, expr)

    def _now(self) -> F64:
        return self.steps_ms / 1000.0

    def _constant(self, value: float) -> F64:
        return np.full(self.steps_ms.size, value)

    def _range_function(self, expr: Call) -> Vector:
        windows: Windows | None = None
        scalars: list[F64] = []
        for arg in expr.args:
            value = self.evaluate(arg)
            if isinstance(value, Windows):
                windows = value
            else:
                assert isinstance(value, np.ndarray)
                scalars.append(value)
        assert windows is not None
        if expr.name == "quantile_over_time" and (
            problem := range_functions.quantile_problem(scalars[0])
        ):
            self.query.notes.warn(problem, expr.args[0].span)
        self.query.budget.check(len(windows.columns.labels) * self.steps_ms.size)
        result = range_functions.evaluate(
            expr.name, windows, scalars, self.steps_ms, self.query.budget.limits.checkpoint
        ).compact()
        for metric in range_functions.suspicious_counters(expr, result):
            self.query.notes.info(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "
                f'"{metric}"',
                expr.args[0].span,
            )
        return result if expr.name in range_functions.KEEP_NAME else self.renamed(result)

    def _sorted(self, expr: Call) -> Vector:
        value = self.vector(expr.args[0])
        if not self.query.instant:
            self.query.notes.warn(
                "sort is ineffective for range queries since results are always ordered by labels",
                expr.span,
            )
            return value
        descending = expr.name.endswith("_desc")
        if expr.name in {"sort", "sort_desc"}:
            if self.steps_ms.size != 1:
                return value
            return label_functions.sort_by_value(value.compact(), descending=descending)
        names = [self.text(arg) for arg in expr.args[1:]]
        return label_functions.sort_by_label(value, names, descending=descending)

    def _histogram(self, expr: Call) -> Vector:
        match expr.name:
            case "histogram_quantile":
                q = self.scalar(expr.args[0])
                if problem := range_functions.quantile_problem(q):
                    self.query.notes.warn(problem, expr.args[0].span)
                return self._classic(expr, self.vector(expr.args[1]), q, None)
            case "histogram_fraction":
                low, high = self.scalar(expr.args[0]), self.scalar(expr.args[1])
                return self._classic(expr, self.vector(expr.args[2]), low, high)
            case "histogram_quantiles":
                return self._quantiles(expr)
            case _:
                # Parts of native histograms: floats have none.
                self.vector(expr.args[0])
                return empty(self.steps_ms.size)

    def _classic(self, expr: Call, value: Vector, first: F64, second: F64 | None) -> Vector:
        notes = self.query.notes
        vector_arg = next(a for a in expr.args if a.value_type is ValueType.VECTOR)
        result = histogram.classic(
            value,
            first,
            second,
            function=expr.name,
            warn=lambda message: notes.warn(message, vector_arg.span),
            info=lambda message: notes.info(message, vector_arg.span),
        )
        return self.renamed(result)

    def _quantiles(self, expr: Call) -> Vector:
        """One row a quantile; the second argument names the label that says which."""
        value = self.vector(expr.args[0])
        label = self.text(expr.args[1])
        if any(label in labels for labels in value.labels):
            raise EvaluationError(
                reason=f'label "{label}" of histogram_quantiles() exists in its input already'
            )
        parts: list[Vector] = []
        for arg in expr.args[2:]:
            q = self.scalar(arg)
            if problem := range_functions.quantile_problem(q):
                self.query.notes.warn(problem, arg.span)
            part = self._classic(expr, value, q, None)
            name = _quantile_label(float(q[0]))
            parts.append(replace(part, labels=[{**labels, label: name} for labels in part.labels]))
        joined = Vector(
            [labels for part in parts for labels in part.labels],
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.present for part in parts]),
            np.concatenate([part.unnamed for part in parts]),
        )
        return merge_equal(joined)

    def _scalar_of(self, expr: Call) -> F64:
        """The only sample's value at each step, NaN where there is none or several."""
        value = self.vector(expr.args[0])
        single = value.present.sum(axis=0) == 1
        only: F64 = np.where(value.present, value.values, 0).sum(axis=0)
        return np.where(single, only, np.nan)

    def _timestamp(self, expr: Call) -> Vector:
        """When a selector's samples are from; anything computed is from its step."""
        inner = unwrap(expr.args[0])
        if isinstance(inner, VectorSelector):
            columns, indexes = self._select(inner)
            seconds = columns.timestamps_ms / 1000.0
            return self.renamed(self._picked(columns.labels, seconds, indexes))
        value = self.vector(inner)
        now = np.broadcast_to(self._now(), value.values.shape)
        return self.renamed(value.with_values(now))

    def _round(self, expr: Call) -> Vector:
        value = self.vector(expr.args[0])
        nearest = self.scalar(expr.args[1]) if len(expr.args) > 1 else self._constant(1.0)
        return self.renamed(value.with_values(vector_functions.round_to(value.values, nearest)))

    def _clamp(self, expr: Call) -> Vector:
        value = self.vector(expr.args[0])
        bounded_below = expr.name != "clamp_max"
        bounded_above = expr.name != "clamp_min"
        low = self.scalar(expr.args[1]) if bounded_below else self._constant(-np.inf)
        high = self.scalar(expr.args[-1]) if bounded_above else self._constant(np.inf)
        return self.renamed(vector_functions.clamp(value, low, high))

    def _absent_over_time(self, expr: Call) -> Vector:
        windows = self.evaluate(expr.args[0])
        assert isinstance(windows, Windows)
        seen = range_functions.evaluate(
            "present_over_time", windows, [], self.steps_ms, self.query.budget.limits.checkpoint
        )
        return label_functions.absent(seen, expr.args[0])

    def _label_replace(self, expr: Call) -> Vector:
        destination, replacement, source, pattern = (self.text(arg) for arg in expr.args[1:])
        return label_functions.label_replace(
            self.vector(expr.args[0]), destination, replacement, source, pattern
        )

    def _label_join(self, expr: Call) -> Vector:
        destination, separator, *sources = (self.text(arg) for arg in expr.args[1:])
        return label_functions.label_join(
            self.vector(expr.args[0]), destination, separator, sources
        )

    _OTHERS: ClassVar[dict[str, Callable[["_Evaluator", Call], Value]]] = {
        "absent": lambda self, expr: label_functions.absent(
            self.vector(expr.args[0]), expr.args[0]
        ),
        "absent_over_time": _absent_over_time,
        "clamp": _clamp,
        "clamp_max": _clamp,
        "clamp_min": _clamp,
        "end": lambda self, _: self._constant(self.query.end_ms / 1000),
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
