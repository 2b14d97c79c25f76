"""Exemplars: observations with the traces that they came from. Source: Prometheus `web/api/v1`."""

from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Depends, Response

from data_api import promql
from data_api.api.deps import Asked, reader
from data_api.api.params import TIME_MS_MAX
from data_api.api.prometheus import query_text
from data_api.api.rendering import (
    TRUNCATED,
    enveloped,
    labels_json,
    list_pieces,
    time_token,
    value_tokens,
)
from data_api.api.routing import readable
from data_api.model import Labels, Matcher, QueryLimits
from data_api.questions import Text, parse
from data_api.store.reader import Exemplar

routes = APIRouter(tags=["prometheus"], dependencies=[Depends(reader)])


@readable(routes, "/query_exemplars", "query", "start", "end")
async def query_exemplars(ask: Asked) -> Response:
    """Exemplars of the series that any selector of `query` selects. Grafana asks with milliseconds
    for seconds: any year is fine.
    """
    text, span = query_text(ask.params), ask.params.span() or (-TIME_MS_MAX, TIME_MS_MAX)

    def matchers() -> list[Sequence[Matcher]]:
        expr = parse(text, promql.QueryTimes(1000, 1000))  # no selector's labels depend on them
        return [span.matchers for span in promql.needed(expr, 0, 0, 1)]

    selectors = Text(len(text), matchers, (text,))

    async def work(limits: QueryLimits) -> list[bytes]:
        sets = await selectors.parsed(limits)
        if not sets:
            return exemplars_answer([], limits)
        by_series, is_cut = await ask.engine.store.exemplars(ask.caller.tenant, sets, span, limits)
        return await limits.run(lambda: exemplars_answer(by_series, limits, is_cut=is_cut))

    return ask.held(ask.engine.reading(*ask.who, work))


def exemplars_answer(
    by_series: Sequence[tuple[Labels, Sequence[Exemplar]]],
    limits: QueryLimits,
    *,
    is_cut: bool = False,
) -> list[bytes]:
    """The body of query_exemplars. Raises AnswerTooLarge."""
    items = (
        b'{"seriesLabels":%b,"exemplars":[%b]}' % (labels_json(labels), b",".join(map(_one, some)))
        for labels, some in by_series
    )
    return enveloped(list_pieces(items, limits), [TRUNCATED] if is_cut else ())


def _one(exemplar: Exemplar) -> bytes:
    (value,) = value_tokens(np.array([exemplar.value]))
    labels, at = labels_json(exemplar.labels), time_token(exemplar.timestamp_ms)
    return b'{"labels":%b,"value":"%b","timestamp":%b}' % (labels, value, at)
