"""Pages in Prometheus' protobuf format, made with protobuf's own library.

Source: client_model `io/prometheus/client/metrics.proto`.
"""

from typing import Any

from tests import wire
from tests.wire import Fields

_ONE: list[Fields] = [(1, "value", "double", False), (2, "exemplar", "Exemplar", False)]
MESSAGES: dict[str, list[Fields]] = {
    "Label": [(1, "name", "bytes", False), (2, "value", "bytes", False)],
    "Timestamp": [(1, "seconds", "int64", False), (2, "nanos", "int64", False)],
    "Exemplar": [
        (1, "label", "Label", True),
        (2, "value", "double", False),
        (3, "timestamp", "Timestamp", False),
    ],
    "Gauge": _ONE[:1],
    "Counter": [*_ONE, (3, "created", "Timestamp", False)],
    "Quantile": [(1, "quantile", "double", False), (2, "value", "double", False)],
    "Summary": [
        (1, "count", "uint64", False),
        (2, "sum", "double", False),
        (3, "quantile", "Quantile", True),
    ],
    "Bucket": [
        (1, "count", "uint64", False),
        (2, "bound", "double", False),
        (3, "exemplar", "Exemplar", False),
        (4, "real", "double", False),
    ],
    "Span": [(1, "offset", "sint32", False), (2, "length", "uint32", False)],
    "Histogram": [
        (1, "count", "uint64", False),
        (2, "sum", "double", False),
        (3, "bucket", "Bucket", True),
        (4, "real", "double", False),
        (5, "schema", "sint32", False),
        (6, "zero_threshold", "double", False),
        (7, "zero", "uint64", False),
        (8, "zero_real", "double", False),
        (9, "negative_span", "Span", True),
        (10, "negative_delta", "sint64", True),
        (11, "negative_count", "double", True),
        (12, "positive_span", "Span", True),
        (13, "positive_delta", "sint64", True),
        (14, "positive_count", "double", True),
        (15, "created", "Timestamp", False),
        (16, "exemplars", "Exemplar", True),
    ],
    "Metric": [
        (1, "label", "Label", True),
        (2, "gauge", "Gauge", False),
        (3, "counter", "Counter", False),
        (4, "summary", "Summary", False),
        (5, "untyped", "Gauge", False),
        (6, "timestamp_ms", "int64", False),
        (7, "histogram", "Histogram", False),
    ],
    "MetricFamily": [
        (1, "name", "bytes", False),
        (2, "help", "bytes", False),
        (3, "type", "uint32", False),
        (4, "metric", "Metric", True),
        (5, "unit", "bytes", False),
    ],
}
_FAMILY = wire.message_class("io_prometheus_client", MESSAGES, "MetricFamily")
COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
CONTENT_TYPE = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)


def labels(**pairs: str) -> list[dict[str, bytes]]:
    """The label messages of these."""
    return [{"name": name.encode(), "value": value.encode()} for name, value in pairs.items()]


def family(name: str, kind: int, *metrics: dict[str, Any], about: str = "") -> bytes:
    """One family with its length in front."""
    made = _FAMILY(name=name.encode(), help=about.encode(), type=kind, metric=metrics)
    return delimited(made.SerializeToString())


def delimited(message: bytes) -> bytes:
    """The message with its length, a varint, in front."""
    size, out = len(message), bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size]) + message
