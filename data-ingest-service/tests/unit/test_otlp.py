"""Laws of decoding OTLP: what protobuf reads is read, anything else is refused."""

import contextlib
import json
import struct
from collections import Counter
from uuid import UUID

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.admission import admit
from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import BadBody, BodyTooLarge, InvalidLabels
from data_ingest.labels import LabelRules
from data_ingest.limits import TimeSpan
from data_ingest.model import MetricMetadata, Sender
from data_ingest.protocols.otlp import STYLES, LabelOptions, Options, protocol
from data_ingest.protocols.otlp import decoder as decoding
from data_ingest.protocols.otlp import series as reading
from data_ingest.protocols.otlp.attributes import attributes as attributes_by_key
from data_ingest.protocols.protobuf import field, write_varint
from data_ingest.protocols.protocol import Bounds, WriteRequest
from data_ingest.replicas import Groups, Recognition, ReplicaLabels
from tests import otlp, wire
from tests.native_histograms import meaning as stored_meaning
from tests.otlp import AT_NS, BOUNDS, JSON, PROTOBUF, STALE, Meaning, Request, decode

AT_MS = 1_795_000_000_123
QUIET = 1 << 51
TARGET = {"service__name": "api", "service__instance__id": "i-1", "host__name": "h1"}

texts = st.text("ab.é_1:", max_size=5) | st.text("x", min_size=120, max_size=300)
keys = st.sampled_from(
    ["a", "a.b", "a_b", "9", "_x", "__y__", "service.name", "service.instance.id", "é", "host.name"]
)
i64 = st.integers(-(2**63), 2**63 - 1)
times = st.sampled_from([0, AT_NS, AT_NS + 10**9, AT_NS + 10**12]) | st.integers(0, 2**64 - 1)
flags = st.sampled_from([0, 0, 0, 1, 3])


def scalars(value, draw) -> None:
    kind = draw(st.sampled_from(["string_value"] * 4 + ["bool_value", "int_value", "bytes_value"]))
    made = {
        "string_value": texts,
        "bool_value": st.booleans(),
        "int_value": i64,
        "bytes_value": st.binary(max_size=4),
    }[kind]
    setattr(value, kind, draw(made))


def attributes(target, draw) -> None:
    for _ in range(draw(st.integers(0, 3))):
        one = target.add(key=draw(keys))
        kind = draw(st.integers(0, 9))
        if kind == 0:
            scalars(one.value.array_value.values.add(), draw)
        elif kind == 1:
            inner = one.value.kvlist_value.values.add(key=draw(texts))
            scalars(inner.value, draw)
        elif kind == 2:
            one.value.double_value = draw(st.sampled_from([0.0, 1.0, -2.5, 1e300, float("nan")]))
        elif kind > 3:
            scalars(one.value, draw)


def number(points, draw) -> None:
    point = points.add(time_unix_nano=draw(times), flags=draw(flags))
    kind = draw(st.integers(0, 4))
    if kind == 1:
        point.as_int = draw(i64)
    elif kind > 1:
        point.as_double = draw(st.floats())
    exemplars(point, draw)
    attributes(point.attributes, draw)


def exemplars(point, draw) -> None:
    for _ in range(draw(st.integers(0, 2))):
        one = point.exemplars.add(time_unix_nano=draw(st.integers(0, 2**64 - 1)))
        if draw(st.booleans()):
            one.as_double = draw(st.floats(-9, 9))
            one.trace_id = draw(st.sampled_from([b"", bytes(16), bytes(range(16))]))
            one.span_id = draw(st.sampled_from([b"", b"\x01" * 8]))
        else:
            one.as_int = draw(st.integers(-9, 9))
        if draw(st.booleans()):
            one.filtered_attributes.add(key="trace.id").value.string_value = draw(texts)


def exponential(points, draw) -> None:
    point = points.add(
        time_unix_nano=draw(times), flags=draw(flags), scale=draw(st.integers(-5, 9))
    )
    point.positive.offset = draw(st.integers(-9, 9))
    for side in (point.positive, point.negative):
        side.bucket_counts.extend(draw(st.lists(st.integers(0, 300), max_size=3)))
    point.zero_count = draw(st.integers(0, 3))
    counts = [*point.positive.bucket_counts, *point.negative.bucket_counts]
    point.count = point.zero_count + sum(counts) + draw(st.sampled_from([0, 0, 0, 1]))
    exemplars(point, draw)
    attributes(point.attributes, draw)


def buckets(points, draw) -> None:
    point = points.add(time_unix_nano=draw(times), flags=draw(flags))
    point.count = draw(st.integers(0, 99))
    bounds = draw(st.lists(st.floats(-9, 9), max_size=4))
    if draw(st.booleans()):
        bounds = sorted(set(bounds))
    point.explicit_bounds.extend(bounds)
    count = len(bounds) + draw(st.sampled_from([1, 1, 1, 0]))
    point.bucket_counts.extend(draw(st.integers(0, 2**64 - 1)) for _ in range(count))
    if draw(st.booleans()):
        point.sum = draw(st.floats())
    exemplars(point, draw)
    attributes(point.attributes, draw)


def quantiles(points, draw) -> None:
    point = points.add(time_unix_nano=draw(times), flags=draw(flags), count=3, sum=1.5)
    for quantile in draw(st.lists(st.floats(0, 1), unique=True, max_size=3)):
        point.quantile_values.add(quantile=quantile, value=draw(st.floats()))
    attributes(point.attributes, draw)


@st.composite
def requests(draw) -> Request:
    """A request of any shape, small."""
    made = Request()
    for _ in range(draw(st.integers(0, 2))):
        resource_metrics = made.resource_metrics.add(schema_url=draw(texts))
        attributes(resource_metrics.resource.attributes, draw)
        for _ in range(draw(st.integers(0, 2))):
            scope_metrics = resource_metrics.scope_metrics.add(schema_url=draw(texts))
            scope_metrics.scope.name = draw(texts)
            scope_metrics.scope.version = draw(texts)
            attributes(scope_metrics.scope.attributes, draw)
            for _ in range(draw(st.integers(0, 3))):
                unit = draw(st.sampled_from(["", "1", "s", "By/s", "{x}"]))
                metric = scope_metrics.metrics.add(name=draw(texts), unit=unit)
                kind = draw(st.integers(0, 5))
                if kind == 0:
                    metric.gauge.SetInParent()
                    number(metric.gauge.data_points, draw)
                elif kind == 1:
                    metric.sum.is_monotonic = draw(st.booleans())
                    metric.sum.aggregation_temporality = draw(st.sampled_from([2, 2, 1, 0]))
                    number(metric.sum.data_points, draw)
                    number(metric.sum.data_points, draw)
                elif kind == 2:
                    metric.histogram.aggregation_temporality = draw(st.sampled_from([2, 2, 1, 0]))
                    buckets(metric.histogram.data_points, draw)
                elif kind == 3:
                    quantiles(metric.summary.data_points, draw)
                elif kind == 4:
                    data = metric.exponential_histogram
                    data.aggregation_temporality = draw(st.sampled_from([2, 2, 2, 1, 0]))
                    exponential(data.data_points, draw)
    return made


def shuffled(message: bytes, descriptor, random) -> bytes:
    """The same fields in another order, in every message: protobuf allows any."""
    parts = []
    for tag, value in wire.fields(message):
        inner = descriptor.fields_by_number[tag >> 3]
        if isinstance(value, int):
            parts.append(write_varint(tag) + write_varint(value))
        elif tag & 7 != 2:
            parts.append(write_varint(tag) + value)
        elif inner.type == FieldDescriptor.TYPE_MESSAGE:
            parts.append(field(tag >> 3, shuffled(value, inner.message_type, random)))
        else:
            parts.append(field(tag >> 3, value))
    random.shuffle(parts)
    return b"".join(parts)


def labels(batch, row):
    try:
        pairs = batch.labels_at(row)
    except InvalidLabels:
        return None
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names)
    return frozenset((name.decode(), value.decode()) for name, value in pairs if value)


def samples(batch) -> list[otlp.Sample]:
    """Those of data points, and not `target_info`."""
    bits = batch.values.view(np.uint64).tolist()
    rows = zip(batch.timestamps_ms.tolist(), bits, batch.points.tolist(), strict=True)
    return [
        (labels(batch, row), at, value) for row, (at, value, point) in enumerate(rows) if point >= 0
    ]


def quieted(samples_read: list[otlp.Sample]) -> list[otlp.Sample]:
    """NaN that is not a stale marker with its quiet bit set, as Python's float keeps it."""
    return [
        (one, at, bits | QUIET if bits & (0x7FF << 52) == 0x7FF << 52 and bits != STALE else bits)
        for one, at, bits in samples_read
    ]


def by_name(batch) -> dict[str, float]:
    """Values by metric name and boundary."""
    values = {}
    for row, value in enumerate(batch.values.tolist()):
        own = dict(labels(batch, row))
        values[own["__name__"] + own.get("le", own.get("quantile", ""))] = value
    return values


@given(requests(), st.sampled_from(sorted(STYLES)), st.randoms(use_true_random=False))
def test_decodes_what_protobuf_decodes(request, style, random):
    """Samples, their bits, labels, refusals and exemplars are what the twin makes of the message
    that protobuf's own library reads, whatever the order of fields.
    """
    body = shuffled(request.SerializeToString(), Request.DESCRIPTOR, random)
    meaning = Meaning(Request.FromString(body), STYLES[style])
    batch = decode(body, Options(LabelOptions(STYLES[style])))
    assert quieted(samples(batch)) == quieted(meaning.samples)
    assert batch.refused == meaning.refused
    assert [stored["count"] for stored in map(stored_meaning, batch.histograms)] == (
        meaning.histograms
    )
    rows = batch.histogram_at.tolist()
    assert batch.values[rows].view(np.int64).tolist() == [
        otlp.bits_of(float(count)) for count in meaning.histograms
    ]
    assert [
        (
            labels(batch, one.series),
            one.timestamp_ms,
            otlp.bits_of(one.value),
            json.loads(one.labels),
        )
        for one in batch.exemplars
    ] == meaning.exemplars
    assert batch.skipped.get("invalid_exemplar", 0) == meaning.exemplars_skipped
    assert bool(batch.first_error) == bool(meaning.refused)


@given(requests(), requests())
def test_a_key_stands_for_one_series(one, other):
    """Samples with the same cache key have the same labels, over requests as well."""
    by_key: dict[tuple[int, ...], object] = {}
    for request in (one, other, one):
        batch = decode(request.SerializeToString())
        for row, key in enumerate(map(tuple, batch.keys.tolist())):
            own = labels(batch, row)
            assert by_key.setdefault(key, own) == own


def test_whatever_decides_labels_is_in_the_key():
    """Two requests that differ in one thing share no key but for the same labels."""

    def whole(change):
        request, scope_metrics = otlp.request(AT_NS, **TARGET)
        otlp.add_histogram(scope_metrics, AT_NS)
        summary = scope_metrics.metrics.add(name="s").summary.data_points.add(time_unix_nano=AT_NS)
        summary.quantile_values.add(quantile=0.5)
        total = scope_metrics.metrics.add(name="n").sum
        total.aggregation_temporality = 2
        total.data_points.add(time_unix_nano=AT_NS, as_int=1)
        change(request.resource_metrics[0])
        return decode(request.SerializeToString())

    def metric(resource_metrics, at):
        return resource_metrics.scope_metrics[0].metrics[at]

    def first(resource_metrics, at, kind):
        return getattr(metric(resource_metrics, at), kind).data_points[0]

    def to_sum(resource_metrics):
        point = first(resource_metrics, 0, "gauge")
        total = metric(resource_metrics, 0).sum
        total.data_points.add().CopyFrom(point)
        total.aggregation_temporality, total.is_monotonic = 2, True

    changes = [
        str,
        lambda r: setattr(r.resource.attributes[0].value, "string_value", "web"),
        lambda r: setattr(r.scope_metrics[0].scope, "name", "lib"),
        lambda r: setattr(r.scope_metrics[0].scope, "version", "lib"),
        lambda r: setattr(r.scope_metrics[0], "schema_url", "lib"),
        lambda r: setattr(metric(r, 0), "name", "other"),
        lambda r: setattr(metric(r, 0), "unit", "other"),
        lambda r: otlp.fill(first(r, 0, "gauge").attributes, room="b"),
        lambda r: otlp.fill(first(r, 1, "histogram").attributes, room="b"),
        lambda r: first(r, 1, "histogram").explicit_bounds.__setitem__(0, 0.25),
        lambda r: setattr(first(r, 2, "summary").quantile_values[0], "quantile", 0.9),
        lambda r: setattr(metric(r, 3).sum, "is_monotonic", True),
        to_sum,
    ]
    labels_of: dict[tuple[int, ...], object] = {}
    for change in changes:
        batch = whole(change)
        assert len(set(map(tuple, batch.keys.tolist()))) == batch.samples
        for row, key in enumerate(map(tuple, batch.keys.tolist())):
            own = labels(batch, row)
            assert labels_of.setdefault(key, own) == own


def decode_or_refuse(body: bytes, headers) -> None:
    """Anything but decoding, or one of our errors, is a failed test."""
    for takes in (0, 100):
        try:
            batch = decode(body, Options(delta_series_max=takes), headers)
        except ServiceError:
            return
        for row in range(len(batch.keys)):
            with contextlib.suppress(InvalidLabels):
                batch.labels_at(row)


@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "zstd", "deflate"]))
def test_any_bytes_are_decoded_or_refused(body, encoding):
    """No body does anything but decode or raise one of our errors."""
    for headers in (PROTOBUF, JSON):
        decode_or_refuse(body, {**headers, "content-encoding": encoding})


@given(requests(), st.data())
def test_a_damaged_request_is_decoded_or_refused(request, data):
    """Cut anywhere or with any byte changed, a request still only decodes or is refused."""
    body = request.SerializeToString()
    damaged = bytearray(body[: data.draw(st.integers(0, len(body)))])
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    decode_or_refuse(bytes(damaged), PROTOBUF)


@pytest.mark.parametrize("kind", [0, 1, 2, 5])
def test_no_field_has_number_zero(kind):
    """Protobuf numbers fields from one: a tag below that is malformed, whatever follows it."""
    with pytest.raises(BadBody, match="malformed"):
        decode(bytes([kind]) + bytes(8))


def test_an_empty_request_is_a_success():
    """No bytes are a request without metrics, and so is an empty JSON object."""
    assert decode(b"").samples == 0
    assert decode(b"{}", headers=JSON).samples == 0


def test_a_histogram_is_cumulative_buckets_sum_and_count():
    """Buckets count what is at most `le`; `+Inf` and `_count` are the count; min and max are not
    kept; without a sum there is no `_sum`; without buckets only `+Inf`.
    """
    request, scope_metrics = otlp.request(AT_NS)
    point = otlp.add_histogram(scope_metrics, AT_NS)
    point.min, point.max = 0.1, 2.0
    values = by_name(decode(request.SerializeToString()))
    name = "http_server_duration_seconds"
    assert values == {
        "temperature_celsius": 21.5,
        f"{name}_count": 6.0,
        f"{name}_sum": 1.5,
        f"{name}_bucket0.5": 1.0,
        f"{name}_bucket1.0": 3.0,
        f"{name}_bucket+Inf": 6.0,
    }
    point.ClearField("sum")
    del point.bucket_counts[:], point.explicit_bounds[:]
    values = by_name(decode(request.SerializeToString()))
    assert set(values) == {"temperature_celsius", f"{name}_count", f"{name}_bucket+Inf"}


def test_bucket_arrays_may_be_unpacked_or_in_pieces():
    """Repeated numbers mean the same packed, one by one, or in several packed fields."""
    counts, bounds = (1, 2, 3), (0.5, 1.0)
    head = b"\x19" + struct.pack("<Q", AT_NS) + b"\x21" + struct.pack("<Q", 6)
    singles = [b"\x31" + struct.pack("<Q", one) for one in counts]
    singles += [b"\x39" + struct.pack("<d", one) for one in bounds]
    pieces = [field(6, struct.pack("<Q", 1)), field(6, struct.pack("<2Q", 2, 3))]
    pieces += [field(7, struct.pack("<2d", *bounds))]
    wanted = None
    for parts in (singles, pieces):
        histogram = field(1, head + b"".join(parts)) + b"\x10\x02"
        metric = field(1, b"h") + field(9, histogram)
        values = by_name(decode(field(1, field(2, field(2, metric)))))
        wanted = wanted or values
        assert values == wanted
    assert wanted == {"h_count": 6, "h_bucket0.5": 1, "h_bucket1.0": 3, "h_bucket+Inf": 6}


def test_no_recorded_value_is_a_stale_marker():
    """The flag ends the series, every part of it, at that time."""
    request, scope_metrics = otlp.request(AT_NS)
    otlp.add_histogram(scope_metrics, AT_NS).flags = 1
    scope_metrics.metrics[0].gauge.data_points[0].flags = 1
    batch = decode(request.SerializeToString())
    assert set(batch.values.view(np.uint64).tolist()) == {STALE}
    assert batch.samples == 6


def test_labels_come_from_point_resource_and_scope():
    """Job and instance are the service's; promoted attributes and the scope are labels where the
    point has none of that name; colliding keys are joined in their order.
    """
    request, scope_metrics = otlp.request(
        AT_NS, **TARGET, service__namespace="shop", host__arch="arm", room="of the resource"
    )
    scope_metrics.scope.name, scope_metrics.schema_url = "lib", "https://x"
    otlp.fill(scope_metrics.scope.attributes, tier="web")
    point = scope_metrics.metrics[0].gauge.data_points[0].attributes
    otlp.fill(point, a__b="2", job="own", instance="own")
    otlp.fill(point, **{"a-b": "1"})
    body = request.SerializeToString()
    options = LabelOptions(promoted=frozenset({"host.name", "room"}))
    gauge = dict(labels(decode(body, Options(options)), 1))
    assert gauge == {
        "__name__": "temperature_celsius",
        "room": "a",
        "a_b": "1;2",
        "job": "shop/api",
        "instance": "i-1",
        "host_name": "h1",
        "otel_scope_name": "lib",
        "otel_scope_schema_url": "https://x",
        "otel_scope_tier": "web",
    }
    plain = dict(labels(decode(body, Options(LabelOptions(scope_labels=False))), 1))
    assert plain == {
        key: value for key, value in gauge.items() if key != "host_name" and "scope" not in key
    }


def test_target_info_has_the_other_attributes():
    """Each resource that names a service has one `target_info` with what is not in job and
    instance; a resource that says no more, or names none, has none.
    """
    batch = decode(otlp.request(AT_NS, **TARGET, os__type="linux")[0].SerializeToString())
    assert (batch.values[0], batch.timestamps_ms[0], batch.points[0]) == (1.0, AT_MS, -1)
    assert dict(labels(batch, 0)) == {
        "__name__": "target_info",
        "job": "api",
        "instance": "i-1",
        "host_name": "h1",
        "os_type": "linux",
    }
    only_target = {key: text for key, text in TARGET.items() if key != "host__name"}
    for attributes_given in ({"host__name": "h1"}, only_target, {}):
        request, _ = otlp.request(AT_NS, **attributes_given)
        assert decode(request.SerializeToString()).samples == 1


def test_target_info_covers_the_time_of_its_points():
    """In a request that spans hours there is a `target_info` at most 150 s before every point, and
    no second one for a resource that comes again.
    """
    request, scope_metrics = otlp.request(AT_NS, **TARGET)
    points = scope_metrics.metrics[0].gauge.data_points
    for second in range(10, 3600, 10):
        points.add(time_unix_nano=AT_NS + second * 10**9, as_int=second)
    again = request.resource_metrics.add()
    again.CopyFrom(request.resource_metrics[0])
    batch = decode(request.SerializeToString())
    infos = batch.timestamps_ms[batch.points < 0].tolist()
    assert infos == [AT_MS + 150_000 * i for i in range(24)]


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("sum", {"aggregation_temporality": 1, "is_monotonic": True}, "delta_temporality"),
        ("histogram", {"aggregation_temporality": 1}, "delta_temporality"),
        ("sum", {}, "no_temporality"),
        ("exponential_histogram", {"aggregation_temporality": 1}, "delta_temporality"),
        ("exponential_histogram", {"aggregation_temporality": 2}, "invalid_histogram"),
        ("gauge", {}, "no_value"),
        ("summary", {}, "no_timestamp"),
    ],
)
def test_what_is_refused_is_counted_and_named(kind, change, reason):
    """A data point that cannot be taken is counted, the error names its metric, the rest stays."""
    request, scope_metrics = otlp.request(AT_NS)
    data = getattr(scope_metrics.metrics.add(name="odd.one"), kind)
    for name, value in change.items():
        setattr(data, name, value)
    for _ in range(2):
        point = data.data_points.add(time_unix_nano=0 if reason == "no_timestamp" else AT_NS)
        if reason == "invalid_histogram":
            point.zero_count = 1
    batch = decode(request.SerializeToString())
    assert (batch.samples, dict(batch.refused)) == (1, {reason: 2})
    assert batch.first_error.startswith("metric 'odd.one': ")


@pytest.mark.parametrize("bounds", [[1.0, 1.0], [2.0, 1.0], [float("nan"), 1], [1, float("inf")]])
def test_a_histogram_with_bad_bounds_is_refused(bounds):
    """Bounds that do not grow to a finite number would make two buckets one series."""
    request, scope_metrics = otlp.request(AT_NS)
    otlp.add_histogram(scope_metrics, AT_NS).explicit_bounds[:] = bounds
    assert dict(decode(request.SerializeToString()).refused) == {"invalid_histogram": 1}


def test_a_histogram_of_too_many_buckets_is_refused():
    """More buckets than there is working space for are one refused point, not an overrun."""
    request, scope_metrics = otlp.request(AT_NS)
    point = otlp.add_histogram(scope_metrics, AT_NS)
    for extra in (decoding._BUCKETS_MAX, decoding._BUCKETS_MAX + 1):
        point.bucket_counts[:] = [1] * extra
        point.explicit_bounds[:] = range(extra - 1)
        batch = decode(request.SerializeToString())
        assert batch.refused.get("invalid_histogram", 0) == int(extra > decoding._BUCKETS_MAX)


@pytest.mark.parametrize(
    "message",
    [
        field(1, field(1, b"") * 2),
        field(1, field(2, field(1, b"") * 2)),
        field(1, field(2, field(2, field(5, b"") + field(7, b"")))),
    ],
    ids=["resource", "scope", "data"],
)
def test_a_message_given_twice_is_refused(message):
    """Protobuf would merge or choose; no sender means that, so nothing is guessed."""
    with pytest.raises(BadBody, match="given twice"):
        decode(message)


def test_a_name_with_nothing_left_refuses_its_points_only():
    """A metric of which no letter is left has no series; the others are stored."""
    request, scope_metrics = otlp.request(AT_NS)
    scope_metrics.metrics.add(name="☃").gauge.data_points.add(time_unix_nano=AT_NS, as_int=1)
    batch = decode(request.SerializeToString())
    assert batch.samples == 2
    with pytest.raises(InvalidLabels, match="nothing is left"):
        batch.labels_at(1)
    assert len(batch.metadata) == 1
    assert batch.skipped == {"metadata_not_kept": 1}


def lengthen(where: str, request: Request, text: str) -> None:
    """Puts `text` where many series share it."""
    resource_metrics = request.resource_metrics[0]
    scope_metrics = resource_metrics.scope_metrics[0]
    if where == "scope":
        scope_metrics.scope.name = text
    elif where == "schema":
        scope_metrics.schema_url = text
    elif where == "job":
        otlp.fill(resource_metrics.resource.attributes, service__name=text)
    elif where == "promoted":
        otlp.fill(resource_metrics.resource.attributes, zone=text)
    elif where == "key":
        scope_metrics.scope.attributes.add(key=text).value.string_value = "x"
    elif where == "unit":
        scope_metrics.metrics[0].unit = text
    else:
        scope_metrics.metrics[0].name = text


@pytest.mark.parametrize("where", ["scope", "schema", "job", "promoted", "key", "name", "unit"])
def test_a_long_shared_text_refuses_its_series_and_is_read_once(where, monkeypatch):
    """A text that series share has a bound; beyond it they are refused, at the cost of one read."""
    request, scope_metrics = otlp.request(AT_NS)
    for room in range(50):
        point = scope_metrics.metrics[0].gauge.data_points.add(time_unix_nano=AT_NS, as_int=1)
        otlp.fill(point.attributes, room=str(room))
    lengthen(where, request, "x" * 8_193)
    other = Request.FromString(otlp.request(AT_NS)[0].SerializeToString())
    request.MergeFrom(other)
    options = Options(labels=LabelOptions(promoted=frozenset({"zone"})))
    batch = decode(request.SerializeToString(), options)
    reads = Counter[str]()

    def counted(pairs):
        reads["long"] += any(pair.ByteSize() > 8_000 for pair in pairs)
        return attributes_by_key(pairs)

    monkeypatch.setattr(reading, "attributes", counted)
    rows = [labels(batch, int(row)) for row in np.flatnonzero(batch.points >= 0)]
    assert rows[:51] == [None] * 51
    assert None not in rows[51:]
    assert reads["long"] <= 1


@pytest.mark.parametrize(("size", "is_taken"), [(600_000, True), (2_000_000, False)])
def test_label_text_of_a_request_has_a_bound(size, is_taken):
    """Each series of a data point has all its labels: together they have at most 64 MiB."""
    request, scope_metrics = otlp.request(AT_NS)
    point = otlp.add_histogram(scope_metrics, AT_NS)
    bounds = list(range(40))
    point.explicit_bounds[:], point.bucket_counts[:] = bounds, [1] * (len(bounds) + 1)
    otlp.fill(point.attributes, long="x" * size)
    batch = decode(request.SerializeToString(), bounds=Bounds(1 << 23, 1000))
    refused = contextlib.nullcontext() if is_taken else pytest.raises(BodyTooLarge)
    with refused:
        samples(batch)


def test_a_metric_is_described_once_in_a_while():
    """Name, type, help and unit are handed on with a metric's first request of a tenant in ten
    minutes, and again when the description changes.
    """
    row = protocol(Options())
    request, scope_metrics = otlp.request(AT_NS, **TARGET)

    def described(tenant: int, at_ms: int):
        body = request.SerializeToString()
        sent = WriteRequest("/", PROTOBUF, body=body, tenant=UUID(int=tenant), received_ms=at_ms)
        batch = row.decode(sent, BOUNDS)
        batch.committed()
        return batch.metadata

    whole = (
        MetricMetadata("target_info", "gauge", "Target metadata"),
        MetricMetadata("temperature_celsius", "gauge", "How warm.", "celsius"),
    )
    assert described(1, 5) == whole
    assert described(1, 599_999) == ()
    assert described(2, 599_999) == whole
    assert described(1, 600_000) == whole
    scope_metrics.metrics[0].description = "How cold."
    assert [one.help for one in described(1, 600_001)] == ["How cold."]


def test_many_refusals_count_once_each():
    """Reasons are counted apart, and together they are all the points that were not taken."""
    request, scope_metrics = otlp.request(AT_NS)
    for kind, count in (("exponential_histogram", 2), ("sum", 3)):
        data = getattr(scope_metrics.metrics.add(name=kind), kind)
        for _ in range(count):
            data.data_points.add(time_unix_nano=AT_NS)
    refused = Counter(decode(request.SerializeToString()).refused)
    assert refused == {"no_temporality": 5}


def test_points_of_samples_that_are_all_refused_later_are_counted():
    """When the store takes none of the samples, every data point is refused, once."""
    request, scope_metrics = otlp.request(AT_NS, **TARGET)
    otlp.add_histogram(scope_metrics, AT_NS)
    scope_metrics.metrics.add(name="e").exponential_histogram.data_points.add(time_unix_nano=AT_NS)
    batch = decode(request.SerializeToString())
    row_ids = np.arange(1, batch.samples + 1)
    span = TimeSpan(0, 2 * AT_MS)
    nobody = Recognition(ReplicaLabels(), Groups(), lambda _: None)
    rules = LabelRules(128, 1024, 8192)
    prepared = admit(Sender(UUID(int=1), "key"), batch, row_ids, span, rules, recognition=nobody)
    nothing = np.empty(0, np.int64)
    assert prepared.refused_points(nothing) == 1
    assert prepared.without_samples("store_refused", "x").refused_points(nothing) == 3
