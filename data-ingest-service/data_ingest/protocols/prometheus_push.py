"""Prometheus text that is pushed: Pushgateway's paths, and the import path of VictoriaMetrics.

    /metrics/job/nightly/instance/db%201    its labels replace those of the body
    /api/v1/import/prometheus?extra_label=job=x&timestamp=ms

A push is stored with the time it came, unless the import says otherwise; Pushgateway keeps the last
push for ever, here its series end after the lookback as any other's (ADR 19).
Source: Pushgateway README, "API"; VictoriaMetrics, "How to import data in Prometheus exposition
format".
"""

import base64
import binascii
import re
from typing import Final
from urllib.parse import parse_qsl

import numpy as np
from starlette.responses import Response

from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import BadBody, BodyTooLarge, UnsupportedBody
from data_ingest.kernels.hashing import hash_texts, seed_for
from data_ingest.limits import INVALID_EXEMPLAR
from data_ingest.model import F64, I64, Outcome, RawLabels, SampleBatch
from data_ingest.protocols import compression, prometheus_text
from data_ingest.protocols.exemplars import exemplar
from data_ingest.protocols.protocol import Bounds, WriteProtocol, WriteRequest, render

PUSH_TIME: Final = b"push_time_seconds"
DESCRIPTIONS_MAX: Final = 50_000
_BASE64: Final = "@base64"
_MILLISECONDS: Final = re.compile(r"-?[0-9]{1,15}")


def check(request: WriteRequest) -> None:
    """Passes for text in an encoding that can be undone, and for labels that can be read."""
    compression.check(request)
    if "protobuf" in request.headers.get("content-type", ""):
        raise UnsupportedBody(detail="protobuf is not taken here; push the text format")
    extra_labels(request.query_string) if "group" not in request.parameters else grouping_labels(
        request
    )


def grouping_labels(request: WriteRequest) -> RawLabels:
    """The labels in Pushgateway's path, `job` first; BadBody where they are not pairs."""
    path = request.parameters["group"].strip("/")
    texts = path.split("/")
    if len(texts) % 2 or texts[0].removesuffix(_BASE64) != "job":
        raise BadBody(detail=f"the path is /metrics/job/NAME/label/value…, not {path[:200]!r}")
    pairs = zip(*[iter(texts)] * 2, strict=True)
    return _distinct([_grouping_label(name, value) for name, value in pairs])


def extra_labels(query: str) -> RawLabels:
    """The labels of `extra_label` in a query string; BadBody for what is not name=value."""
    labels: RawLabels = []
    for name, text in parse_qsl(query, keep_blank_values=True):
        label, equals, value = text.partition("=")
        if name == "extra_label" and not (label and equals):
            raise BadBody(detail=f"extra_label is name=value, not {text[:100]!r}")
        if name == "extra_label":
            labels.append((label.encode(), value.encode()))
    return _distinct(labels)


def decode_push(request: WriteRequest, bounds: Bounds) -> SampleBatch:
    """All samples at the time the push came, and `push_time_seconds`; timestamps are refused."""
    exposition = _exposition(request, bounds)
    if exposition.has_timestamp.any():
        raise BadBody(detail="pushed metrics must not have timestamps")
    n = len(exposition) + 1
    times = np.full(n, request.received_ms, np.int64)
    values = np.append(exposition.values, request.received_ms / 1000)
    return _batch(exposition, grouping_labels(request), times, values)


def decode_import(request: WriteRequest, bounds: Bounds) -> SampleBatch:
    """All samples; one without a time has `timestamp` (ms) of the query, or the time it came."""
    exposition = _exposition(request, bounds)
    text = request.query.get("timestamp", str(request.received_ms))
    if not _MILLISECONDS.fullmatch(text):
        raise BadBody(detail=f"timestamp is milliseconds since the epoch, not {text[:30]!r}")
    times = np.where(exposition.has_timestamp, exposition.timestamps_ms, int(text))
    return _batch(exposition, extra_labels(request.query_string), times, exposition.values)


def _exposition(request: WriteRequest, bounds: Bounds) -> prometheus_text.Exposition:
    body = compression.decompressed(request, bounds.decoded_bytes_max)
    # Before memory is taken for each: a sample needs a line, a description a `#`.
    lines, descriptions = body.count(b"\n") + 1, body.count(b"#")
    if lines > bounds.samples_max + descriptions or descriptions > DESCRIPTIONS_MAX:
        raise BodyTooLarge(
            detail="too many lines in one request",
            lines=lines,
            limit=bounds.samples_max,
            descriptions_limit=DESCRIPTIONS_MAX,
        )
    openmetrics = prometheus_text.is_openmetrics(request.headers.get("content-type", ""))
    exposition = prometheus_text.decode(body, openmetrics=openmetrics)
    if len(exposition) > bounds.samples_max:
        raise BodyTooLarge(detail="too many samples in one request", limit=bounds.samples_max)
    return exposition


def _batch(
    exposition: prometheus_text.Exposition, fixed: RawLabels, timestamps_ms: I64, values: F64
) -> SampleBatch:
    """The samples; where there is a value more than the body has, it is the time of the push.

    fixed: labels that every series has, in place of its own of these names.
    """
    names = {name for name, _ in fixed}
    # A text means other labels under another group, or where its family has another type.
    seed = seed_for(repr(("push", fixed, sorted(exposition.types.items()))).encode())
    texts = [*exposition.keys(), PUSH_TIME][: len(values)]

    def labels_at(row: int) -> RawLabels:
        is_push_time = row == len(exposition)
        own = [(b"__name__", PUSH_TIME)] if is_push_time else exposition.labels(row)
        return [*(label for label in own if label[0] not in names), *fixed]

    made = [
        exemplar(
            one.sample,
            int(timestamps_ms[one.sample]) if one.timestamp_ms is None else one.timestamp_ms,
            one.value,
            one.labels,
        )
        for one in exposition.exemplars
    ]
    exemplars = [one for one in made if one is not None]
    not_taken = exposition.exemplars_total - len(exemplars)
    return SampleBatch(
        keys=hash_texts(texts, seed),
        series_of=np.arange(len(texts), dtype=np.int64),
        timestamps_ms=timestamps_ms,
        values=values,
        labels_at=labels_at,
        metadata=exposition.metadata,
        exemplars=exemplars,
        skipped={INVALID_EXEMPLAR: not_taken} if not_taken else {},
    )


def _grouping_label(name: str, value: str) -> tuple[bytes, bytes]:
    if not name.endswith(_BASE64):
        return name.encode(), value.encode()
    text = value.rstrip("=")  # padding may be left out, and `=` alone is the empty value
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise BadBody(detail=f"not base64: {value[:100]!r}") from exc
    return name.removesuffix(_BASE64).encode(), decoded


def _distinct(labels: RawLabels) -> RawLabels:
    names = [name for name, _ in labels]
    if len(names) != len(set(names)) or not {b"", b"__name__"}.isdisjoint(names):
        raise BadBody(detail="a label stands twice, has no name, or is the metric's name")
    return labels


def _render_push(request: WriteRequest, result: Outcome | ServiceError) -> Response:
    """Pushgateway's clients want 200."""
    if isinstance(result, Outcome) and not result.refused_total:
        return Response(status_code=200)
    return render(request, result)


PUSH: Final = WriteProtocol(
    name="pushgateway",
    paths=("/metrics/{group:path}",),
    decode=decode_push,
    check=check,
    unpacked_bytes=compression.unpacked_bytes,
    render=_render_push,
    methods=("POST", "PUT"),
)
IMPORT: Final = WriteProtocol(
    name="prometheus_text",
    paths=("/api/v1/import/prometheus",),
    decode=decode_import,
    check=check,
    unpacked_bytes=compression.unpacked_bytes,
)
