"""One query from its tree to its answer: budget, evaluation, the shape of the result."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from data_api.errors import InvalidParameter
from data_api.model import (
    I64,
    Columns,
    InstantVector,
    Loaded,
    QueryLimits,
    RangeMatrix,
    Result,
    Scalar,
    SelectorSpan,
    Stats,
    String,
)
from data_api.promql.call_evaluator import SORTS, Evaluator
from data_api.promql.context import LOOKBACK_MS, Annotations, Budget, Options
from data_api.promql.functions import ValueType
from data_api.promql.nodes import Aggregate, Call, Expr, unwrap
from data_api.promql.pool import Pool
from data_api.promql.query import Query, SampleCounts
from data_api.promql.selectors import spans
from data_api.promql.values import (
    Value,
    Vector,
    Windows,
    by_labels,
    drop_marked_names,
    drop_samples,
    one_row,
    stopping_at,
)


def evaluate(  # noqa: PLR0917 - times in the order that all of Prometheus uses
    expr: Expr,
    loaded: Mapping[SelectorSpan, Loaded],
    start_ms: int,
    end_ms: int,
    step_ms: int,
    lookback_ms: int = LOOKBACK_MS,
    limits: QueryLimits = QueryLimits(),  # noqa: B008 - frozen
    options: Options = Options(),  # noqa: B008 - frozen
    *,
    text: str = "",
    instant: bool = False,
) -> Result:
    """The value of `expr` at `start_ms`, `start_ms + step_ms`, … up to `end_ms`.

    expr: as `parse` made it (places in the text tell its selectors apart). loaded: the samples of
    each span of `needed` for the same times. text: the query as written, for the line and column of
    warnings. instant: one step, answered as Scalar, String, InstantVector or Columns; otherwise the
    answer is a RangeMatrix with rows ordered by labels.
    Raises EvaluationError, TooManySamples, and InexactRollup where `loaded` has buckets.
    """
    if not instant and expr.value_type not in {ValueType.SCALAR, ValueType.VECTOR}:
        raise InvalidParameter(
            name="query",
            reason=f'invalid expression type "{expr.value_type}" for range query, '
            "must be Scalar or instant Vector",
        )
    selector_spans = spans(expr, start_ms, end_ms, max(step_ms, 1), lookback_ms)
    budget = Budget(limits)
    pool = Pool(budget)
    adopted: dict[int, Loaded] = {}
    for samples in (loaded[span] for span in selector_spans.values()):
        if id(samples) not in adopted:
            budget.load(samples.cost)
            adopted[id(samples)] = pool.adopt(samples) if isinstance(samples, Columns) else samples
    query = Query(
        start_ms,
        end_ms,
        step_ms,
        lookback_ms,
        options,
        {place: adopted[id(loaded[span])] for place, span in selector_spans.items()},
        Annotations(text),
        budget,
        pool,
    )
    steps_ms = np.arange(start_ms, end_ms + 1, max(step_ms, 1), dtype=np.int64)
    if options.counts_samples:
        query.counts = SampleCounts(steps_ms.size)
    with np.errstate(all="ignore"), stopping_at(limits.checkpoint):
        value = Evaluator(query, steps_ms).evaluate(expr)
        limits.checkpoint()
        answer = _instant(expr, value, steps_ms) if instant else _range(value, steps_ms)
    if pool and not isinstance(answer, Scalar | String):
        answer = replace(answer, histograms=pool.items)
    counts = query.counts.by_step
    stats = None if counts is None else Stats(steps_ms, counts, budget.peak)
    return Result(answer, query.notes.shown("warning"), query.notes.shown("info"), stats)


def _instant(expr: Expr, value: Value, steps_ms: I64) -> Scalar | String | InstantVector | Columns:
    """Series come by labels, where the query does not order them itself."""
    now_ms = int(steps_ms[0])
    match value:
        case str():
            return String(now_ms, value)
        case Vector():
            vector = drop_marked_names(value.compact())
            if not _is_ordered(unwrap(expr)):
                vector = vector.take(by_labels(vector.labels))
            return InstantVector(vector.labels, now_ms, vector.values[:, 0])
        case Windows():
            return _window_samples(value)
        case _:
            return Scalar(now_ms, float(value[0]))


def _is_ordered(expr: Expr) -> bool:
    return (isinstance(expr, Call) and expr.name in SORTS) or (
        isinstance(expr, Aggregate) and expr.op in {"topk", "bottomk"}
    )


def _window_samples(windows: Windows) -> Columns:
    """The samples of an instant query's only window, series without one left out."""
    columns = windows.columns.take(by_labels(windows.columns.labels))
    outside = (columns.timestamps_ms <= windows.ends_ms[0] - windows.range_ms) | (
        columns.timestamps_ms > windows.ends_ms[0]
    )
    columns = drop_samples(columns, outside)
    return columns.take(np.flatnonzero(np.diff(columns.offsets)))


def _range(value: Value, steps_ms: I64) -> RangeMatrix:
    assert not isinstance(value, str | Windows)
    vector = value if isinstance(value, Vector) else one_row(value)
    vector = drop_marked_names(vector.compact())
    vector = vector.take(by_labels(vector.labels))
    return RangeMatrix(vector.labels, steps_ms, vector.values, vector.present)
