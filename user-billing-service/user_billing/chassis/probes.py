"""The three routes every service answers without a credential: /health, /ready and /metrics.

/health says that this process answers, and touches nothing. /ready asks each dependency at once,
each within its own bound, and answers 503 with the reasons as soon as one is missing that nothing
can be served without. One that only part of the work needs is `partial`: without it the answer is
200 and `degraded`, because a router that turned away from all replicas would end the rest as well.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

Check = Callable[[], Awaitable[str]]


@dataclass(slots=True)
class Drain:
    """Whether this process is about to stop; a router must stop sending before it does."""

    draining: bool = False


def router(
    checks: Mapping[str, Check],
    *,
    partial: Mapping[str, Check] | None = None,
    timeout_s: float = 2.0,
    drain: Drain | None = None,
) -> APIRouter:
    """The probe routes; a check returns a short detail or raises, and may take `timeout_s`."""
    all_checks = {**checks, **(partial or {})}
    routes = APIRouter(tags=["probes"])

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @routes.head("/ready", include_in_schema=False)
    @routes.get("/ready")
    async def ready() -> JSONResponse:
        answers = await asyncio.gather(
            *(_answer(check, timeout_s) for check in all_checks.values())
        )
        results = dict(zip(all_checks, answers, strict=True))
        if drain is not None and drain.draining:
            results["process"] = {"ok": False, "detail": "stopping"}
        missing = {name for name, answer in results.items() if not answer["ok"]}
        status = "unavailable" if missing - set(partial or {}) else "degraded" if missing else "ok"
        body = {"status": status, "checks": results}
        return JSONResponse(body, 503 if status == "unavailable" else 200)

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return routes


async def _answer(check: Check, timeout_s: float) -> dict[str, bool | str]:
    try:
        async with asyncio.timeout(timeout_s):
            return {"ok": True, "detail": await check()}
    except TimeoutError:
        return {"ok": False, "detail": f"no answer within {timeout_s:g} s"}
    except Exception as error:  # noqa: BLE001 - whatever a dependency raises is its answer
        return {"ok": False, "detail": f"{type(error).__name__}: {error}".strip().rstrip(":")}
