"""What Influx clients ask besides writing: whether the server is there, and for a database.

A database needs no making here, it is a label; so CREATE DATABASE, which Telegraf sends at its
start, has nothing left to do. Nothing else of InfluxQL is answered: metrics are read with PromQL.
"""

import re
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from data_ingest.api.body import read_body
from data_ingest.api.write import SCOPE, WritePath
from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import WriteError
from data_ingest.protocols.influx_answers import HEADERS, NO_CONTENT, VERSION, render_v1
from data_ingest.protocols.protocol import WriteRequest

QUERY_BYTES_MAX: Final = 64 * 1024
_NOTHING_TO_DO: Final = re.compile(r"create\s+database\s[^;]+|show\s+databases", re.IGNORECASE)


async def ping(_request: Request) -> Response:
    """204: this process answers. It touches nothing, and tells nothing of a tenant."""
    return NO_CONTENT


async def health(_request: Request) -> Response:
    """As `ping`, in the JSON of InfluxDB's `/health`."""
    body = {
        "name": "influxdb",
        "message": "ready for writes",
        "status": "pass",
        "checks": [],
        "version": VERSION,
    }
    return JSONResponse(body, headers=HEADERS)


async def query(path: WritePath, request: Request) -> Response:
    """200 for CREATE DATABASE and SHOW DATABASES from whoever may write; else an error as JSON."""
    try:
        statement = (await _statement(path, request)).strip().removesuffix(";").rstrip()
        if not _NOTHING_TO_DO.fullmatch(statement):
            raise WriteError(
                detail="no InfluxQL but CREATE DATABASE and SHOW DATABASES; read with PromQL"
            )
    except ServiceError as error:
        return render_v1(WriteRequest(request.url.path), error)
    return JSONResponse({"results": [{"statement_id": 0}]}, headers=HEADERS)


async def _statement(path: WritePath, request: Request) -> str:
    """The parameter `q`, from the query or from a form; only for who may write."""
    principal = await path.identity.authenticate(request.headers, request.query_params)
    principal.require(SCOPE)
    with path.memory.lease(principal.tenant) as reserve:
        body = await read_body(
            request.headers, request.receive, QUERY_BYTES_MAX, reserve, path.pace
        )
        form = dict(parse_qsl(body.decode("latin-1")))
    return request.query_params.get("q") or form.get("q", "")


def router(path: WritePath) -> APIRouter:
    """The routes, each also below `/influx` and with a slash at its end.

    `/health` itself is the probe that every service has.
    """
    routes = APIRouter(include_in_schema=False)
    for end in ("", "/"):
        routes.add_api_route(f"/influx/health{end}", health)
        for prefix in ("", "/influx"):
            routes.add_api_route(f"{prefix}/ping{end}", ping, methods=["GET", "HEAD"])
            routes.add_api_route(
                f"{prefix}/query{end}", partial(query, path), methods=["GET", "POST"]
            )
    return routes
