"""What is told of a tenant's samples: which were refused and why, and what is scraped.

One replica scrapes and writes what it sees into a table about once a second; every replica answers
from there.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import anyio
from fastapi import APIRouter, Query, Request

from data_ingest.chassis.identity import IdentityClient, Principal
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.chassis.postgres_async import translating
from data_ingest.store import catalogue, scrape_targets
from data_ingest.store.tables import SCHEMA, SELECT_REFUSED

SCOPE: Final = "metrics:read"
DEFAULT_RANGE: Final = timedelta(hours=24)
CONNECTIONS_MAX: Final = 2
TIMEOUT_S: Final = 120.0
"""Of a request's work in the store, waiting for a connection included."""

Time = Annotated[datetime | None, Query(description="RFC 3339, or seconds since the epoch")]
State = Literal["active", "dropped", "any"]
Pool = Annotated[str | None, Query(alias="scrapePool", description="the name of a job")]


class BadPeriod(ServiceError):
    """The start or end is out of range"""

    kind = Kind.BAD_DATA


class Door:
    """What routes on the store share: who calls, and a few connections of their own."""

    def __init__(
        self, identity: IdentityClient, database_url: str, name: str, most: int = CONNECTIONS_MAX
    ) -> None:
        self._identity = identity
        self._database_url = database_url
        self._name = name
        self._connections = anyio.CapacityLimiter(most)

    async def caller(self, request: Request, scope: str) -> Principal:
        """Who asks; raises what `authenticate` does, and Forbidden without the scope."""
        principal = await self._identity.authenticate(request.headers)
        principal.require(scope)
        return principal

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Any]:
        """A connection, once one is free; errors of Postgres, and TIMEOUT_S, are the store's."""
        with translating(SCHEMA):
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._connections,
                catalogue.connected(self._database_url, self._name) as conn,
            ):
                yield conn


def success(data: Any) -> dict[str, Any]:
    """As Prometheus answers."""
    return {"status": "success", "data": data}


def router(identity: IdentityClient, database_url: str) -> APIRouter:
    """`GET /api/v1/refused` and `/api/v1/targets`."""
    routes = APIRouter(prefix="/api/v1")
    door = Door(identity, database_url, "reading")

    @routes.get("/refused")
    async def refused(request: Request, start: Time = None, end: Time = None) -> dict[str, Any]:
        """By reason and sender, the latest first: samples, an example, first and last time."""
        principal = await door.caller(request, SCOPE)
        since, until = _period(start, end)
        async with door.connected() as conn:
            rows = await conn.fetch(SELECT_REFUSED, principal.tenant, since, until)
        return success(
            [
                {
                    **{name: row[name] for name in ("reason", "sender", "samples", "example")},
                    "firstTime": row["first_at"].isoformat(),
                    "lastTime": row["last_at"].isoformat(),
                }
                for row in rows
            ]
        )

    @routes.get("/targets")
    async def targets(
        request: Request, state: State = "any", scrape_pool: Pool = None
    ) -> dict[str, Any]:
        """Targets by state, in Prometheus' shape: health, last error, when scraped last."""
        principal = await door.caller(request, SCOPE)
        async with door.connected() as conn:
            listed = await scrape_targets.of_tenant(conn, principal.tenant)
        active, dropped = (
            [facts for facts in of_state if scrape_pool in {None, facts["scrapePool"]}]
            for of_state in listed
        )
        return success(
            {
                "activeTargets": active if state != "dropped" else [],
                "droppedTargets": dropped if state != "active" else [],
                "droppedTargetCounts": Counter(facts["scrapePool"] for facts in dropped),
            }
        )

    return routes


def _period(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    try:
        until = _utc(end or datetime.now(UTC))
        return (_utc(start) if start else until - DEFAULT_RANGE), until
    except OverflowError as exc:
        raise BadPeriod(detail=str(exc)) from None


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
