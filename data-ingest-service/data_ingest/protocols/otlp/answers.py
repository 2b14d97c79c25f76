"""What an OTLP sender is told, in the encoding it sent.

    200  ExportMetricsServiceResponse: empty, or partial_success{rejected_data_points, message}
    else google.rpc.Status{code, message}

Senders send again after 429, 502, 503 and 504 only, so that our own trouble is 503 and never 500.
Source: OTLP specification, "OTLP/HTTP Response".
"""

import json
from typing import Final

from starlette.responses import Response

from data_ingest.chassis import problems
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.model import Outcome
from data_ingest.protocols.protobuf import VARINT, field, write_varint
from data_ingest.protocols.protocol import WriteRequest, refusal

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_UNAVAILABLE: Final = 14
_RPC_CODES: Final = {
    Kind.BAD_DATA: 3,
    Kind.UNAUTHENTICATED: 16,
    Kind.FORBIDDEN: 7,
    Kind.TOO_LARGE: 8,
    Kind.RATE_LIMITED: 8,
    Kind.UNSUPPORTED: 12,
    Kind.CANCELED: 1,
}


def render(request: WriteRequest, result: Outcome | ServiceError) -> Response:
    """The whole answer; in JSON also where the request is in neither encoding."""
    is_json = request.media_type != PROTOBUF
    if isinstance(result, Outcome):
        return _success(result, is_json=is_json)
    return _failure(result, request.path, is_json=is_json)


def _success(outcome: Outcome, *, is_json: bool) -> Response:
    refused, message = refusal(outcome), ""
    if refused is not None:
        message = f"{outcome.refused_points} data points: {refused}"
    if is_json:
        partial = {"rejectedDataPoints": str(outcome.refused_points), "errorMessage": message}
        answer = {"partialSuccess": partial} if message else {}
        return Response(json.dumps(answer), 200, media_type=JSON)
    body = b""
    if message:
        points = write_varint(1 << 3 | VARINT) + write_varint(outcome.refused_points)
        body = field(
            1,
            (points if outcome.refused_points else b"")
            + field(2, message.encode("utf-8", "replace")),
        )
    return Response(body, 200, media_type=PROTOBUF)


def _failure(error: ServiceError, path: str, *, is_json: bool) -> Response:
    # What the error quotes may hold lone surrogates, which have no UTF-8.
    message = error.describe().encode("utf-8", "backslashreplace")
    code = _RPC_CODES.get(error.kind, _UNAVAILABLE)
    plain = problems.render(error, path)
    status = 503 if plain.status_code == 500 else plain.status_code
    if is_json:
        body = json.dumps({"code": code, "message": message.decode()}).encode()
    else:
        body = write_varint(1 << 3 | VARINT) + write_varint(code) + field(2, message)
    response = Response(body, status, media_type=JSON if is_json else PROTOBUF)
    for name in ("Retry-After", "WWW-Authenticate"):
        if name in plain.headers:
            response.headers[name] = plain.headers[name]
    return response
