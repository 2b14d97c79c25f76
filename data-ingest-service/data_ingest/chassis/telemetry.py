"""Logs and request metrics, the same in every service.

Logs are JSON lines on stdout, or colours on a terminal: events are names, facts are fields. Each
request gets an id, one canonical log line and two metrics whose `route` is the template, so that
no path or label value from outside ever becomes a label.
"""

import contextlib
import logging
import sys
import time
import uuid
from typing import Final, TextIO, cast

import structlog
from prometheus_client import Counter, Histogram, Info
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .callers import REQUEST

REQUESTS: Final = Counter(
    "cloudopshub_http_requests_total",
    "HTTP requests answered.",
    ["service", "route", "method", "status"],
)
DURATIONS: Final = Histogram(
    "cloudopshub_http_request_duration_seconds",
    "Time from the request's first byte to the answer's last.",
    ["service", "route", "method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BUILD: Final = Info("cloudopshub_build", "The version that runs.", ["service"])
QUIET: Final = frozenset({"/health", "/ready", "/metrics", "/internal/revocations"})
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MISDIRECTED: Final = JSONResponse(
    {
        "status": "error",
        "errorType": "unavailable",
        "error": "the service that this request is for has moved; try again shortly",
    },
    503,
    {"Retry-After": "1"},
)

log = structlog.get_logger()


def configure(service: str, level: str, version: str = "unknown") -> None:
    """From here on every log line, ours and the libraries', has one shape on stdout."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderers: list[structlog.typing.Processor]
    if sys.stdout.isatty():
        # plain: a rich traceback would print local variables, and with them credentials
        plain = structlog.dev.plain_traceback
        renderers = [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    else:
        renderers = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    output = cast("TextIO", Output(sys.stdout))
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _without_terminal_colours],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for own in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(own).handlers[:] = []
        logging.getLogger(own).propagate = True
    # Our own lines do not pass through `logging`: a request's line costs 13 us so, and 29 with it.
    structlog.configure(
        processors=[*shared, *renderers],
        logger_factory=structlog.WriteLoggerFactory(output),
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=True,
    )
    BUILD.labels(service).info({"version": version})


class Output:
    """A stream that loses what it cannot write: a full disk fails no request and ends no task."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """The text is written, or lost."""
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """What was written has left the process, or is tried again with the next."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def _without_terminal_colours(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Uvicorn repeats its messages in colours; one of the two is enough."""
    event.pop("color_message", None)
    return event


class RequestLog:
    """ASGI middleware: a request id, one canonical log line and the HTTP metrics of a request.

    Source of the id: the caller's `X-Request-Id` when it is short and printable, else a new uuid.
    A request whose `X-CloudOpsHub-Service` names another service came to an address that has moved:
    503, so that its sender tries again, where a 404 would make it drop what it sends.
    """

    def __init__(self, app: ASGIApp, service: str) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything through; only http requests are recorded."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500
        request_id = _request_id(scope)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        REQUEST.set(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        meant_for = dict(scope["headers"]).get(b"x-cloudopshub-service", self.service.encode())
        app = self.app if meant_for == self.service.encode() else MISDIRECTED
        try:
            await app(scope, receive, send_with_id)
        finally:
            self._record(scope, status, time.perf_counter() - started_s)

    def _record(self, scope: Scope, status: int, elapsed_s: float) -> None:
        route = scope.get("route")
        template = (
            getattr(route, "path", None) or scope.get("state", {}).get("route") or "unmatched"
        )
        method = scope["method"] if scope["method"] in METHODS else "other"
        REQUESTS.labels(self.service, template, method, str(status)).inc()
        DURATIONS.labels(self.service, template, method).observe(elapsed_s)
        quiet = scope["path"] in QUIET and status < 400
        (log.debug if quiet else log.info)(
            "request",
            route=template,
            method=method,
            status=status,
            duration_s=round(elapsed_s, 6),
        )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and 0 < len(value) <= 64 and value.isalnum():
            return str(value.decode("ascii"))
    return uuid.uuid4().hex
