"""The Prometheus HTTP API: each route parses, calls and renders. GET and form POST are the same.

What has no counterpart in this service (targets) answers as an empty
Prometheus would: clients call it at start and would show an error as a broken data source.
Source: Prometheus `web/api/v1/api.go`; which calls Grafana makes: docs/architecture.md.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends, Request, Response

from data_api import __version__, promql
from data_api.api.deps import (
    Caller,
    EngineDep,
    Held,
    NowMs,
    Query,
    reader,
    services,
    while_connected,
)
from data_api.api.params import Params, unescape_label_name
from data_api.api.rendering import envelope, list_answer, query_answer
from data_api.api.routing import readable
from data_api.chassis.identity import Principal
from data_api.engine import Engine
from data_api.errors import InvalidParameter, NotFound
from data_api.model import Labels, QueryLimits
from data_api.questions import Text, parse
from data_api.store.reader import Cardinality, MatcherSets

# The version of Prometheus whose API this is: clients choose their calls by it.
COMPATIBLE_VERSION: Final = "3.5.0"
EVERY: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
TSDB_LIMIT: Final = 10
TSDB_LIMIT_MAX: Final = 10_000
STARTED: Final = datetime.now(UTC)

# Every route needs a caller who may read, also those that show nothing of a tenant.
routes = APIRouter(tags=["prometheus"], dependencies=[Depends(reader)])


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _answer(data: Any, warnings: Sequence[str] = ()) -> Response:
    return _json(envelope(orjson.dumps(data), warnings))


async def _cardinality(caller: Principal, params: Params, engine: Engine) -> Cardinality:
    """The caller's counts, as many of the largest as `limit` says."""
    limit = params.limit() or TSDB_LIMIT
    if limit > TSDB_LIMIT_MAX:
        raise InvalidParameter(name="limit", reason=f"limit must not exceed {TSDB_LIMIT_MAX}")
    async with engine.cardinality(caller.tenant, caller.limits, limit) as totals:
        return totals


def query_text(params: Params) -> str:
    """The parameter `query`; raises InvalidParameter without one."""
    text = params.get("query")
    if not text:
        raise InvalidParameter(
            name="query", reason="unknown position: parse error: no expression found in input"
        )
    return text


@readable(routes, "/query", "query", "time", "timeout", "limit", "lookback_delta")
async def instant_query(
    request: Request, caller: Caller, params: Query, engine: EngineDep, now_ms: NowMs
) -> Response:
    """The value of `query` at `time` (default: now). Also `timeout`, `limit`, `lookback_delta`."""
    at_ms = params.time_ms("time", now_ms)
    return _query(request, caller, params, engine, (at_ms, at_ms, 0))


@readable(
    routes, "/query_range", "query", "start", "end", "step", "timeout", "limit", "lookback_delta"
)
async def range_query(
    request: Request, caller: Caller, params: Query, engine: EngineDep
) -> Response:
    """The values of `query` from `start` to `end` every `step`; the ends are never moved."""
    return _query(request, caller, params, engine, params.steps())


def _query(
    request: Request,
    caller: Principal,
    params: Params,
    engine: Engine,
    steps: tuple[int, int, int],
) -> Response:
    opened = engine.query(
        caller.tenant,
        caller.limits,
        query_text(params),
        steps,
        partial(query_answer, params.limit()),
        timeout_s=params.timeout_s(),
        lookback_ms=params.lookback_ms(),
    )
    return Held(request, opened)


@readable(routes, "/labels", "match[]", "start", "end", "limit")
async def label_names(
    request: Request, caller: Caller, params: Query, engine: EngineDep
) -> Response:
    """Label names of the series that any `match[]` selects; without start and end, of all time."""
    span = params.span()

    def find(sets: MatcherSets, limits: QueryLimits) -> Awaitable[list[str]]:
        return engine.store.label_names(caller.tenant, sets, span, limits)

    return _listed(request, caller, params, engine, find)


@readable(routes, "/label/{name}/values", "match[]", "start", "end", "limit", post=False)
async def label_values(
    request: Request, name: str, caller: Caller, params: Query, engine: EngineDep
) -> Response:
    """Values of one label; a UTF-8 name arrives escaped (`U__http_2e_status`)."""
    label, span = unescape_label_name(name), params.span()

    def find(sets: MatcherSets, limits: QueryLimits) -> Awaitable[list[str]]:
        return engine.store.label_values(caller.tenant, label, sets, span, limits)

    return _listed(request, caller, params, engine, find)


@readable(routes, "/series", "match[]", "start", "end", "limit")
async def series(request: Request, caller: Caller, params: Query, engine: EngineDep) -> Response:
    """Label sets of the series that any `match[]` selects."""
    span = params.span()

    def find(sets: MatcherSets, limits: QueryLimits) -> Awaitable[list[Labels]]:
        return engine.store.series(caller.tenant, sets, span, limits)

    return _listed(request, caller, params, engine, find, required=True)


def _listed(
    request: Request,
    caller: Principal,
    params: Params,
    engine: Engine,
    find: Callable[[MatcherSets, QueryLimits], Awaitable[list[Any]]],
    *,
    required: bool = False,
) -> Response:
    selectors = params.selectors(required=required)
    render = partial(list_answer, params.limit())
    return Held(request, engine.listed(caller.tenant, caller.limits, selectors, find, render))


@readable(routes, "/metadata", "metric", "limit", post=False)
async def metadata(caller: Caller, params: Query, engine: EngineDep) -> Response:
    """Type, help and unit of metrics, by name."""
    limit = params.limit()
    rows = await engine.store.catalogue.metadata(caller.tenant, params.get("metric") or None)
    return _answer(
        {
            name: [{"type": kind, "help": text, "unit": unit}]
            for name, kind, text, unit in (rows[:limit] if limit else rows)
        }
    )


@readable(routes, "/format_query", "query")
async def format_query(
    request: Request, caller: Caller, params: Query, engine: EngineDep
) -> Response:
    """The query in Prometheus's own form."""
    text = query_text(params)
    printed = Text(len(text), lambda: orjson.dumps(promql.to_text(parse(text))))

    async def work(limits: QueryLimits) -> list[bytes]:
        return [envelope(await printed.parsed(limits))]

    return Held(request, engine.reading(caller.tenant, caller.limits, work))


@routes.get("/targets")
async def targets() -> Response:
    """Scraping belongs to data-ingest-service."""
    return _answer({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}})


@routes.get("/targets/metadata")
async def targets_metadata() -> Response:
    """Scraping belongs to data-ingest-service."""
    return _answer([])


@routes.get("/scrape_pools")
async def scrape_pools() -> Response:
    """Scraping belongs to data-ingest-service."""
    return _answer({"scrapePools": []})


@routes.get("/alertmanagers")
async def alertmanagers(request: Request, caller: Caller) -> Response:
    """Those that the caller's alerts are posted to, where it does not use the hub's own."""
    compiled = await services(request).notifications.compiled(caller.tenant)
    urls = [f"{url.rstrip('/')}/api/v2/alerts" for url in compiled.config.alertmanager_urls]
    return _answer(
        {"activeAlertmanagers": [{"url": url} for url in urls], "droppedAlertmanagers": []}
    )


@routes.get("/notifications")
async def notifications() -> Response:
    """Nothing to notify."""
    return _answer([])


@routes.get("/status/buildinfo")
async def build_info() -> Response:
    """The API's version. `features` makes Grafana take it for Mimir, whose ruler API it has."""
    return _answer(
        {
            "version": COMPATIBLE_VERSION,
            "revision": f"cloudopshub-{__version__}",
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
            "features": {"ruler_config_api": "true"},
        }
    )


@routes.get("/status/runtimeinfo")
async def runtime_info(caller: Caller) -> Response:
    """When this process began, and how long the caller's samples are kept."""
    return _answer(
        {
            "startTime": STARTED.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "reloadConfigSuccess": True,
            "corruptionCount": 0,
            "storageRetention": _retention(caller),
        }
    )


@routes.get("/status/config")
async def config() -> Response:
    """Configuration is environment variables, and theirs are not shown."""
    return _answer({"yaml": ""})


@routes.get("/status/flags")
async def flags(caller: Caller, engine: EngineDep) -> Response:
    """The bounds of the caller's queries by Prometheus's names."""
    bounds = engine.bounds(caller.limits)
    return _answer(
        {
            "query.lookback-delta": f"{bounds.lookback_ms // 1000}s",
            "query.max-concurrency": str(bounds.concurrency_max),
            "query.max-samples": str(bounds.samples_max),
            "query.timeout": f"{bounds.timeout_s:g}s",
            "storage.tsdb.retention.time": _retention(caller),
        }
    )


@readable(routes, "/status/tsdb", "limit", post=False)
async def tsdb(request: Request, caller: Caller, params: Query, engine: EngineDep) -> Response:
    """Where the caller's series come from: the largest metrics, labels and pairs."""
    totals = await while_connected(request, _cardinality(caller, params, engine))
    first_ms, last_ms = totals.head_span or (0, 0)
    shown = {
        name: [{"name": word, "value": count} for word, count in counts]
        for name, counts in totals.counts.items()
    }
    return _answer(
        {
            "headStats": {
                "numSeries": totals.series,
                "numLabelPairs": totals.label_pairs,
                "chunkCount": totals.blocks,
                "minTime": first_ms,
                "maxTime": last_ms,
            },
            "seriesCountByMetricName": shown["series_by_metric"],
            "labelValueCountByLabelName": shown["values_by_label"],
            "memoryInBytesByLabelName": shown["bytes_by_label"],
            "seriesCountByLabelValuePair": shown["series_by_pair"],
        }
    )


@readable(routes, "/cardinality", "limit", post=False)
async def cardinality(
    request: Request, caller: Caller, params: Query, engine: EngineDep
) -> Response:
    """How many series, labels and samples the caller has, and which are the largest."""
    totals = await while_connected(request, _cardinality(caller, params, engine))
    return _answer(
        {
            "series": totals.series,
            "label_names": totals.label_names,
            "label_pairs": totals.label_pairs,
            "head_samples": totals.head_samples,
            "blocks": totals.blocks,
            "block_samples": totals.block_samples,
            **{
                name: [{"name": word, "count": count} for word, count in counts]
                for name, counts in totals.counts.items()
            },
        }
    )


@routes.get("/status/walreplay")
async def wal_replay() -> Response:
    """There is no log to replay: Postgres has done so before it answers."""
    return _answer({"min": 0, "max": 0, "current": 0, "state": "done"})


@routes.api_route("/{path:path}", methods=EVERY, include_in_schema=False)
async def unknown(path: str) -> Response:
    """No such route of the API."""
    raise NotFound(path=f"/api/v1/{path}")


def _retention(caller: Principal) -> str:
    days = caller.limits.retention_days
    return "unlimited" if days is None else f"{days}d"
