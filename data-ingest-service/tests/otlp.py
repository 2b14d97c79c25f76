"""OTLP requests, and what they mean, slow and obvious: protobuf's own library and its objects."""

import base64
import itertools
import json
import math
import struct
from collections import Counter
from typing import Any

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.common.v1 import common_pb2

from data_ingest.protocols.otlp import STYLES, Options, protocol
from data_ingest.protocols.otlp.names import NameStyle, label_name, metric_name
from data_ingest.protocols.prometheus_text import normalised_boundary
from data_ingest.protocols.protocol import Bounds, WriteRequest

Request = metrics_service_pb2.ExportMetricsServiceRequest
Response = metrics_service_pb2.ExportMetricsServiceResponse
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
STALE = 0x7FF0_0000_0000_0002
BOUNDS = Bounds(decoded_bytes_max=1 << 20, samples_max=50_000)
AT_NS = 1_795_000_000_123_456_789
Sample = tuple[frozenset[tuple[str, str]] | None, int, int]


def decode(
    body: bytes,
    options: Options | None = None,
    headers: dict[str, str] | None = None,
    bounds: Bounds = BOUNDS,
) -> Any:
    """The batch of a body as the service would decode it."""
    row = protocol(options or Options())
    sent = WriteRequest("/v1/metrics", headers or PROTOBUF, body=body)
    row.check(sent)
    return row.decode(sent, bounds)


def fill(attributes: Any, **texts: str) -> None:
    """Text attributes; `__` in a name stands for a dot."""
    for key, text in texts.items():
        attributes.add(key=key.replace("__", ".")).value.string_value = text


def request(at_ns: int, **resource: str) -> tuple[Any, Any]:
    """A request of one resource, and its scope metrics to put metrics in."""
    made = Request()
    resource_metrics = made.resource_metrics.add()
    fill(resource_metrics.resource.attributes, **resource)
    scope_metrics = resource_metrics.scope_metrics.add()
    gauge = scope_metrics.metrics.add(name="temperature", unit="Cel", description="How warm.")
    fill(gauge.gauge.data_points.add(time_unix_nano=at_ns, as_double=21.5).attributes, room="a")
    return made, scope_metrics


def add_histogram(scope_metrics: Any, at_ns: int, temporality: int = 2) -> Any:
    """`http.server.duration`: six observations in three buckets."""
    metric = scope_metrics.metrics.add(name="http.server.duration", unit="s")
    metric.histogram.aggregation_temporality = temporality
    return metric.histogram.data_points.add(
        time_unix_nano=at_ns, count=6, sum=1.5, bucket_counts=[1, 2, 3], explicit_bounds=[0.5, 1]
    )


def bits_of(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def plain(value: common_pb2.AnyValue) -> Any:
    """An AnyValue in JSON's terms."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [plain(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: plain(one.value) for one in value.kvlist_value.values}
    raw = getattr(value, kind)
    return base64.b64encode(raw).decode() if kind == "bytes_value" else raw


def text_of(value: common_pb2.AnyValue) -> str:
    raw = plain(value)
    if raw is None:
        return ""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, float) and (math.isnan(raw) or math.isinf(raw)):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(raw)]
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < 1e15:
        return "0" if raw == 0 and math.copysign(1, raw) > 0 else f"{raw:.0f}"
    return json.dumps(raw, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def labels_of(attributes: Any, style: NameStyle, prefix: str = "") -> dict[str, str]:
    pairs: dict[str, list[str]] = {}
    for one in attributes:
        pairs.setdefault(one.key, []).append(text_of(one.value))
    labels: dict[str, list[str]] = {}
    for key in sorted(pairs):
        labels.setdefault(label_name(prefix + key, escape=style.escape), []).extend(pairs[key])
    return {name: ";".join(texts) for name, texts in labels.items()}


class Meaning:
    """What a receiver makes of a request: samples, the counts of those that are native histograms,
    refused data points by reason, exemplars with their series, and how many of them are not taken.
    """

    def __init__(self, message: Any, style: NameStyle = STYLES["UnderscoreEscapingWithSuffixes"]):
        self.samples: list[Sample] = []
        self.refused: Counter[str] = Counter()
        self.exemplars: list[tuple[Any, int, int, dict[str, str]]] = []
        self.exemplars_skipped = 0
        self.histograms: list[int] = []
        self._style = style
        for resource_metrics in message.resource_metrics:
            own: dict[str, str] = {}
            for one in resource_metrics.resource.attributes:
                text = text_of(one.value)
                own[one.key] = f"{own[one.key]};{text}" if one.key in own else text
            target = {}
            if name := own.get("service.name"):
                namespace = own.get("service.namespace")
                target["job"] = f"{namespace}/{name}" if namespace else name
            if instance := own.get("service.instance.id"):
                target["instance"] = instance
            for scope_metrics in resource_metrics.scope_metrics:
                scope = scope_metrics.scope
                self._around = {
                    **labels_of(scope.attributes, style, "otel_scope_"),
                    "otel_scope_name": scope.name,
                    "otel_scope_version": scope.version,
                    "otel_scope_schema_url": scope_metrics.schema_url,
                }
                self._target = target
                for metric in scope_metrics.metrics:
                    self._metric(metric)

    def _metric(self, metric: Any) -> None:
        kind = metric.WhichOneof("data")
        if kind is None:
            return
        data = getattr(metric, kind)
        reason = ""
        if (
            kind in {"sum", "histogram", "exponential_histogram"}
            and data.aggregation_temporality != 2
        ):
            is_delta = data.aggregation_temporality == 1
            reason = "delta_temporality" if is_delta else "no_temporality"
        name = metric_name(
            metric.name,
            metric.unit,
            self._style,
            is_counter=kind == "sum" and data.is_monotonic,
            is_gauge=kind == "gauge",
        )
        for point in data.data_points:
            why = reason or self._fault(kind, point)
            if not reason and kind != "summary" and why:
                self.exemplars_skipped += len(point.exemplars)
            if why:
                self.refused[why] += 1
                continue
            first = len(self.samples)
            self._point(kind, name, point)
            if kind != "summary":
                self._exemplars(kind, point, [one for one, _, _ in self.samples[first:]])

    def _exemplars(self, kind: str, point: Any, identities: list[Any]) -> None:
        for one in point.exemplars:
            value = one.as_double if one.HasField("as_double") else float(one.as_int)
            at = 0
            if kind == "histogram":
                fits = [i for i, bound in enumerate(point.explicit_bounds) if value <= bound]
                bucket = fits[0] - len(point.explicit_bounds) if fits else None
                infinity = len(identities) - len(point.explicit_bounds) - 1
                at = infinity if bucket is None else bucket
            texts = {"trace_id": one.trace_id.hex(), "span_id": one.span_id.hex()}
            trace = {name: text for name, text in texts.items() if text.strip("0")}
            whole = {**labels_of(one.filtered_attributes, self._style), **trace}
            if sum(map(len, "".join((*whole, *whole.values())))) > 128:
                whole = trace
            kept = {name: text for name, text in whole.items() if text}
            ms = one.time_unix_nano // 1_000_000
            self.exemplars.append((identities[at], ms, bits_of(value), kept))

    @staticmethod
    def _fault(kind: str, point: Any) -> str:
        if point.time_unix_nano == 0:
            return "no_timestamp"
        if kind in {"gauge", "sum"}:
            has_value = point.WhichOneof("value") is not None or point.flags & 1
            return "" if has_value else "no_value"
        if kind == "histogram":
            bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
            ends = [-math.inf, *bounds, math.inf]
            grows = all(a < b for a, b in itertools.pairwise(ends))
            fits = len(counts) == len(bounds) + 1 or not (counts or bounds)
            return "" if grows and fits else "invalid_histogram"
        if kind == "exponential_histogram" and not point.flags & 1:
            counts = [*point.positive.bucket_counts, *point.negative.bucket_counts]
            is_whole = point.zero_count + sum(counts) == point.count
            return "" if point.scale >= -4 and is_whole else "invalid_histogram"
        return ""

    def _point(self, kind: str, name: str, point: Any) -> None:
        base = {**self._around, **labels_of(point.attributes, self._style), **self._target}

        def add(suffix: str, value: float, **labels: str) -> None:
            whole = {**base, **labels, "__name__": name + suffix}
            identity = frozenset((k, v) for k, v in whole.items() if v) if name else None
            bits = STALE if point.flags & 1 else bits_of(float(value))
            self.samples.append((identity, point.time_unix_nano // 1_000_000, bits))

        def boundary(value: float) -> str:
            return normalised_boundary(repr(value).encode()).decode()

        if kind in {"gauge", "sum"}:
            value_kind = point.WhichOneof("value")
            add("", getattr(point, value_kind) if value_kind else 0)
            return
        if kind == "exponential_histogram":
            add("", point.count)
            if not point.flags & 1:
                self.histograms.append(point.count)
            return
        add("_count", point.count)
        if kind == "summary" or point.HasField("sum"):
            add("_sum", point.sum)
        if kind == "summary":
            for one in point.quantile_values:
                add("", one.value, quantile=boundary(one.quantile))
            return
        add("_bucket", point.count, le="+Inf")
        total = 0
        for bound, count in zip(point.explicit_bounds, point.bucket_counts, strict=False):
            total = (total + count) % 2**64
            add("_bucket", total, le=boundary(bound))
