"""The Prometheus HTTP API: each route parses, calls and renders. GET and form POST are the same.

Source: Prometheus `web/api/v1/api.go`; which calls Grafana makes: docs/architecture.md.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from data_api.api.deps import Ask, Asked, reader, services
from data_api.api.params import Params, unescape_label_name
from data_api.api.rendering import list_answer, metadata_answer, query_answer
from data_api.api.routing import answer, readable
from data_api.api.stats import stats_json
from data_api.cost import LISTED_S, NAMED_S
from data_api.errors import InvalidParameter, NotFound
from data_api.model import Labels, QueryLimits
from data_api.promql.values import by_labels
from data_api.store.reader import MatcherSets

METADATA_MAX: Final = 40_000  # descriptions of an answer; what Grafana asks for
EVERY: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]

# Every route needs a caller who may read, also those that show nothing of a tenant.
routes = APIRouter(tags=["prometheus"], dependencies=[Depends(reader)])

preflights = APIRouter()  # asked without a credential


def query_text(params: Params) -> str:
    """The parameter `query`; raises InvalidParameter without one."""
    text = params.get("query")
    if not text:
        raise InvalidParameter(
            name="query", reason="unknown position: parse error: no expression found in input"
        )
    return text


COMMON: Final = ("query", "timeout", "limit", "lookback_delta", "stats", "nocache")


@readable(routes, "/query", "time", *COMMON)
async def instant_query(ask: Asked) -> Response:
    """The value of `query` at `time` (default: now). Also `timeout`, `limit`, `lookback_delta`."""
    at_ms = ask.params.time_ms("time", ask.now_ms)
    return _query(ask, (at_ms, at_ms, 0))


@readable(routes, "/query_range", "start", "end", "step", *COMMON)
async def range_query(ask: Asked) -> Response:
    """The values of `query` from `start` to `end` every `step`; the ends are never moved."""
    return _query(ask, ask.params.steps())


def _query(ask: Ask, steps: tuple[int, int, int]) -> Response:
    params, stats = ask.params, ask.params.get("stats")
    show = partial(stats_json, time.monotonic(), stats == "all") if stats else None
    opened = ask.engine.query(
        *ask.who,
        query_text(params),
        steps,
        partial(query_answer, params.limit(), show_stats=show),
        timeout_s=params.timeout_s(),
        lookback_ms=params.lookback_ms(),
        counts_samples=bool(stats),
        is_new=params.get("nocache") == "1",
    )
    return ask.held(opened)


def _in_span(
    find: Callable[[MatcherSets, tuple[int, int] | None, QueryLimits], Awaitable[list[Any]]],
    span: tuple[int, int] | None,
    sets: MatcherSets,
    limits: QueryLimits,
) -> Awaitable[list[Any]]:
    """What `find` reads; a function of the module, for it may be called in another process."""
    return find(sets, span, limits)


@readable(routes, "/labels", "match[]", "start", "end", "limit")
async def label_names(ask: Asked) -> Response:
    """Label names of the series that any `match[]` selects; without start and end, of all time."""
    span = ask.params.span()

    find = partial(_in_span, partial(ask.engine.store.label_names, ask.caller.tenant), span)
    return _listed(ask, find)


@readable(routes, "/label/{name}/values", "match[]", "start", "end", "limit", post=False)
async def label_values(ask: Asked, name: str) -> Response:
    """Values of one label; a UTF-8 name arrives escaped (`U__http_2e_status`)."""
    label, span = unescape_label_name(name), ask.params.span()

    find = partial(_in_span, partial(ask.engine.store.label_values, ask.caller.tenant, label), span)
    return _listed(ask, find)


@readable(routes, "/series", "match[]", "start", "end", "limit")
async def series(ask: Asked) -> Response:
    """Label sets of the series that any `match[]` selects."""
    span = ask.params.span()

    find = partial(_in_span, partial(ask.engine.store.series, ask.caller.tenant), span)
    more: Any = {"shown": _in_order, "series_s": LISTED_S, "required": True}
    return _listed(ask, find, **more)


def _in_order(limit: int, series: list[Labels], limits: QueryLimits) -> list[bytes]:
    """`list_answer` of label sets by labels, whatever the order of the store."""
    rows = by_labels(series, limits.checkpoint).tolist()
    return list_answer(limit, [series[row] for row in rows], limits)


def _listed(
    ask: Ask,
    find: Callable[[MatcherSets, QueryLimits], Awaitable[list[Any]]],
    *,
    shown: Callable[[int, list[Any], QueryLimits], list[bytes]] = list_answer,
    series_s: float = NAMED_S,
    required: bool = False,
) -> Response:
    selectors = ask.params.selectors(required=required)
    render = partial(shown, ask.params.limit())
    return ask.held(ask.engine.listed(*ask.who, selectors, find, render, series_s=series_s))


@readable(routes, "/metadata", "metric", "limit", "limit_per_metric", post=False)
async def metadata(ask: Asked) -> Response:
    """Type, help and unit of metrics, by name; one description of each. A limit below zero means
    all of them, as in Prometheus, and 0 none; METADATA_MAX at most.
    """
    limit = ask.params.whole_number("limit", -1)
    ask.params.whole_number("limit_per_metric", -1)
    metric = ask.params.get("metric") or None
    count = METADATA_MAX if limit < 0 else min(limit, METADATA_MAX)

    async def work(limits: QueryLimits) -> list[bytes]:
        rows = await ask.engine.store.catalogue.metadata(ask.caller.tenant, metric, count + 1)
        is_cut = len(rows) > count == METADATA_MAX
        return await limits.run(lambda: metadata_answer(rows[:count], limits, is_cut=is_cut))

    return ask.held(ask.engine.reading(*ask.who, work))


@routes.get("/alertmanagers")
async def alertmanagers(ask: Asked) -> Response:
    """Those that the caller's alerts are posted to, where it does not use the hub's own."""
    compiled = await services(ask.request).notifications.compiled(ask.caller.tenant)
    urls = [f"{url.rstrip('/')}/api/v2/alerts" for url in compiled.config.alertmanager_urls]
    return answer(
        {"activeAlertmanagers": [{"url": url} for url in urls], "droppedAlertmanagers": []}
    )


@preflights.options("/{path:path}", include_in_schema=False)
async def options(path: str) -> Response:  # noqa: ARG001 - of the route
    """Harmless, and nothing to other origins: no header allows them."""
    return Response(status_code=204, headers={"Allow": "GET, POST, OPTIONS"})


@routes.api_route("/{path:path}", methods=EVERY, include_in_schema=False)
async def unknown(request: Request, path: str) -> Response:
    """No such route of the API, or none for this method, which a POST is repeated as a GET for."""
    allowed = {
        method
        for route in request.app.state.api_routes
        if route.path_regex.match(f"/{path}") and route.endpoint is not unknown
        for method in route.methods
    }
    if allowed:
        raise HTTPException(405, headers={"Allow": ", ".join(sorted(allowed))})
    raise NotFound(path=f"/api/v1/{path}")
