"""Firehose with CloudWatch metric streams in OpenTelemetry's format."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from data_ingest.errors import BodyTooLarge
from data_ingest.model import Outcome
from data_ingest.protocols import firehose, firehose_otel
from data_ingest.protocols.otlp import Options, protocol
from data_ingest.protocols.protocol import Bounds, WriteRequest
from tests.otlp import PROTOBUF, fill
from tests.unit.test_firehose import METRIC, lines, request
from tests.wire import field, varint

BOUNDS = Bounds(decoded_bytes_max=100_000, samples_max=100)
END_NS = 1_700_000_060_000_000_000
DIMENSIONS = {"InstanceId": "i-1", "a b": "ü"}
QUANTILES = {0.0: 1.0, 1.0: 4.0, 0.999: 3.9}


def message(dimensions: dict[str, str] | None = None, namespace: str = "AWS/EC2") -> bytes:
    """A summary as CloudWatch writes it, of the same metric as `METRIC`."""
    made = metrics_service_pb2.ExportMetricsServiceRequest()
    resource_metrics = made.resource_metrics.add()
    texts = {
        "cloud__provider": "aws",
        "cloud__account__id": "123456789012",
        "cloud__region": "eu-central-1",
    }
    fill(resource_metrics.resource.attributes, **texts, aws__exporter__arn="arn:aws:x")
    metric = resource_metrics.scope_metrics.add().metrics.add()
    metric.name, metric.unit = "amazonaws.com/AWS/EC2/CPUUtilization", "NoneTranslated"
    point = metric.summary.data_points.add(
        start_time_unix_nano=END_NS - 60 * 10**9, time_unix_nano=END_NS, count=5, sum=10.5
    )
    for quantile, value in QUANTILES.items():
        point.quantile_values.add(quantile=quantile, value=value)
    fill(point.attributes, Namespace=namespace, MetricName="CPUUtilization")
    pairs = point.attributes.add(key="Dimensions").value.kvlist_value
    fill(pairs.values, **(DIMENSIONS if dimensions is None else dimensions))
    return bytes(made.SerializeToString())


def old_message() -> bytes:
    """The same in OpenTelemetry 0.7: text pairs are field 1 of a data point."""
    pairs = {b"Namespace": b"AWS/EC2", b"MetricName": b"CPUUtilization", b"InstanceId": b"i-1"}
    labels = b"".join(field(1, field(1, key) + field(2, text)) for key, text in pairs.items())
    times = b"\x11" + struct.pack("<Q", END_NS - 60 * 10**9) + b"\x19" + struct.pack("<Q", END_NS)
    point = labels + times + b"\x21" + struct.pack("<Q", 5) + b"\x29" + struct.pack("<d", 10.5)
    metric = field(1, b"amazonaws.com/AWS/EC2/CPUUtilization") + field(11, field(1, point))
    return field(1, field(2, field(2, metric)))


def record(*messages: bytes) -> bytes:
    return b"".join(varint(len(one)) + one for one in messages)


def stored(batch):
    """(labels, value) of each sample."""
    rows = zip(batch.series_of.tolist(), batch.values.tolist(), strict=True)
    return sorted((sorted(batch.labels_at(row)), value) for row, value in rows)


def test_both_formats_are_the_same_series():
    """Names, labels and values of a summary are those of the line of JSON that says the same."""
    otel = firehose.decode(request(record(message(), message(), message())), BOUNDS)
    text = firehose.decode(request(lines(METRIC, METRIC, METRIC)), BOUNDS)
    assert stored(otel) == stored(text)
    assert set(otel.timestamps_ms.tolist()) == {END_NS // 1_000_000}
    assert (otel.metadata, otel.points, otel.refused) == ((), None, {})


def test_formats_may_meet_in_one_request():
    """A stream whose format is changed loses neither side."""
    batch = firehose.decode(request(lines(METRIC), record(message()), lines(METRIC)), BOUNDS)
    assert batch.samples == 15
    assert len({str(labels) for labels, _ in stored(batch)}) == 5


def test_common_attributes_are_labels_here_too():
    """They are part of the series, and so of its key; a key is never that of plain OTLP."""
    header = {"x-amz-firehose-common-attributes": json.dumps({"commonAttributes": {"team": "a"}})}
    with_team = firehose.decode(request(record(message()), **header), BOUNDS)
    without = firehose.decode(request(record(message())), BOUNDS)
    assert dict(with_team.labels_at(0))[b"team"] == b"a"
    plain = protocol(Options()).decode(WriteRequest("/", PROTOBUF, body=message()), BOUNDS)
    keys = [one.keys[0].tolist() for one in (with_team, without, plain)]
    assert len({tuple(key) for key in keys}) == 3


def test_opentelemetry_0_7_is_refused():
    """It is counted by its own reason, and the answer 413 sends it to the error bucket; read as 1.0
    it would lose its dimensions.
    """
    batch = firehose.decode(request(record(old_message(), old_message())), BOUNDS)
    assert (batch.samples, batch.refused) == (0, {"opentelemetry_0_7": 2})
    outcome = Outcome(0, batch.refused, first_error=batch.first_error)
    answer = firehose.render(request(), outcome)
    assert answer.status_code == 413
    assert "set the stream's output format" in json.loads(bytes(answer.body))["errorMessage"]


@pytest.mark.parametrize(
    "bad",
    [record(message())[:-1], b"\x05\x0a\xff\xff\xff\xff", b"\x03\x0a"],
)
def test_a_bad_message_costs_itself(bad):
    """Whatever stands before and around it is stored."""
    batch = firehose.decode(request(record(message()) + bad, record(message()), bad), BOUNDS)
    assert (batch.samples, batch.refused) == (10, {"bad_record": 2})
    assert batch.first_error


@pytest.mark.parametrize(
    "odd", [{"namespace": ""}, {"dimensions": {f"d{i}": "x" for i in range(101)}}]
)
def test_what_is_no_metric_of_cloudwatch_is_refused(odd):
    """A summary without namespace, or with more dimensions than there can be, is no series."""
    batch = firehose.decode(request(record(message(**odd), message())), BOUNDS)
    assert (batch.samples, batch.refused) == (5, {"bad_record": 1})


def test_a_data_point_without_a_time_is_refused():
    """It is counted, with the reason, and costs no other."""
    made = metrics_service_pb2.ExportMetricsServiceRequest.FromString(message())
    point = made.resource_metrics[0].scope_metrics[0].metrics[0].summary.data_points[0]
    point.ClearField("time_unix_nano")
    batch = firehose.decode(request(record(made.SerializeToString(), message())), BOUNDS)
    assert (batch.samples, batch.refused) == (5, {"bad_record": 1})
    assert batch.first_error == "a data point has no time"


def test_a_message_has_a_bound(monkeypatch):
    """A message that may be far more in memory is refused before it is read, and costs itself."""
    monkeypatch.setattr(firehose_otel, "MESSAGE_BYTES_MAX", len(message()))
    batch = firehose.decode(request(record(message(), message(namespace="AWS/EC2/x"))), BOUNDS)
    assert (batch.samples, batch.refused) == (5, {"bad_record": 1})


def test_labels_are_bounded():
    """Common attributes stand in each series: many of both are too large a request."""
    attributes = {"commonAttributes": {f"a{i}": "x" * 8000 for i in range(100)}}
    header = {"x-amz-firehose-common-attributes": json.dumps(attributes)}
    with pytest.raises(BodyTooLarge):
        firehose.decode(request(record(*[message()] * 18), **header), BOUNDS)


@given(st.binary(max_size=60), st.integers(0, 300), st.booleans())
def test_any_bytes_are_decoded_or_refused(noise, at, inside):
    """Bytes put into a record of this format lead to samples and refusals, and nothing else."""
    good = record(message())
    damaged = good[:at] + noise + good[at:] if inside else noise + good
    batch = firehose.decode(request(damaged, good), BOUNDS)
    assert batch.samples + sum(batch.refused.values()) >= 1
    for row in range(len(batch.keys)):
        batch.labels_at(row)


def test_a_message_of_123_bytes_is_no_json():
    """Although its length is the `{` that JSON begins with."""
    made = metrics_service_pb2.ExportMetricsServiceRequest()
    metric = made.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    point = metric.summary.data_points.add(time_unix_nano=END_NS, count=5, sum=10.5)
    fill(point.attributes, Namespace="n", MetricName="m")
    metric.description = "x" * (121 - made.ByteSize())
    assert made.ByteSize() == ord("{")
    batch = firehose.decode(request(record(made.SerializeToString())), BOUNDS)
    assert (batch.samples, dict(batch.labels_at(0))[b"namespace"]) == (2, b"n")
