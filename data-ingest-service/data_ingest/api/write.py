"""The write routes: bare ASGI, since they are the ones that must be fast.

authenticate → scope → check → body within its bounds → pipeline → the protocol's own answer
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import structlog
from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from data_ingest.api.body import MemoryBudget, Pace, read_body
from data_ingest.chassis.identity import IdentityClient
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.chassis.telemetry import RequestLog
from data_ingest.errors import Defect, SlowBody
from data_ingest.model import Outcome, SampleBatch, Sender
from data_ingest.pipeline import Pipeline
from data_ingest.protocols.protocol import Bounds, WriteProtocol, WriteRequest

SCOPE = "metrics:write"
SAYS_ITS_SIZE = frozenset({"", "identity", "snappy"})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WritePath:
    """What every write route works with."""

    identity: IdentityClient
    pipeline: Pipeline
    memory: MemoryBudget
    bounds: Bounds
    body_bytes_max: int
    pace: Pace
    clock: Callable[[], float] = time.time


class WriteEndpoint:
    """One protocol on one route; an ASGI application. template: the route's path, for metrics."""

    def __init__(self, protocol: WriteProtocol, template: str, path: WritePath) -> None:
        self._protocol = protocol
        self._template = template
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers success only when every sample is durable, else says what became of them."""
        request = _request(scope, int(self._path.clock() * 1000))
        scope.setdefault("state", {})["route"] = self._template
        try:
            result: Outcome | ServiceError = await self._write(request, receive)
        except ServiceError as error:
            if error.kind is Kind.INTERNAL:
                log.exception("internal_error", error=type(error).__name__)
            result = error
        except Exception:
            log.exception("unexpected_error", path=request.path)
            result = Defect()
        response = self._protocol.render(request, result)
        request.body = b""  # its memory is not reserved any more, and the answer may wait
        if isinstance(result, SlowBody | Defect):
            # Nobody waits for the rest of a body that does not come.
            response.headers["Connection"] = "close"
        await response(scope, receive, send)

    async def _write(self, request: WriteRequest, receive: Receive) -> Outcome:
        path, protocol = self._path, self._protocol
        query = request.query if protocol.has_key_in_query else None
        principal = await path.identity.authenticate(request.headers, query)
        principal.require(SCOPE)
        protocol.check(request)
        with path.memory.lease(principal.tenant) as reserve:
            request.tenant = principal.tenant
            request.body = await read_body(
                request.headers, receive, path.body_bytes_max, reserve, path.pace
            )
            # A body that claims more is refused by `decode` before memory is taken for it.
            unpacked_bytes = protocol.unpacked_bytes(request)
            reserve(min(unpacked_bytes, path.bounds.decoded_bytes_max))
            structlog.contextvars.bind_contextvars(tenant=str(principal.tenant))

            def decode() -> SampleBatch:
                return protocol.decode(request, path.bounds)

            sender = Sender(principal.tenant, principal.credential_id or principal.subject)
            # A format that does not say how much it unpacks to may hold far more than it looks.
            is_small = (
                unpacked_bytes <= protocol.small_bytes
                and request.headers.get("content-encoding", "") in SAYS_ITS_SIZE
            )
            return await path.pipeline.ingest_body(
                sender, decode, principal.limits, protocol.name, is_small=is_small
            )


class WriteFirst(FastAPI):
    """FastAPI that hands writes to their endpoints before its own layers see them.

    They cost a third of a small request (benchmarks/bench_write_path.py), and a write needs none.
    """

    def __init__(self, service: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._service = service
        self._endpoints: dict[tuple[str, str], ASGIApp] = {}

    def add_writes(self, routes: Sequence[Route]) -> None:
        """These are routes of the app; where the path has no parameters, also in front of it."""
        self.router.routes.extend(routes)
        for route in routes:
            if not route.param_convertors:
                recorded = RequestLog(route.endpoint, self._service)
                self._endpoints |= {
                    (method, route.path): recorded for method in route.methods or ()
                }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        write = None
        if scope["type"] == "http":
            write = self._endpoints.get((scope["method"], scope["path"]))
        await (write or super().__call__)(scope, receive, send)


def _request(scope: Scope, received_ms: int) -> WriteRequest:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope["query_string"].decode("latin-1")
    return WriteRequest(
        scope["path"],
        headers,
        dict(parse_qsl(query, keep_blank_values=True)) if query else {},
        scope.get("path_params", {}),
        query,
        received_ms=received_ms,
    )


def routes(protocols: Iterable[WriteProtocol], path: WritePath) -> list[Route]:
    """A route for each path of each protocol, also with a slash at its end."""
    return [
        Route(
            template + end,
            WriteEndpoint(protocol, template, path),
            methods=protocol.methods,
            name=f"{protocol.name} {template}{end}",
        )
        for protocol in protocols
        for template in protocol.paths
        for end in ("", "/")
    ]
