"""The reads that dashboards repeat, in front of FastAPI's own layers.

Those layers and its dependencies cost more than a small query does (docs/adr/0035-read-cost.md).
The routes are FastAPI's all the same: their functions, their document, their errors.
"""

from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_api.api.deps import ask
from data_api.chassis.kinds import ServiceError
from data_api.chassis.telemetry import RequestLog

HOT: Final = frozenset({"/query", "/query_range", "/labels", "/label/{name}/values", "/series"})


class ReadEndpoint:
    """One route's function without FastAPI between; an ASGI application."""

    def __init__(self, app: FastAPI, route: APIRoute, template: str) -> None:
        """template: the route's path, for metrics."""
        self._app = app
        self._call = route.endpoint
        self._template = template

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as the route does."""
        scope["app"] = self._app
        scope.setdefault("state", {})["route"] = self._template
        request = Request(scope, receive)
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            response = await self._call(await ask(request), **scope.get("path_params", {}))
            await response(scope, receive, send_on)
        except Exception as exc:
            if has_begun:
                raise
            kind = ServiceError if isinstance(exc, ServiceError) else Exception
            failure: Any = self._app.exception_handlers[kind](request, exc)
            await (await failure)(scope, receive, send)


class ReadFirst(FastAPI):
    """FastAPI that hands the hot reads to their functions before its own layers see them."""

    def __init__(self, service: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._service = service
        self._reads: dict[tuple[str, str], ASGIApp] = {}

    def add_reads(self, routes: APIRouter, prefix: str) -> None:
        """Those of `routes`, which the app has below `prefix`, that are HOT."""
        for route in routes.routes:
            if isinstance(route, APIRoute) and route.path in HOT:
                template = prefix + route.path
                endpoint = RequestLog(ReadEndpoint(self, route, template), self._service)
                self._reads |= {(method, template): endpoint for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        await (self._read(scope) or super().__call__)(scope, receive, send)

    def _read(self, scope: Scope) -> ASGIApp | None:
        if scope["type"] != "http":
            return None
        path: str = scope["path"]
        if path.endswith("/values"):
            before, _, name = path.removesuffix("/values").rpartition("/")
            if name:
                scope["path_params"] = {"name": name}
                path = before + "/{name}/values"
        return self._reads.get((scope["method"], path))
