"""Errors as HTTP: one table from kind to status, and two renderings of the body.

Under `/api/v1` the body is Prometheus's envelope, which Grafana and the agents read; elsewhere it
is RFC 9457 problem details.
"""

from http import HTTPStatus
from typing import Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from .kinds import Kind, ServiceError

log = structlog.get_logger()

STATUS: Final[dict[Kind, int]] = {
    Kind.BAD_DATA: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 415,
    Kind.EXECUTION: 422,
    Kind.RATE_LIMITED: 429,
    Kind.CANCELED: 499,
    Kind.INTERNAL: 500,
    Kind.TIMEOUT: 503,
    Kind.UNAVAILABLE: 503,
}
KIND_OF_STATUS: Final[dict[int, Kind]] = {
    **{status: kind for kind, status in STATUS.items()},
    405: Kind.BAD_DATA,
    503: Kind.UNAVAILABLE,
}
PROMETHEUS_PATHS: Final = ("/api/", "/prometheus/")


def render(error: ServiceError, path: str, headers: dict[str, str] | None = None) -> Response:
    """The response that tells `error` to whoever asked for `path`."""
    extra = dict(headers or {})
    if (retry_after_s := error.facts.get("retry_after_s")) is not None:
        extra["Retry-After"] = str(max(1, round(float(retry_after_s))))
    if error.kind is Kind.UNAUTHENTICATED:
        extra.setdefault("WWW-Authenticate", 'Bearer realm="cloudopshub"')
    return _body(STATUS[error.kind], error.kind, error.describe(), path, extra)


def install(app: FastAPI) -> None:
    """Every error that leaves a route of `app` is rendered here."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _defect)


def _body(status: int, kind: Kind, text: str, path: str, headers: dict[str, str]) -> Response:
    # What a JSON body quotes may hold lone surrogates (`"\\ud800"`), which have no UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode()
    if path.startswith(PROMETHEUS_PATHS):
        envelope = {"status": "error", "errorType": str(kind), "error": text}
        return JSONResponse(envelope, status, headers)
    title = "Client closed request" if status == 499 else HTTPStatus(status).phrase
    problem = {"type": f"urn:cloudopshub:{kind}", "title": title, "status": status, "detail": text}
    return JSONResponse(problem, status, headers, media_type="application/problem+json")


async def _service_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, ServiceError)
    if exc.kind is Kind.INTERNAL:
        log.error("internal_error", error=type(exc).__name__, exc_info=exc)
    return render(exc, request.url.path)


async def _invalid_request(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    faults = "; ".join(
        f'invalid parameter "{".".join(str(part) for part in error["loc"][1:]) or "body"}": '
        f"{error['msg']}"
        for error in exc.errors()[:5]
    )
    return _body(400, Kind.BAD_DATA, faults, request.url.path, {})


async def _http_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    kind = KIND_OF_STATUS.get(exc.status_code, Kind.INTERNAL)
    headers = dict(exc.headers or {})
    return _body(exc.status_code, kind, str(exc.detail), request.url.path, headers)


async def _defect(request: Request, exc: Exception) -> Response:
    log.error("unexpected_error", path=request.url.path, exc_info=exc)
    text = "an unexpected error; the log of this service has it under the request id"
    # The server ends the connection after a defect; a proxy that was not told would send its next
    # request into the closed one.
    return _body(500, Kind.INTERNAL, text, request.url.path, {"Connection": "close"})
