"""Where clients of a Prometheus look whether it is there: `/`, `/-/healthy` and `/-/ready`.

The answers are those of /health and /ready in Prometheus's words. Source: Prometheus `web/web.go`;
its `/` redirects to its page, which would lead out of a proxy's prefix: here it answers.
"""

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute

PREFIXES: Final = ("", "/prometheus")
METHODS: Final = ["GET", "HEAD"]


def router(probes: APIRouter) -> APIRouter:
    """The routes, below each prefix under which the API is served; `probes` has /ready."""
    routes = APIRouter(include_in_schema=False)
    (check,) = {
        route.endpoint
        for route in probes.routes
        if isinstance(route, APIRoute) and route.path == "/ready"
    }

    async def present() -> Response:
        return PlainTextResponse("CloudOpsHub data-api-service: the Prometheus HTTP API, /api/v1\n")

    async def healthy() -> Response:
        return PlainTextResponse("Prometheus Server is Healthy.\n")

    async def ready(request: Request) -> Response:
        answer: Response = await check(request)
        if answer.status_code != 200:
            return answer
        return PlainTextResponse("Prometheus Server is Ready.\n")

    for prefix in PREFIXES:
        for path, endpoint in (("/", present), ("/-/healthy", healthy), ("/-/ready", ready)):
            routes.add_api_route(prefix + path, endpoint, methods=METHODS)
    return routes
