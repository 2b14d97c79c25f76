"""The three routes every service answers without a credential: /health, /ready and /metrics.

/health says that this process answers, and touches nothing. /ready asks each dependency at once,
each within its own bound, and answers 503 with the reasons as soon as one is missing that nothing
can be served without. One that only part of the work needs is `partial`: without it the answer is
200 and `degraded`, because a router that turned away from all replicas would end the rest as well.

However many ask, one check of the dependencies runs at a time, and all get its answer. Who comes
through a proxy is a stranger: without the reasons, which tell paths and addresses, and with an
answer that may be a second old.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

Check = Callable[[], Awaitable[str]]
Answers = dict[str, dict[str, bool | str]]

SET_BY_PROXIES: Final = ("x-forwarded-for", "forwarded", "x-real-ip", "x-cloudopshub-service")
STRANGERS_ANSWER_S: Final = 1.0


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
    strangers_answer_s: float = STRANGERS_ANSWER_S,
) -> APIRouter:
    """The probe routes; a check returns a short detail or raises, and may take `timeout_s`.

    strangers_answer_s: how old an answer to a request through a proxy may be.
    """
    dependencies = Dependencies({**checks, **(partial or {})}, timeout_s)
    routes = APIRouter(tags=["probes"])

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @routes.head("/ready", include_in_schema=False)
    @routes.get("/ready")
    async def ready(request: Request) -> JSONResponse:
        is_stranger = any(name in request.headers for name in SET_BY_PROXIES)
        results = dict(await dependencies.ask(strangers_answer_s if is_stranger else 0.0))
        if drain is not None and drain.draining:
            results["process"] = {"ok": False, "detail": "stopping"}
        missing = {name for name, answer in results.items() if not answer["ok"]}
        status = "unavailable" if missing - set(partial or {}) else "degraded" if missing else "ok"
        if is_stranger:
            results = {name: {"ok": answer["ok"]} for name, answer in results.items()}
        body = {"status": status, "checks": results}
        return JSONResponse(body, 503 if status == "unavailable" else 200)

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return routes


class Dependencies:
    """Asks all checks at once, once for everybody who wants to know at that time."""

    def __init__(self, checks: Mapping[str, Check], timeout_s: float) -> None:
        self._checks = checks
        self._timeout_s = timeout_s
        self._asking: asyncio.Task[Answers] | None = None
        self._answered_s = float("-inf")

    async def ask(self, age_s_max: float) -> Answers:
        """What each check says, asked at most `age_s_max` ago or in a round that is under way."""
        task = self._asking
        if task is None or (task.done() and monotonic() - self._answered_s >= age_s_max):
            task = self._asking = asyncio.create_task(self._ask(), name="readiness")
        return await asyncio.shield(task)

    async def _ask(self) -> Answers:
        answers = await asyncio.gather(
            *(_answer(check, self._timeout_s) for check in self._checks.values())
        )
        self._answered_s = monotonic()
        return dict(zip(self._checks, answers, strict=True))


async def _answer(check: Check, timeout_s: float) -> dict[str, bool | str]:
    try:
        async with asyncio.timeout(timeout_s):
            return {"ok": True, "detail": await check()}
    except TimeoutError:
        return {"ok": False, "detail": f"no answer within {timeout_s:g} s"}
    except Exception as error:  # noqa: BLE001 - whatever a dependency raises is its answer
        return {"ok": False, "detail": f"{type(error).__name__}: {error}".strip().rstrip(":")}
