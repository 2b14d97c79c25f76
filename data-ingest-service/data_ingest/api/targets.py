"""`GET /api/v1/targets`: what is scraped for the caller's organisation, in Prometheus' shape.

One replica scrapes and writes what it sees into a table about once a second; every replica answers
from there.
"""

from collections import Counter
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from data_ingest.chassis.identity import IdentityClient
from data_ingest.chassis.postgres_async import translating
from data_ingest.store import catalogue, scrape_targets
from data_ingest.store.tables import SCHEMA

SCOPE = "metrics:read"


def routes(identity: IdentityClient, database_url: str) -> APIRouter:
    """The one route."""
    router = APIRouter()

    @router.get("/api/v1/targets")
    async def targets(
        request: Request,
        state: Literal["active", "dropped", "any"] = "any",
        pool: Annotated[str | None, Query(alias="scrapePool")] = None,
    ) -> dict[str, Any]:
        """Targets by state; each with its health, its last error and when it was scraped last."""
        principal = await identity.authenticate(request.headers)
        principal.require(SCOPE)
        with translating(SCHEMA):
            async with catalogue.connected(database_url, "targets") as conn:
                active, dropped = await scrape_targets.of_tenant(conn, principal.tenant)
        active, dropped = (
            [facts for facts in listed if pool is None or facts["scrapePool"] == pool]
            for listed in (active, dropped)
        )
        data = {
            "activeTargets": active if state != "dropped" else [],
            "droppedTargets": dropped if state != "active" else [],
            "droppedTargetCounts": Counter(facts["scrapePool"] for facts in dropped),
        }
        return {"status": "success", "data": data}

    return router
