"""What is scraped for the caller's organisation: data-ingest-service knows, and is asked.

Without `DIS_URL` nothing is scraped, as far as this service knows.
"""

import asyncio
from typing import Any, Final

import httpx
import orjson
from fastapi import APIRouter, Depends, Response

from data_api.api.deps import Asked, reader
from data_api.api.routing import answer, readable
from data_api.chassis.identity import IdentityClient, Principal
from data_api.errors import TargetsUnavailable

TIMEOUT_S: Final = 5.0  # of all: waiting, token and answer
IN_FLIGHT_MAX: Final = 8  # calls at once: the connections are those that verify keys
BYTES_MAX: Final = 16 * 1024 * 1024
STATES: Final = ("active", "dropped")
NOTHING: Final[dict[str, Any]] = {
    "activeTargets": [],
    "droppedTargets": [],
    "droppedTargetCounts": {},
}

routes = APIRouter(tags=["prometheus"], dependencies=[Depends(reader)])


class Targets:
    """The scrape targets of tenants, read from data-ingest-service as each of them."""

    def __init__(
        self, dis_url: str | None, http: httpx.AsyncClient, identity: IdentityClient
    ) -> None:
        self._dis_url = dis_url
        self._http = http
        self._identity = identity
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def of(self, caller: Principal, wanted: dict[str, str]) -> dict[str, Any]:
        """What `GET /api/v1/targets` of data-ingest-service answers to `wanted`.

        Raises TargetsUnavailable, IdentityUnavailable.
        """
        if self._dis_url is None:
            return NOTHING
        try:
            async with asyncio.timeout(TIMEOUT_S), self._in_flight:
                body = await self._answer(self._dis_url, caller, wanted)
            data: dict[str, Any] = orjson.loads(body)["data"]
        except TimeoutError as exc:
            raise TargetsUnavailable(detail=f"no answer within {TIMEOUT_S:g} s") from exc
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as exc:
            raise TargetsUnavailable(detail=f"{type(exc).__name__}: {exc}"[:200]) from exc
        return data

    async def _answer(self, dis_url: str, caller: Principal, wanted: dict[str, str]) -> bytearray:
        url = dis_url.rstrip("/") + "/api/v1/targets"
        token = await self._identity.service_token_for(caller.tenant, "dis", ["metrics:read"])
        body = bytearray()
        headers = {"Authorization": f"Bearer {token}"}
        async with self._http.stream(
            "GET", url, params=wanted, headers=headers, timeout=TIMEOUT_S
        ) as response:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > BYTES_MAX:
                    raise TargetsUnavailable(bytes=len(body), limit=BYTES_MAX)
        response.raise_for_status()
        return body


@readable(routes, "/targets", "state", "scrapePool", post=False)
async def targets(ask: Asked) -> Response:
    """The targets by state, each with its health, its last error and when it was scraped."""
    wanted = {"scrapePool": ask.params.get("scrapePool")} if ask.params.get("scrapePool") else {}
    if ask.params.get("state") in STATES:  # any other word means all of them, as in Prometheus
        wanted["state"] = ask.params.get("state")
    return answer(await ask.request.app.state.targets.of(ask.caller, wanted))


@routes.get("/scrape_pools")
async def scrape_pools(ask: Asked) -> Response:
    """The names of the jobs that have targets."""
    data = await ask.request.app.state.targets.of(ask.caller, {})
    shown = (*data["activeTargets"], *data["droppedTargets"])
    return answer({"scrapePools": sorted({one.get("scrapePool", "") for one in shown} - {""})})
