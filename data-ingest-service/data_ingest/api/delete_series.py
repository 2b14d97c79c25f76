"""`POST /api/v1/admin/tsdb/delete_series`, as Prometheus has it, with a preview.

Whole series: `start` and `end` are refused.
"""

from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from data_ingest.api.reading import Door, success
from data_ingest.chassis.identity import IdentityClient
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.retention import deletion
from data_ingest.selectors import BadSelector, parse

SCOPE: Final = "admin"
SELECTORS_MAX: Final = 20
PARAMETERS: Final = frozenset({"match[]", "digest", "dry_run"})
Selectors = Annotated[list[str], Query(alias="match[]", default_factory=list)]
Digest = Annotated[str | None, Query(description="of the preview: other series are refused")]

log = structlog.get_logger()


class OtherSeries(ServiceError):
    """The selectors select other series than in the preview"""

    kind = Kind.CONFLICT


def router(identity: IdentityClient, database_url: str) -> APIRouter:
    """The route; one deletion or preview at a time. What it deleted in `reading.TIMEOUT_S` stays
    deleted, and it may be sent again.
    """
    routes = APIRouter()
    door = Door(identity, database_url, "deletion", 1)

    @routes.api_route("/api/v1/admin/tsdb/delete_series", methods=["POST", "PUT"])
    async def delete_series(
        request: Request, selectors: Selectors, digest: Digest = None, *, dry_run: bool = False
    ) -> Response:
        """The series are gone from all answers; `dry_run=true`: what would go, and its digest."""
        principal = await door.caller(request, SCOPE)
        if not 1 <= len(selectors) <= SELECTORS_MAX:
            raise BadSelector(detail=f"match[] is given 1 to {SELECTORS_MAX} times")
        # A misspelt dry_run must not delete.
        if unknown := request.query_params.keys() - PARAMETERS:
            raise BadSelector(detail=f"whole series are deleted: no {', '.join(sorted(unknown))}")
        matchers = [parse(text) for text in selectors]
        tenant = principal.tenant
        async with door.connected() as conn:
            selection = await deletion.select(conn, tenant, matchers)
            if dry_run:
                return JSONResponse(success(_rendered(selection)))
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
