"""A page in Prometheus' protobuf format, which alone has native histograms, as samples: pure.

    body: length, MetricFamily, length, MetricFamily, … ─▶ rows ─▶ ScrapedSamples

A row is what the text formats have as a line, so a target has the same series in both. A histogram
with native buckets is one row, in the form in which it is stored (docs/formats/histogram.md).
Created timestamps are read over.
Source: client_model `io/prometheus/client/metrics.proto`; Prometheus
`model/textparse/protobufparse.go`; docs/adr/0051-native-histogram-scraping.md.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from data_ingest.errors import BodyTooLarge
from data_ingest.model import NAN_BITS, MetricMetadata, RawLabels
from data_ingest.protocols import messages
from data_ingest.protocols.exemplars import EXEMPLARS_MAX
from data_ingest.protocols.native_histogram import from_prometheus
from data_ingest.protocols.prometheus_text import BadExposition, TextExemplar, normalised_boundary
from data_ingest.protocols.protobuf import read_varint
from data_ingest.scrape.samples import ScrapedSamples, text_of

MEDIA_TYPE: Final = "application/vnd.google.protobuf"
SAMPLES_MAX: Final = 1_000_000
"""Of a page: an empty sample is two bytes of it, and hundreds in memory."""
METRIC_BYTES_MAX: Final = 1 << 20
"""Of one metric, which is read whole."""
_TYPES: Final = ("counter", "gauge", "summary", "unknown", "histogram", "gaugehistogram")
_VALUES: Final = {"counter": "counter", "gauge": "gauge", "unknown": "untyped"}
_GAUGE_HINT: Final = 3
_CLASSES: Final = messages.classes(
    {
        "Label": "name bytes 1, value bytes 2",
        "Timestamp": "seconds int64 1, nanos int32 2",
        "Exemplar": "label Label* 1, value double 2, timestamp Timestamp 3",
        "Value": "value double 1, exemplar Exemplar 2",
        "Quantile": "quantile double 1, value double 2",
        "Summary": "sample_count uint64 1, sample_sum double 2, quantile Quantile* 3",
        "Bucket": """cumulative_count uint64 1, upper_bound double 2, exemplar Exemplar 3,
            cumulative_count_float double 4""",
        "Span": "offset sint32 1, length uint32 2",
        "Histogram": """sample_count uint64 1, sample_sum double 2, bucket Bucket* 3,
            sample_count_float double 4, schema sint32 5, zero_threshold double 6,
            zero_count uint64 7, zero_count_float double 8, negative_spans Span* 9,
            negative_deltas sint64* 10, negative_counts double* 11, positive_spans Span* 12,
            positive_deltas sint64* 13, positive_counts double* 14, exemplars Exemplar* 16""",
        "Metric": """label Label* 1, gauge Value 2, counter Value 3, summary Summary 4,
            untyped Value 5, timestamp_ms int64 6, histogram Histogram 7""",
        "MetricFamily": "name bytes 1, help bytes 2, type int32 3, metric bytes* 4, unit bytes 5",
    }
)


def decode(body: bytes, *, native: bool, classic: bool) -> ScrapedSamples:
    """The samples of the page. Raises BodyTooLarge, and BadExposition with the family's offset.

    native: whether native buckets are read. classic: whether the classic ones beside them are too.
    """
    page, at = _Page(native, classic), 0
    while at < len(body):
        name = b""
        try:
            start, end = _span(body, at)
            family = _CLASSES["MetricFamily"].FromString(body[start:end])
            name = family.name
            page.add_family(family)
        except (ValueError, DecodeError) as exc:
            shown = name[:60].decode(errors="replace")
            raise BadExposition(detail=str(exc), offset=at, text=repr(shown)) from None
        at = end
    return page.samples()


def _span(body: bytes, at: int) -> tuple[int, int]:
    """Where the message, whose length stands at `at`, begins and ends; ValueError if it is cut."""
    size, start = read_varint(body, at)
    if start + size > len(body):
        raise ValueError(f"cut: {size} bytes are announced, {len(body) - start} are there")
    return start, start + size


@dataclass(slots=True)
class _Page:
    """The rows so far; values and times of the same length."""

    native: bool
    classic: bool
    metadata: list[MetricMetadata] = field(default_factory=list)
    rows: list[RawLabels] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    exemplars: list[TextExemplar] = field(default_factory=list)
    histograms: dict[int, bytes] = field(default_factory=dict)

    def samples(self) -> ScrapedSamples:
        """All rows."""
        values, times = np.array(self.values), np.array(self.timestamps_ms, np.int64)
        values.view(np.uint64)[np.isnan(values)] = NAN_BITS
        return ScrapedSamples(
            [text_of(labels) for labels in self.rows],
            self.rows.__getitem__,
            values,
            times,
            times != 0,
            tuple(self.metadata),
            tuple(self.exemplars[:EXEMPLARS_MAX]),
            self.histograms,
        )

    def add_family(self, family: Any) -> None:
        """All metrics of the family; ValueError for what is none, DecodeError for its bytes."""
        if not family.name:
            raise ValueError("a family without a name")
        if not 0 <= family.type < len(_TYPES):
            raise ValueError(f"type {family.type} is not a metric type")
        kind = _TYPES[family.type]
        texts = (family.help.decode(), family.unit.decode())
        self.metadata.append(MetricMetadata(family.name.decode(), kind, *texts))
        for encoded in family.metric:
            if len(encoded) > METRIC_BYTES_MAX:
                raise BodyTooLarge(detail="one metric", bytes=len(encoded), limit=METRIC_BYTES_MAX)
            metric = _CLASSES["Metric"].FromString(encoded)
            put = partial(self._put, _pairs(metric.label), metric.timestamp_ms)
            if kind in _VALUES:
                one = getattr(metric, _VALUES[kind])
                put(family.name, one.value, exemplars=_exemplar_of(one))
            elif kind == "summary":
                put(family.name + b"_count", metric.summary.sample_count)
                put(family.name + b"_sum", metric.summary.sample_sum)
                for one in metric.summary.quantile:
                    put(family.name, one.value, (b"quantile", _boundary(one.quantile)))
            else:
                self._add_histogram(put, family.name, metric.histogram, kind)

    def _add_histogram(self, put: Any, name: bytes, histogram: Any, kind: str) -> None:
        is_native = self.native and bool(
            histogram.positive_spans
            or histogram.negative_spans
            or histogram.zero_threshold > 0
            or histogram.zero_count
            or histogram.zero_count_float > 0
        )
        buckets = histogram.bucket
        if is_native:
            self.histograms[len(self.rows)] = _stored(histogram, kind)
            listed = histogram.exemplars or [one for b in buckets for one in _exemplar_of(b)]
            # As in Prometheus: which bucket one without a time is of would not be known.
            put(name, 0.0, exemplars=[one for one in listed if one.HasField("timestamp")])
            if not (self.classic and buckets):
                return
        count = histogram.sample_count_float or histogram.sample_count
        put(name + b"_count", count)
        put(name + b"_sum", histogram.sample_sum)
        for one in buckets:
            bound = (b"le", _boundary(one.upper_bound))
            value = one.cumulative_count_float or one.cumulative_count
            put(name + b"_bucket", value, bound, exemplars=_exemplar_of(one))
        if not buckets or buckets[-1].upper_bound != math.inf:
            put(name + b"_bucket", count, (b"le", b"+Inf"))

    def _put(
        self,
        labels: RawLabels,
        at_ms: int,
        name: bytes,
        value: float,
        *more: tuple[bytes, bytes],
        exemplars: Any = (),
    ) -> None:
        """One more row, with `more` labels."""
        if len(self.rows) >= SAMPLES_MAX:
            raise BodyTooLarge(detail="samples of a page", limit=SAMPLES_MAX)
        row = [(b"__name__", name), *labels, *more]
        names = [label for label, _ in row]
        if len({*names}) < len(names):
            raise ValueError(f"a label stands twice: {sorted(names)}")
        for one in exemplars:
            time = one.timestamp
            own_ms = time.seconds * 1000 + time.nanos // 1_000_000
            own = own_ms if one.HasField("timestamp") else None
            pairs = tuple(_pairs(one.label))
            self.exemplars.append(TextExemplar(len(self.rows), own, one.value, pairs))
        self.rows.append(row)
        self.values.append(value)
        self.timestamps_ms.append(at_ms)


def _pairs(labels: Any) -> RawLabels:
    """Names and values, which are UTF-8; ValueError else."""
    for one in labels:
        if not one.name.decode():
            raise ValueError("a label without a name")
        one.value.decode()
    return [(one.name, one.value) for one in labels]


def _exemplar_of(owner: Any) -> list[Any]:
    return [owner.exemplar] if owner.HasField("exemplar") else []


def _boundary(number: float) -> bytes:
    return normalised_boundary(repr(number).encode())


def _stored(histogram: Any, kind: str) -> bytes:
    """The native buckets as they are stored; InvalidHistogram where they contradict themselves."""
    is_float = histogram.sample_count_float > 0 or histogram.zero_count_float > 0
    made = messages.Histogram(
        sum=math.nan if math.isnan(histogram.sample_sum) else histogram.sample_sum,
        schema=histogram.schema or None,
        zero_threshold=histogram.zero_threshold or None,
        reset_hint=_GAUGE_HINT if kind == "gaugehistogram" else None,
        count_int=histogram.sample_count,
        count_float=histogram.sample_count_float if is_float else None,
        zero_count_int=histogram.zero_count,
        zero_count_float=histogram.zero_count_float,
    )
    for side in ("positive", "negative"):
        for span in getattr(histogram, f"{side}_spans"):
            getattr(made, f"{side}_spans").add(offset=span.offset, length=span.length)
        for name in (f"{side}_deltas", f"{side}_counts"):  # those of the other kind are left out
            getattr(made, name).extend(getattr(histogram, name))
    return from_prometheus(made.SerializeToString())[1]
