"""`GET /api/v1/targets`: what is scraped for the caller's organisation, in Prometheus' shape.

One replica scrapes and writes what it sees into a table about once a second; every replica answers
from there.
"""

from collections import Counter
from typing import Annotated, Any, Final, Literal

import anyio
from fastapi import APIRouter, Query, Request

from data_ingest.chassis.identity import IdentityClient
from data_ingest.chassis.postgres_async import translating
from data_ingest.store import catalogue, scrape_targets
from data_ingest.store.tables import SCHEMA

SCOPE: Final = "metrics:read"
CONNECTIONS_MAX: Final = 2

State = Literal["active", "dropped", "any"]
Pool = Annotated[str | None, Query(alias="scrapePool", description="the name of a job")]


def router(identity: IdentityClient, database_url: str) -> APIRouter:
    """The route, over CONNECTIONS_MAX connections of its own at most."""
    routes = APIRouter()
    connections = anyio.CapacityLimiter(CONNECTIONS_MAX)

    @routes.get("/api/v1/targets")
    async def targets(
        request: Request, state: State = "any", scrape_pool: Pool = None
    ) -> dict[str, Any]:
        """Targets by state, each with its health, its last error and when it was scraped last."""
        principal = await identity.authenticate(request.headers)
        principal.require(SCOPE)
        with translating(SCHEMA):
            async with connections, catalogue.connected(database_url, "targets") as conn:
                listed = await scrape_targets.of_tenant(conn, principal.tenant)
        active, dropped = (
            [facts for facts in targets_of_state if scrape_pool in {None, facts["scrapePool"]}]
            for targets_of_state in listed
        )
        data = {
            "activeTargets": active if state != "dropped" else [],
            "droppedTargets": dropped if state != "active" else [],
            "droppedTargetCounts": Counter(facts["scrapePool"] for facts in dropped),
        }
        return {"status": "success", "data": data}

    return routes
