"""What a chart draws of each pixel: least, greatest and last value, so that no peak is lost.

    start - step   start   …   end      a bucket is (t - step, t], as a window of PromQL is

A plain selector's buckets are of its samples, all of them. Any other expression is evaluated each
`resolution` (by default a tenth of the step, at least a second), and its buckets are of those
values: what lies between is not seen. query_range itself stays as it is: a value each step.
"""

from collections.abc import Iterator
from typing import Final

import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Depends, Response

from data_api import promql
from data_api.api.deps import Asked, reader
from data_api.api.params import Params
from data_api.api.prometheus import query_text
from data_api.api.rendering import enveloped, labels_json, list_pieces, time_tokens, value_tokens
from data_api.api.routing import readable
from data_api.chassis.kinds import ServiceError
from data_api.errors import InvalidParameter
from data_api.model import QueryLimits, RangeMatrix, Result, is_histogram
from data_api.promql.nodes import (
    Call,
    Expr,
    MatrixSelector,
    Paren,
    Subquery,
    VectorSelector,
    unwrap,
)
from data_api.promql.values import SCHEMA_LABELS, key, without
from data_api.questions import PARSED_CHARS_MAX, Question, parse

FUNCTIONS: Final = ("min_over_time", "max_over_time", "last_over_time")
STEPS_A_BUCKET: Final = 10
RESOLUTION_MS_MIN: Final = 1000

routes = APIRouter(tags=["prometheus"], dependencies=[Depends(reader)])


@readable(routes, "/query_range_buckets", "query", "start", "end", "step", "resolution", "timeout")
async def range_buckets(ask: Asked) -> Response:
    """Of each series, at start, start + step, … up to end: `[time, min, max, last]` of the step
    before.
    """
    # In a thread: its regexes may take long to compile.
    questions = await anyio.to_thread.run_sync(
        _questions, ask.params, ask.engine.limits.lookback_ms
    )
    timeout_s = ask.params.timeout_s()
    opened = ask.engine.queries(*ask.who, questions, buckets_answer, timeout_s)
    return ask.held(opened)


def _questions(params: Params, lookback_ms: int) -> list[Question]:
    text, steps = query_text(params), params.steps()
    if len(text) > PARSED_CHARS_MAX:
        reason = f"it has {len(text)} characters, here the limit is {PARSED_CHARS_MAX}"
        raise InvalidParameter(name="query", reason=reason)
    start_ms, end_ms, step_ms = steps
    resolution_ms = params.duration_ms("resolution")
    if resolution_ms is None:
        resolution_ms = max(RESOLUTION_MS_MIN, step_ms // STEPS_A_BUCKET)
    if resolution_ms <= 0:
        raise InvalidParameter(name="resolution", reason="it must be above zero")
    expr = unwrap(parse(text, promql.QueryTimes(step_ms, end_ms - start_ms)))
    windows: Expr = Subquery(expr=Paren(expr=expr), range_ms=step_ms, step_ms=resolution_ms)
    if isinstance(expr, VectorSelector) and expr.edges is None:
        windows = MatrixSelector(selector=expr, range_ms=step_ms)
    texts = [promql.to_text(Call(name=name, args=(windows,))) for name in FUNCTIONS]
    return [Question(one, steps, lookback_ms) for one in texts]


def buckets_answer(results: Iterator[Result | ServiceError], limits: QueryLimits) -> list[bytes]:
    """The body: `{"resultType":"buckets","result":[{"metric":{…},"buckets":[…]}]}`.

    Raises what a query does, and AnswerTooLarge.
    """
    answers = []
    for result in results:
        if isinstance(result, ServiceError):
            raise result
        answers.append(result)
    warnings = dict.fromkeys(note for answer in answers for note in answer.warnings)
    infos = dict.fromkeys(note for answer in answers for note in answer.infos)
    items = list_pieces(_series(*(answer.value for answer in answers)), limits)
    data = [b'{"resultType":"buckets","result":', *items, b"}"]
    return enveloped(data, [*warnings], [*infos])


def _series(least: object, greatest: object, last: object) -> Iterator[bytes]:
    """One piece a series; `last` alone kept the metric's name."""
    assert isinstance(least, RangeMatrix)
    assert isinstance(greatest, RangeMatrix)
    assert isinstance(last, RangeMatrix)
    unnamed = [key(without(labels, SCHEMA_LABELS)) for labels in last.labels]
    low_rows, high_rows = (
        {key(labels): row for row, labels in enumerate(matrix.labels)}
        for matrix in (least, greatest)
    )
    times = time_tokens(last.steps_ms)
    for row, name in enumerate(unnamed):
        if name not in low_rows or name not in high_rows:
            continue  # it has native histograms only
        low, high = low_rows[name], high_rows[name]
        there = least.present[low] & last.present[row] & ~is_histogram(last.values[row])
        places = np.flatnonzero(there)
        columns = (least.values[low], greatest.values[high], last.values[row])
        rows = zip(
            [times[place] for place in places.tolist()],
            *(value_tokens(column[places]) for column in columns),
            strict=True,
        )
        buckets = b",".join(b'[%b,"%b","%b","%b"]' % bucket for bucket in rows)
        yield b'{"metric":%b,"buckets":[%b]}' % (labels_json(last.labels[row]), buckets)
