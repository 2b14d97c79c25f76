"""The write routes: bare ASGI, since they are the ones that must be fast.

authenticate → scope → content type → body within its bounds → pipeline → 204 after the commit
"""

from collections.abc import Mapping

import structlog
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from data_ingest.api.body import MemoryBudget, Pace, read_body
from data_ingest.chassis import problems
from data_ingest.chassis.identity import IdentityClient
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.errors import SamplesRefused, SlowBody
from data_ingest.model import Outcome, SampleBatch
from data_ingest.pipeline import Pipeline
from data_ingest.protocols import remote_write

SCOPE = "metrics:write"
NO_CONTENT = 204

log = structlog.get_logger()


class RemoteWrite:
    """remote_write 1.0 on one route; an ASGI application."""

    def __init__(
        self,
        identity: IdentityClient,
        pipeline: Pipeline,
        memory: MemoryBudget,
        bounds: remote_write.Bounds,
        *,
        body_bytes_max: int,
        pace: Pace,
    ) -> None:
        self._identity = identity
        self._pipeline = pipeline
        self._memory = memory
        self._bounds = bounds
        self._body_bytes_max = body_bytes_max
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 204 when every sample is durable, else an error that says what became of them."""
        # One of PATHS, perhaps with a slash at its end: the route's template for the metrics.
        scope.setdefault("state", {})["route"] = scope["path"].removesuffix("/")
        try:
            await self._write(_headers(scope), receive)
        except ServiceError as error:
            if error.kind is Kind.INTERNAL:
                log.exception("internal_error", error=type(error).__name__)
            # Nobody waits for the rest of a body that does not come.
            headers = {"Connection": "close"} if isinstance(error, SlowBody) else None
            await problems.render(error, scope["path"], headers)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": NO_CONTENT, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def _write(self, headers: Mapping[str, str], receive: Receive) -> None:
        principal = await self._identity.authenticate(headers)
        principal.require(SCOPE)
        remote_write.check_content(
            headers.get("content-type", ""), headers.get("content-encoding", "")
        )
        with self._memory.lease(principal.tenant) as reserve:
            body = await read_body(headers, receive, self._body_bytes_max, reserve, self._pace)
            # A body that claims more is refused by `decode` before memory is taken for it.
            reserve(min(remote_write.declared_bytes(body), self._bounds.decoded_bytes_max))
            structlog.contextvars.bind_contextvars(tenant=str(principal.tenant))

            def decode() -> SampleBatch:
                return remote_write.decode(body, self._bounds)

            outcome = await self._pipeline.ingest_body(
                principal.tenant, decode, principal.limits, remote_write.NAME
            )
        raise_refused(outcome)


def raise_refused(outcome: Outcome) -> None:
    """Passes when every sample was stored; else `SamplesRefused`, a 400: senders do not resend."""
    if outcome.refused_total:
        raise SamplesRefused(
            refused=dict(outcome.refused),
            accepted=outcome.accepted,
            first_error=outcome.first_error,
        )


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def routes(endpoint: RemoteWrite) -> list[Route]:
    """One route for each path that senders are set up with, also with a slash at its end."""
    return [
        Route(path + end, endpoint, methods=["POST"], name=f"remote_write {path}{end}")
        for path in remote_write.PATHS
        for end in ("", "/")
    ]
