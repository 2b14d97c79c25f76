"""CloudWatch metric streams in the format OpenTelemetry 1.0, in the words of the JSON format.

    record: (length as varint, ExportMetricsServiceRequest) one after another
    summary of resource {cloud.account.id, cloud.region} with {Namespace, MetricName, Dimensions}
      ─▶ its count, its sum, quantile 0 as min, 1 as max, 0.99 as p99; the time is the period's end

Source: CloudWatch user guide, "Metric stream output in OpenTelemetry 1.0.0 format".
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from google.protobuf.message import DecodeError

from data_ingest.protocols.messages import OTLP
from data_ingest.protocols.otlp.attributes import plain
from data_ingest.protocols.protobuf import BYTES, read_varint

OTEL_0_7: Final = "opentelemetry_0_7"
_FIRST_FIELD: Final = bytes([1 << 3 | BYTES])
_STATISTICS: Final = {0.0: "min", 1.0: "max"}
_NS_PER_MS: Final = 1_000_000
MESSAGE_BYTES_MAX: Final = 1 << 20
"""Read at once, where two bytes may stand for a data point. A record of Firehose has 1,000 KiB."""


class OldFormat(ValueError):
    """The record is OpenTelemetry 0.7, whose dimensions would be read over."""


def is_otel(record: bytes) -> bool:
    """Whether a record is in this format; a line of JSON goes on in its first line."""
    if record.lstrip().startswith(b"{") and record[1:2] != b"\n":
        return False
    try:
        return record[read_varint(record, 0)[1] :][:1] == _FIRST_FIELD
    except ValueError:
        return False


def metrics(record: bytes) -> Iterator[dict[str, Any] | ValueError]:
    """Each summary's data point as a line of JSON has it; or why there is none."""
    for message in _messages(record):
        try:
            request = OTLP["Request"].FromString(message)
        except (TypeError, DecodeError):
            yield ValueError("a message in OpenTelemetry's format is cut, malformed or over 1 MiB")
            continue
        for resource_metrics in request.resourceMetrics:
            for scope_metrics in resource_metrics.scopeMetrics:
                for metric in scope_metrics.metrics:
                    points = metric.summary.dataPoints
                    if not points:
                        yield ValueError(f"{metric.name[:100]!r} is no metric of CloudWatch")
                    for point in points:
                        try:
                            yield _metric(resource_metrics.resource.attributes, point)
                        except ValueError as error:
                            yield error


def _messages(record: bytes) -> Iterator[bytes | None]:
    """Those of a record; None for one that is too large, or that the record ends within."""
    at = 0
    while at < len(record):
        try:
            size, start = read_varint(record, at)
        except ValueError:
            size, start = len(record), at
        at = start + size
        yield record[start:at] if at <= len(record) and size <= MESSAGE_BYTES_MAX else None


def _metric(resource: Iterable[Any], point: Any) -> dict[str, Any]:
    if point.oldLabels:
        raise OldFormat("OpenTelemetry 0.7; set the stream's output format to 1.0 or JSON")
    if not point.timeUnixNano:
        raise ValueError("a data point has no time")
    place, own = _plain(resource), _plain(point.attributes)
    value = {"count": float(point.count), "sum": point.sum}
    for one in point.quantileValues:
        percent = (Decimal(repr(one.quantile)) * 100).normalize()
        value[_STATISTICS.get(one.quantile, f"p{percent:f}")] = one.value
    return {
        "namespace": own.get("Namespace"),
        "metric_name": own.get("MetricName"),
        "dimensions": own.get("Dimensions", {}),
        "account_id": place.get("cloud.account.id"),
        "region": place.get("cloud.region"),
        "timestamp": point.timeUnixNano // _NS_PER_MS,
        "value": value,
    }


def _plain(attributes: Iterable[Any]) -> Mapping[str, Any]:
    return {one.key.decode(): plain(one.value, 0) for one in attributes}
