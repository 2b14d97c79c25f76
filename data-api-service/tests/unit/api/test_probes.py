"""The laws of /ready, over ASGI."""

import httpx
import pytest
from fastapi import FastAPI

from data_api.chassis.probes import Drain, router


async def well() -> str:
    return "there"


async def ill() -> str:
    raise OSError("gone")


@pytest.mark.parametrize(
    ("needed", "partial", "draining", "status", "code"),
    [
        (well, well, False, "ok", 200),
        (well, ill, False, "degraded", 200),
        (ill, well, False, "unavailable", 503),
        (ill, ill, False, "unavailable", 503),
        (well, well, True, "unavailable", 503),
    ],
)
@pytest.mark.anyio
async def test_only_what_all_work_needs_turns_a_router_away(
    needed, partial, draining, status, code
):
    """Ready is 503 when nothing can be served or at a stop, degraded when a part can."""
    app = FastAPI()
    checks = {"postgres": needed}
    app.include_router(router(checks, partial={"blocks": partial}, drain=Drain(draining)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (code, status)
    assert answer.json()["checks"]["blocks"]["ok"] is (partial is well)
