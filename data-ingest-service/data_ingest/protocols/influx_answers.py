"""What InfluxDB's senders are answered: its JSON of version 1 and of version 2.

What a sender does with a status decides which one it gets. Telegraf's `outputs.influxdb` drops a
batch on every 4xx, 429 too, so version 1 hears 503 for all that passes by itself; Telegraf's
`outputs.influxdb_v2` comes again on 429 and 503, when `Retry-After` says in seconds, splits a batch
on 413 and drops it on any other 4xx but 401 and 403. Older Telegrafs drop what was refused only
where the text has "partial write" or "unable to parse".
Source: Telegraf `plugins/outputs/influxdb/http.go`, `influxdb_v2/http.go`.
"""

import math
from typing import Final

from starlette.responses import JSONResponse, Response

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.chassis.problems import STATUS
from data_ingest.model import Outcome
from data_ingest.protocols.protocol import WriteRequest, refusal

VERSION: Final = "1.8.10"
"""The InfluxDB whose write API this is, for clients that look."""
HEADERS: Final = {"X-Influxdb-Version": VERSION, "X-Influxdb-Build": "CloudOpsHub"}
NO_CONTENT: Final = Response(status_code=204, headers=HEADERS)

_PASSES_BY_ITSELF: Final = frozenset({Kind.RATE_LIMITED, Kind.TIMEOUT, Kind.UNAVAILABLE})
_CODES: Final = {
    400: "invalid",
    401: "unauthorized",
    403: "forbidden",
    413: "request too large",
    415: "invalid",
    429: "too many requests",
    503: "unavailable",
}


def render_v1(_request: WriteRequest, result: Outcome | ServiceError) -> Response:
    """204; else `{"error": …}`, with 503 for whatever passes by itself."""
    error = refusal(result) if isinstance(result, Outcome) else result
    if error is None:
        return NO_CONTENT
    status = 503 if error.kind in _PASSES_BY_ITSELF else STATUS[error.kind]
    return _answer({"error": _text(result, error)}, status, error, 'Basic realm="cloudopshub"')


def render_v2(_request: WriteRequest, result: Outcome | ServiceError) -> Response:
    """204; else `{"code": …, "message": …}`."""
    error = refusal(result) if isinstance(result, Outcome) else result
    if error is None:
        return NO_CONTENT
    status = STATUS[error.kind]
    body = {"code": _CODES.get(status, "internal error"), "message": _text(result, error)}
    return _answer(body, status, error, 'Token realm="cloudopshub"')


def _text(result: Outcome | ServiceError, error: ServiceError) -> str:
    text = error.describe().encode("utf-8", "backslashreplace").decode()
    if isinstance(result, Outcome):
        return f"partial write: {text} dropped={result.refused_total}"
    return text


def _answer(body: dict[str, str], status: int, error: ServiceError, challenge: str) -> Response:
    headers = dict(HEADERS)
    if status == 401:
        headers["WWW-Authenticate"] = challenge
    if status in {429, 503}:
        headers["Retry-After"] = str(max(1, math.ceil(error.facts.get("retry_after_s") or 1)))
    return JSONResponse(body, status, headers)
