"""The laws of /ready, over ASGI."""

import asyncio

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


def served(checks, **more):
    app = FastAPI()
    app.include_router(router(checks, **more))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-CloudOpsHub-Service"]
)
@pytest.mark.anyio
async def test_a_stranger_is_not_told_the_reasons(header):
    """Through a proxy: the names, and whether each is there; asked directly: why not."""
    async with served({"postgres": ill}, partial={"blocks": well}) as client:
        direct = await client.get("/ready")
        through = await client.get("/ready", headers={header: "das"})
    assert direct.json()["checks"]["postgres"] == {"ok": False, "detail": "OSError: gone"}
    assert through.status_code == direct.status_code == 503
    assert through.json() == {
        "status": "unavailable",
        "checks": {"postgres": {"ok": False}, "blocks": {"ok": True}},
    }


@pytest.mark.anyio
async def test_however_many_ask_one_check_runs():
    """Callers at one time share one round of checks; strangers share its answer for a while, and
    who asks directly afterwards is told what is true now.
    """
    rounds = []

    async def counted() -> str:
        rounds.append(None)
        await asyncio.sleep(0)
        return "there"

    async with served({"postgres": counted}, strangers_answer_s=3_600) as client:
        stranger = {"X-Forwarded-For": "203.0.113.1"}
        answers = await asyncio.gather(
            *(client.get("/ready", headers=stranger if n % 2 else {}) for n in range(200))
        )
        assert {answer.status_code for answer in answers} == {200}
        together = len(rounds)
        for _ in range(20):
            await client.get("/ready", headers=stranger)
        assert len(rounds) == together < 20
        await client.get("/ready")
    assert len(rounds) == together + 1
