"""`POST /api/v1/admin/tsdb/delete_series`, as Prometheus has it, with a preview.

Whole series: `start` and `end` are refused.
"""

import asyncio
from typing import Annotated, Any, Final

import anyio
import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from data_ingest.chassis.identity import IdentityClient
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.chassis.postgres_async import translating
from data_ingest.retention import deletion
from data_ingest.selectors import BadSelector, parse
from data_ingest.store import catalogue
from data_ingest.store.tables import SCHEMA

SCOPE: Final = "admin"
SELECTORS_MAX: Final = 20
PARAMETERS: Final = frozenset({"match[]", "digest", "dry_run"})
TIMEOUT_S: Final = 120.0
"""Of a request; what it deleted by then stays deleted, and it may be sent again."""

Selectors = Annotated[list[str], Query(alias="match[]", default_factory=list)]
Digest = Annotated[str | None, Query(description="of the preview: other series are refused")]

log = structlog.get_logger()


class OtherSeries(ServiceError):
    """The selectors select other series than in the preview"""

    kind = Kind.CONFLICT


def router(identity: IdentityClient, database_url: str) -> APIRouter:
    """The route; one deletion or preview at a time, on a connection of its own."""
    routes = APIRouter()
    turns = anyio.CapacityLimiter(1)

    @routes.api_route("/api/v1/admin/tsdb/delete_series", methods=["POST", "PUT"])
    async def delete_series(
        request: Request, selectors: Selectors, digest: Digest = None, *, dry_run: bool = False
    ) -> Response:
        """The series are gone from all answers; `dry_run=true`: what would go, and its digest."""
        principal = await identity.authenticate(request.headers)
        principal.require(SCOPE)
        if not 1 <= len(selectors) <= SELECTORS_MAX:
            raise BadSelector(detail=f"match[] is given 1 to {SELECTORS_MAX} times")
        # A misspelt dry_run must not delete.
        if unknown := request.query_params.keys() - PARAMETERS:
            raise BadSelector(detail=f"whole series are deleted: no {', '.join(sorted(unknown))}")
        matchers = [parse(text) for text in selectors]
        tenant = principal.tenant
        with translating(SCHEMA):
            async with (
                asyncio.timeout(TIMEOUT_S),
                turns,
                catalogue.connected(database_url, "deletion") as conn,
            ):
                selection = await deletion.select(conn, tenant, matchers)
                if dry_run:
                    return JSONResponse({"status": "success", "data": _rendered(selection)})
                if digest not in {None, selection.digest}:
                    raise OtherSeries(series=selection.series_ids.size, digest=selection.digest)
                log.warning(
                    "series_deletion",
                    tenant=str(tenant),
                    by=principal.subject,
                    series=selection.series_ids.size,
                    selectors=selectors,
                    digest=selection.digest,
                )
                await deletion.delete(conn, tenant, selection.series_ids)
        return Response(status_code=204)

    return routes


def _rendered(selection: deletion.Selection) -> dict[str, Any]:
    return {
        "series": selection.series_ids.size,
        "samplesEstimate": selection.samples,
        "bytesEstimate": selection.bytes,
        "examples": selection.examples,
        "digest": selection.digest,
    }
