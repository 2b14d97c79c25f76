"""What there is and how it is set, in Prometheus's shapes: build, flags, cardinality, blocks.

What has no counterpart in this service answers as an empty Prometheus would: clients call it at
start and would show an error as a broken data source. Source: Prometheus `web/api/v1/api.go`.
"""

from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Depends, Response

from data_api import __version__
from data_api.api.deps import Ask, Asked, Connected, reader
from data_api.api.routing import answer, readable
from data_api.chassis.identity import Principal
from data_api.errors import BadRequest, InvalidParameter
from data_api.promql.functions import FUNCTIONS
from data_api.promql.nodes import AGGREGATORS, PRECEDENCE
from data_api.store import tables
from data_api.store.reader import Cardinality

# The version of Prometheus whose API this is: clients choose their calls by it.
COMPATIBLE_VERSION: Final = "3.5.0"
TSDB_LIMIT: Final = 10
TSDB_LIMIT_MAX: Final = 10_000
BLOCKS_MAX: Final = 1000  # of one answer
STARTED: Final = datetime.now(UTC)

# Every route needs a caller who may read, also those that show nothing of a tenant.
routes = APIRouter(tags=["prometheus"], dependencies=[Depends(reader)])


async def _cardinality(ask: Ask) -> Cardinality:
    """The caller's counts, as many of the largest as `limit` says."""
    limit = ask.params.whole_number("limit", TSDB_LIMIT)
    if limit < 1:
        raise BadRequest(detail="limit must be a positive number")
    if limit > TSDB_LIMIT_MAX:
        raise InvalidParameter(name="limit", reason=f"limit must not exceed {TSDB_LIMIT_MAX}")
    opened = ask.engine.cardinality(*ask.who, limit)
    async with Connected(ask.request.receive), opened as totals:
        return totals


@routes.get("/status/runtimeinfo")
async def runtime_info(ask: Asked) -> Response:
    """When this process began, and how long the caller's samples are kept."""
    return answer(
        {
            "startTime": STARTED.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "reloadConfigSuccess": True,
            "corruptionCount": 0,
            "storageRetention": _retention(ask.caller),
        }
    )


@routes.get("/status/flags")
async def flags(ask: Asked) -> Response:
    """The bounds of the caller's queries by Prometheus's names."""
    bounds = ask.engine.bounds(ask.caller.limits)
    return answer(
        {
            "query.lookback-delta": f"{bounds.lookback_ms // 1000}s",
            "query.max-concurrency": str(bounds.concurrency_max),
            "query.max-samples": str(bounds.samples_max),
            "query.timeout": f"{bounds.timeout_s:g}s",
            "storage.tsdb.retention.time": _retention(ask.caller),
        }
    )


@readable(routes, "/status/tsdb", "limit", post=False)
async def tsdb(ask: Asked) -> Response:
    """Where the caller's series come from: the largest metrics, labels and pairs."""
    totals = await _cardinality(ask)
    first_ms, last_ms = totals.span or (0, 0)
    shown = {
        name: [{"name": word, "value": count} for word, count in counts]
        for name, counts in totals.counts.items()
    }
    return answer(
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


@readable(routes, "/status/tsdb/blocks", "limit", post=False)
async def blocks(ask: Asked) -> Response:
    """The caller's newest blocks, BLOCKS_MAX at most; `maxTime` is exclusive, as in Prometheus."""
    limit = min(ask.params.limit() or BLOCKS_MAX, BLOCKS_MAX)
    rows = await ask.engine.store.catalogue.rows(tables.BLOCKS, ask.caller.tenant, limit)
    shown = [
        {
            "ulid": str(row["block_id"]),
            "minTime": row["min_ts"],
            "maxTime": row["max_ts"] + 1,
            "stats": {"numSamples": row["samples"], "numSeries": row["series"]},
            "compaction": {"level": row["level"] + 1, "sources": []},
            "version": 1,
            "bytes": row["bytes"],
        }
        for row in rows
    ]
    return answer({"blocks": shown})


@readable(routes, "/status/queries", post=False)
async def status_queries(ask: Asked) -> Response:
    """The caller's own queries of this process since its start: `active`, `costliest` by CPU,
    `slow` (1 s and more) and `failed`, at most 20 of each list, texts to 1,024 characters.
    """
    return answer(ask.engine.log.shown(ask.caller.tenant))


@readable(routes, "/cardinality", "limit", post=False)
async def cardinality(ask: Asked) -> Response:
    """How many series, labels and samples the caller has, and which are the largest."""
    totals = await _cardinality(ask)
    return answer(
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


def _constant(path: str, data: Any, text: str) -> None:
    async def constant() -> Response:
        return answer(data)

    routes.get(path, description=text, name=path)(constant)


_constant("/notifications", [], "Nothing to notify.")
_constant("/status/config", {"yaml": ""}, "Settings are environment variables, and not shown.")
_constant(
    "/status/walreplay",
    {"min": 0, "max": 0, "current": 0, "state": "done"},
    "There is no log to replay: Postgres has done so before it answers.",
)
_constant(
    "/status/buildinfo",
    {
        "version": COMPATIBLE_VERSION,
        "revision": f"cloudopshub-{__version__}",
        **dict.fromkeys(("branch", "buildUser", "buildDate", "goVersion"), ""),
        "features": {"ruler_config_api": "true"},
    },
    "The API's version. `features` makes Grafana take it for Mimir, whose ruler API it has.",
)
_constant(
    "/features",
    {
        "api": dict.fromkeys(("query_stats", "remote_read", "exemplars", "federation"), True),
        "promql": {"at_modifier": True, "negative_offset": True, "subqueries": True},
        "promql_functions": {name: one.supported for name, one in FUNCTIONS.items()},
        "promql_operators": dict.fromkeys(sorted({*PRECEDENCE, *AGGREGATORS}), True),
    },
    "What this API can do.",
)
_constant("/targets/metadata", [], "Metadata is kept by metric, not by target: see `metadata`.")


def _retention(caller: Principal) -> str:
    days = caller.limits.retention_days
    return "unlimited" if days is None else f"{days}d"
