"""CloudWatch metric streams through Amazon Data Firehose's HTTP endpoint.

    {"requestId", "timestamp", "records": [{"data": base64 of lines, or of OpenTelemetry 1.0}]}
    a line: {"namespace": "AWS/EC2", "metric_name", "dimensions", "timestamp", "value": {"sum": …}}
            ─▶ aws_ec2_cpuutilization_sum, …_count, …_min, …_max: gauges of one period each

What cannot be read is counted and not answered with an error: Firehose would send all of it again
for hours. A request that comes twice writes the same samples again, which are stored once.
Source: Data Firehose developer guide, "HTTP endpoint delivery specifications"; CloudWatch user
guide, "Metric streams output in JSON format".
"""

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from starlette.responses import JSONResponse, Response

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.chassis.problems import STATUS
from data_ingest.errors import BadBody, BodyTooLarge, UnsupportedBody
from data_ingest.kernels.hashing import hash_texts, seed_for
from data_ingest.model import U64, Outcome, RawLabels, SampleBatch
from data_ingest.protocols import compression, firehose_otel
from data_ingest.protocols.names import joined
from data_ingest.protocols.protocol import Bounds, WriteProtocol, WriteRequest, refusal

BAD_RECORD: Final = "bad_record"
DIMENSIONS_MAX: Final = 100
"""CloudWatch allows 30."""
LABEL_BYTES_MAX: Final = 64 << 20
REQUEST_ID: Final = "x-amz-firehose-request-id"
COMMON_ATTRIBUTES: Final = "x-amz-firehose-common-attributes"
_STATISTICS: Final = re.compile(
    r"min|max|sum|count|(?:p|tm|tc|ts|wm)[0-9.]{1,10}|iqm", re.IGNORECASE
)
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_]+")
_MS_MAX: Final = 2**53
_SEED: Final = seed_for(b"firehose")


def check(request: WriteRequest) -> None:
    """Passes for JSON in an encoding that can be undone."""
    if request.media_type not in {"", "application/json"}:
        raise UnsupportedBody(
            detail=f"Content-Type {request.media_type[:100]!r}; Firehose sends JSON"
        )
    compression.check(request)


def decode(request: WriteRequest, bounds: Bounds) -> SampleBatch:
    """Every statistic of every metric, of lines and of OpenTelemetry's messages; what is none is
    refused, one each.
    """
    body = compression.decompressed(request, bounds.decoded_bytes_max)
    common = _common_labels(request.headers.get(COMMON_ATTRIBUTES, ""))
    labels: list[RawLabels] = []
    times: list[int] = []
    values: list[float] = []
    refused, first_error, label_bytes = Counter[str](), "", 0
    for number, metric in enumerate(_metrics(_records(body)), 1):
        if number > bounds.samples_max:
            raise BodyTooLarge(detail="too many lines", limit=bounds.samples_max)
        try:
            at_ms, statistics, name, own = _read(metric, common)
        except (ValueError, OverflowError) as error:
            old = isinstance(error, firehose_otel.OldFormat)
            refused[firehose_otel.OTEL_0_7 if old else BAD_RECORD] += 1
            line = metric[:200] if isinstance(metric, bytes) else b""
            shown = f": {line.decode(errors='replace')}" if line else ""
            first_error = first_error or f"{error}{shown}"
            continue
        label_bytes += len(statistics) * sum(len(text) + 50 for pair in own for text in pair)
        if len(values) + len(statistics) > bounds.samples_max or label_bytes > LABEL_BYTES_MAX:
            raise BodyTooLarge(
                detail="too many samples or labels in one request",
                limit=bounds.samples_max,
                bytes_limit=LABEL_BYTES_MAX,
            )
        for statistic, value in statistics:
            labels.append([(b"__name__", _metric_name(name, statistic)), *own])
            times.append(at_ms)
            values.append(value)
    return SampleBatch(
        keys=_keys(labels),
        series_of=np.arange(len(labels), dtype=np.int64),
        timestamps_ms=np.array(times, np.int64),
        values=np.array(values, np.float64),
        labels_at=labels.__getitem__,
        refused=refused,
        first_error=first_error,
    )


def _keys(series: list[RawLabels]) -> U64:
    return hash_texts(
        [b"\xff".join(text for pair in labels for text in pair) for labels in series], _SEED
    )


def render(request: WriteRequest, result: Outcome | ServiceError) -> Response:
    """The request's own id and a time, with `errorMessage` where all of it should come again, or
    be looked at: 413 goes to the error bucket at once, and so shall what no repetition can mend.
    """
    answer = {"requestId": request.headers.get(REQUEST_ID, ""), "timestamp": request.received_ms}
    if isinstance(result, Outcome):
        refused = refusal(result)
        if refused is None or firehose_otel.OTEL_0_7 not in result.refused:
            return JSONResponse(answer)
        result = refused
    status = 413 if result.kind in {Kind.BAD_DATA, Kind.UNSUPPORTED} else STATUS[result.kind]
    return JSONResponse(answer | {"errorMessage": result.describe()[:8192]}, status)


def _records(body: bytes) -> list[bytes]:
    """The data of each record; BadBody when the envelope is not Firehose's."""
    try:
        records = json.loads(body)["records"]
        return [base64.b64decode(record["data"], validate=True) for record in records]
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as exc:
        raise BadBody(detail=f"it is not a request of Firehose: {exc!r}"[:300]) from exc


def _metrics(records: list[bytes]) -> Iterator[bytes | dict[str, Any] | ValueError]:
    """Each line, and each metric of OpenTelemetry's records as a line has it or why it is none."""
    for record in records:
        if firehose_otel.is_otel(record):
            yield from firehose_otel.metrics(record)
        else:
            yield from filter(bytes.strip, record.split(b"\n"))


def _read(
    metric: bytes | dict[str, Any] | ValueError, common: RawLabels
) -> tuple[int, list[tuple[str, float]], str, RawLabels]:
    """(time in ms, statistics, name, labels but the name); ValueError for what is no metric."""
    if isinstance(metric, ValueError):
        raise metric
    if isinstance(metric, bytes):
        if not metric.lstrip().startswith(b"{"):
            raise ValueError("not JSON; a stream's format is JSON or OpenTelemetry 1.0")
        try:
            metric = json.loads(metric)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"not JSON ({exc})") from exc
    assert isinstance(metric, dict)
    at_ms, value = metric.get("timestamp"), metric.get("value")
    names = [metric.get(name) for name in ("namespace", "metric_name")]
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError("no namespace or metric_name")
    if type(at_ms) is not int or abs(at_ms) > _MS_MAX:
        raise ValueError("timestamp is not milliseconds since the epoch")
    dimensions = metric.get("dimensions", {})
    listed = value.items() if isinstance(value, dict) and isinstance(dimensions, dict) else ()
    statistics = [
        (name, float(number))
        for name, number in listed
        if type(number) in {int, float} and _STATISTICS.fullmatch(name)
    ]
    if not statistics:
        raise ValueError("no statistics that are numbers, or dimensions that are no object")
    if len(dimensions) > DIMENSIONS_MAX:
        raise ValueError(f"over {DIMENSIONS_MAX} dimensions")
    return at_ms, statistics, f"{names[0]}_{names[1]}", _labels(metric, dimensions, common)


def _metric_name(name: str, statistic: str) -> bytes:
    parts = (_NOT_IN_NAMES.sub("_", text).strip("_").lower() for text in (name, statistic))
    text = "_".join(parts)
    return (f"_{text}" if text[:1].isdigit() else text).encode()


def _labels(
    metric: Mapping[str, Any], dimensions: Mapping[str, Any], common: RawLabels
) -> RawLabels:
    """Labels of a line but its name; characters that no Prometheus label has become `_`.

    Dimensions that become one label are joined with `;`, and none replaces where a metric is from.
    """
    pairs = [(_text(dimension), _text(text)) for dimension, text in dimensions.items()]
    labels = dict(common) | joined(pairs, lambda name: _label_name(name.decode()))
    places = ("namespace", "account_id", "region")
    labels |= {place.encode(): _text(metric[place]) for place in places if metric.get(place)}
    labels.pop(b"__name__", None)
    return list(labels.items())


def _common_labels(header: str) -> RawLabels:
    """Of the common attributes that the stream's owner has set."""
    if not header:
        return []
    try:
        attributes = json.loads(header)["commonAttributes"]
        pairs = [(_label_name(name), _text(text)) for name, text in attributes.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise BadBody(detail=f"common attributes are not an object: {header[:100]!r}") from exc
    return [pair for pair in pairs if pair[0] != b"__name__"]


def _text(value: object) -> bytes:
    """UTF-8, with `?` for what has no encoding (half of a surrogate pair)."""
    return str(value).encode("utf-8", "replace")


def _label_name(text: str) -> bytes:
    name = _NOT_IN_NAMES.sub("_", text)
    return (f"_{name}" if name[:1].isdigit() else name).encode()


PROTOCOL: Final = WriteProtocol(
    name="firehose",
    paths=("/firehose/v1/metrics",),
    decode=decode,
    check=check,
    unpacked_bytes=compression.unpacked_bytes,
    render=render,
)
