"""Labels and descriptions of one OTLP request's samples, read when a series is new.

    job       service.namespace/service.name        instance  service.instance.id
    labels    attributes of the data point, then promoted attributes of the resource,
              then otel_scope_…, where the data point has no such label itself
    the rest  target_info{job, instance, …} 1

Source: OpenTelemetry specification, compatibility/prometheus_and_openmetrics.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeAlias, TypeVar

from data_ingest.errors import InvalidLabels
from data_ingest.kernels import otlp_histograms
from data_ingest.kernels import otlp_points as kernel
from data_ingest.model import I64, U8, MetricMetadata, RawLabels
from data_ingest.protocols import messages
from data_ingest.protocols.otlp import names
from data_ingest.protocols.otlp.attributes import Attributes, attributes, labels, parsed
from data_ingest.protocols.prometheus_text import normalised_boundary
from data_ingest.protocols.protocol import LabelBudget

TARGET_INFO: Final = "target_info"
SHARED_TEXT_MAX: Final = 8192
"""Characters of a text that many series share: each of them would copy it."""
_IDENTIFYING: Final = frozenset({"service.namespace", "service.name", "service.instance.id"})
_TYPES: Final = {
    kernel.GAUGE: "gauge",
    kernel.COUNTER: "counter",
    kernel.UP_DOWN: "gauge",
    kernel.HISTOGRAM: "histogram",
    kernel.SUMMARY: "summary",
    kernel.INFO: "gauge",
    kernel.EXPONENTIAL: "histogram",
}
POINTS: Final = {
    kernel.GAUGE: messages.OTLP["Number"],
    kernel.COUNTER: messages.OTLP["Number"],
    kernel.UP_DOWN: messages.OTLP["Number"],
    kernel.HISTOGRAM: messages.OTLP["HistogramPoint"],
    kernel.SUMMARY: messages.OTLP["SummaryPoint"],
    kernel.EXPONENTIAL: messages.OTLP["ExponentialPoint"],
}
"""What a data point is, by its metric's kind."""


_T = TypeVar("_T")
_OrRefused: TypeAlias = _T | InvalidLabels
"""What was read once, or why it cannot be: reading it again would cost every series as much."""


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """What becomes a label, and how names are written.

    promoted: attributes of resources that are labels of every series.
    """

    style: names.NameStyle = names.STYLES["UnderscoreEscapingWithSuffixes"]
    promoted: frozenset[str] = frozenset()
    scope_labels: bool = True


@dataclass(frozen=True)
class _Resource:
    attributes: Attributes
    options: LabelOptions

    @cached_property
    def target(self) -> Attributes:
        """`job` and `instance`, as far as the resource says."""
        own = self.attributes
        target = {}
        if name := own.get("service.name"):
            namespace = own.get("service.namespace")
            target["job"] = f"{namespace}/{name}" if namespace else name
        if instance := own.get("service.instance.id"):
            target["instance"] = instance
        return target

    @cached_property
    def promoted(self) -> Attributes:
        chosen = {k: v for k, v in self.attributes.items() if k in self.options.promoted}
        return labels(chosen, escape=self.options.style.escape)

    @cached_property
    def info(self) -> Attributes:
        """The labels of its `target_info`."""
        rest = {k: v for k, v in self.attributes.items() if k not in _IDENTIFYING}
        described = labels(rest, escape=self.options.style.escape)
        return {**described, **self.target, "__name__": TARGET_INFO}


@dataclass(slots=True)
class RequestSeries:
    """The series of one request: `buf` as it was walked, with `rows` and `metrics` of the walk."""

    buf: U8
    rows: I64
    metrics: I64
    options: LabelOptions
    _budget: LabelBudget = field(default_factory=LabelBudget)
    _read: dict[tuple[int, ...], _OrRefused[Any]] = field(default_factory=dict)
    _point: int = -1
    _point_labels: _OrRefused[Attributes] = field(default_factory=dict)
    _boundaries: list[str] = field(default_factory=list)

    def labels_at(self, row: int) -> RawLabels:
        """The labels of one sample's series; `InvalidLabels` where they cannot be read."""
        point, end, metric, part = self.rows[row, kernel.POINT :].tolist()
        if self.metrics[metric, kernel.KIND] == kernel.INFO:
            own = self._resource(metric).info
        else:
            name = self._name(metric)
            if point != self._point:
                self._read_point(point, end, metric)
            own = {**_valid(self._point_labels), **self._part(metric, name, part)}
        return self._budget.spend([(name.encode(), value.encode()) for name, value in own.items()])

    def metadata_of(self, metric: int) -> MetricMetadata | None:
        """What the sender says of this row of `metrics`; None where its name is not valid."""
        kind = self._kind(metric)
        if kind == kernel.INFO:
            return MetricMetadata(TARGET_INFO, "gauge", "Target metadata")
        try:
            name = self._name(metric)
            about, unit = self._text(metric, kernel.DESCRIPTION), self._text(metric, kernel.UNIT)
        except InvalidLabels:
            return None
        return MetricMetadata(name, _TYPES[kind], about, names.unit_name(unit))

    def _once(self, key: tuple[int, ...], read: Callable[[], _T]) -> _T:
        if key not in self._read:
            self._read[key] = _or_refused(read)
        value: _T = _valid(self._read[key])
        return value

    def _kind(self, metric: int) -> int:
        return int(self.metrics[metric, kernel.KIND]) & ~kernel.DELTA

    def _bytes(self, metric: int, column: int) -> bytes:
        start, end = self.metrics[metric, column : column + 2].tolist()
        return self.buf[start:end].tobytes()

    def _text(self, metric: int, column: int, bytes_max: int | None = None) -> str:
        text = self._bytes(metric, column)
        if bytes_max is not None and len(text) > bytes_max:
            raise InvalidLabels(detail=f"too long: {text[:100]!r}", limit=bytes_max)
        try:
            return text.decode()
        except UnicodeDecodeError as exc:
            raise InvalidLabels(detail=f"not UTF-8: {exc.object[:100]!r}") from exc

    def _resource(self, metric: int) -> _Resource:
        start = int(self.metrics[metric, kernel.RESOURCE])
        return self._once((kernel.RESOURCE, start), lambda: self._read_resource(metric))

    def _read_resource(self, metric: int) -> _Resource:
        message = self._bytes(metric, kernel.RESOURCE)
        own = attributes(parsed(messages.OTLP["Resource"], message).attributes)
        shared = _IDENTIFYING | self.options.promoted
        _check_sizes({key: text for key, text in own.items() if key in shared})
        return _Resource(own, self.options)

    def _scope(self, metric: int) -> Attributes:
        """`otel_scope_…` of the metric's scope; empty where it has no name."""
        if not self.options.scope_labels:
            return {}
        starts = self.metrics[metric, [kernel.SCOPE, kernel.SCHEMA_URL]].tolist()
        return self._once((kernel.SCOPE, *starts), lambda: self._read_scope(metric))

    def _read_scope(self, metric: int) -> Attributes:
        read = parsed(messages.OTLP["Scope"], self._bytes(metric, kernel.SCOPE))
        try:
            name, version = read.name.decode(), read.version.decode()
        except UnicodeDecodeError as exc:
            raise InvalidLabels(detail=f"scope: {str(exc)[:200]}") from exc
        escape = self.options.style.escape
        scope = {
            **labels(attributes(read.attributes), escape=escape, prefix="otel_scope_"),
            "otel_scope_name": name,
            "otel_scope_version": version,
            "otel_scope_schema_url": self._text(metric, kernel.SCHEMA_URL, SHARED_TEXT_MAX),
        }
        _check_sizes(scope)
        return scope

    def _name(self, metric: int) -> str:
        return self._once((kernel.NAME, metric), lambda: self._read_name(metric))

    def _read_name(self, metric: int) -> str:
        kind, name = self._kind(metric), self._text(metric, kernel.NAME, SHARED_TEXT_MAX)
        written = names.metric_name(
            name,
            self._text(metric, kernel.UNIT, SHARED_TEXT_MAX),
            self.options.style,
            is_counter=kind == kernel.COUNTER,
            is_gauge=kind == kernel.GAUGE,
        )
        if not written:
            raise InvalidLabels(detail=f"nothing is left of the metric name {name[:100]!r}")
        return written

    def _read_point(self, point: int, end: int, metric: int) -> None:
        """`_point_labels` and `_boundaries` are those of the data point in [point, end)."""
        self._point, self._boundaries = point, []
        self._point_labels = _or_refused(lambda: self._labels_of(point, end, metric))

    def _labels_of(self, point: int, end: int, metric: int) -> Attributes:
        kind = self._kind(metric)
        read = parsed(POINTS[kind], self.buf[point:end].tobytes())
        numbers = read.explicitBounds if kind == kernel.HISTOGRAM else ()
        if kind == kernel.SUMMARY:
            numbers = [one.quantile for one in read.quantileValues]
        self._boundaries = [normalised_boundary(repr(one).encode()).decode() for one in numbers]
        scope, resource = self._scope(metric), self._resource(metric)
        own = labels(attributes(read.attributes), escape=self.options.style.escape)
        return {**scope, **resource.promoted, **own, **resource.target}

    def _part(self, metric: int, name: str, part: int) -> Attributes:
        """`__name__`, and `le` or `quantile`, of one part of the data point."""
        kind = self._kind(metric)
        if kind not in {kernel.HISTOGRAM, kernel.SUMMARY}:
            return {"__name__": name}
        if part == otlp_histograms.COUNT_PART:
            return {"__name__": f"{name}_count"}
        if part == otlp_histograms.SUM_PART:
            return {"__name__": f"{name}_sum"}
        boundary = (
            "+Inf"
            if part == otlp_histograms.INFINITY_PART
            else self._boundaries[part - otlp_histograms.FIRST_PART]
        )
        if kind == kernel.SUMMARY:
            return {"__name__": name, "quantile": boundary}
        return {"__name__": f"{name}_bucket", "le": boundary}


def _or_refused(read: Callable[[], _T]) -> _OrRefused[_T]:
    try:
        return read()
    except InvalidLabels as exc:
        return exc


def _valid(value: _OrRefused[_T]) -> _T:
    """The value; raises the refusal there is instead."""
    if isinstance(value, InvalidLabels):
        raise value.with_traceback(None)  # which would grow with every series
    return value


def _check_sizes(texts: Attributes) -> None:
    for key, text in texts.items():
        if max(len(key), len(text)) > SHARED_TEXT_MAX:
            raise InvalidLabels(detail=f"{key[:100]!r}: too long", limit=SHARED_TEXT_MAX)
