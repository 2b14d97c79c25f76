"""What was refused of a tenant's samples, so that whoever sends them can see why."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from data_ingest.chassis.identity import IdentityClient
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.chassis.postgres_async import translating
from data_ingest.store import catalogue, tables

SCOPE: Final = "metrics:read"
DEFAULT_RANGE: Final = timedelta(hours=24)
CONNECTIONS_MAX: Final = 2

Time = Annotated[datetime | None, Query(description="RFC 3339, or seconds since the epoch")]


class BadPeriod(ServiceError):
    """The start or end is out of range"""

    kind = Kind.BAD_DATA


def router(identity: IdentityClient, database_url: str) -> APIRouter:
    """`GET /api/v1/refused`, over CONNECTIONS_MAX connections of its own at most."""
    routes = APIRouter()
    connections = anyio.CapacityLimiter(CONNECTIONS_MAX)

    @asynccontextmanager
    async def connected() -> AsyncIterator[Any]:
        async with connections, catalogue.connected(database_url, "refused") as conn:
            yield conn

    @routes.get("/api/v1/refused")
    async def refused(request: Request, start: Time = None, end: Time = None) -> JSONResponse:
        """By reason and sender, the latest first: samples, an example, first and last time."""
        principal = await identity.authenticate(request.headers)
        principal.require(SCOPE)
        since, until = _period(start, end)
        with translating(tables.SCHEMA):
            async with connected() as conn:
                rows = await conn.fetch(tables.SELECT_REFUSED, principal.tenant, since, until)
        return JSONResponse({"status": "success", "data": [_rendered(row) for row in rows]})

    return routes


def _period(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    try:
        until = _utc(end or datetime.now(UTC))
        return (_utc(start) if start else until - DEFAULT_RANGE), until
    except OverflowError as exc:
        raise BadPeriod(detail=str(exc)) from None


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _rendered(row: Any) -> dict[str, Any]:
    return {
        "reason": row["reason"],
        "sender": row["sender"],
        "samples": row["samples"],
        "example": row["example"],
        "firstTime": row["first_at"].isoformat(),
        "lastTime": row["last_at"].isoformat(),
    }
