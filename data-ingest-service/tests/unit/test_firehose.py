"""Firehose with CloudWatch metric streams: what is stored, and what Firehose is told."""

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.errors import BadBody, BodyTooLarge, RateLimited, StoreUnavailable, UnsupportedBody
from data_ingest.model import Outcome
from data_ingest.protocols import firehose
from data_ingest.protocols.protocol import Bounds, WriteRequest

BOUNDS = Bounds(decoded_bytes_max=100_000, samples_max=100)
METRIC = {
    "metric_stream_name": "all",
    "account_id": "123456789012",
    "region": "eu-central-1",
    "namespace": "AWS/EC2",
    "metric_name": "CPUUtilization",
    "dimensions": {"InstanceId": "i-1", "a b": "ü"},
    "timestamp": 1_700_000_000_000,
    "value": {"max": 4.0, "min": 1, "sum": 10.5, "count": 5.0, "p99.9": 3.9, "note": "x"},
    "unit": "Percent",
}


def request(*records: bytes, **headers: str) -> WriteRequest:
    envelope = {
        "requestId": "r-1",
        "timestamp": 1,
        "records": [{"data": base64.b64encode(record).decode()} for record in records],
    }
    return sent(json.dumps(envelope).encode(), **headers)


def sent(body: bytes, **headers: str) -> WriteRequest:
    return WriteRequest(
        "/firehose/v1/metrics",
        {"x-amz-firehose-request-id": "r-1", "content-type": "application/json", **headers},
        body=body,
        received_ms=7,
    )


def lines(*metrics: object) -> bytes:
    return b"".join(json.dumps(metric).encode() + b"\n" for metric in metrics)


def test_each_statistic_is_a_series():
    """Named by namespace, metric and statistic; account, region and dimensions are labels."""
    batch = firehose.decode(request(lines(METRIC, METRIC), lines(METRIC).rstrip()), BOUNDS)
    by_name = {}
    for row, value in zip(batch.series_of.tolist(), batch.values.tolist(), strict=True):
        labels = dict(batch.labels_at(row))
        by_name[labels.pop(b"__name__")] = value
        assert labels == {
            b"namespace": b"AWS/EC2",
            b"account_id": b"123456789012",
            b"region": b"eu-central-1",
            b"InstanceId": b"i-1",
            b"a_b": "ü".encode(),
        }
    prefix = b"aws_ec2_cpuutilization_"
    expected = {b"max": 4.0, b"min": 1.0, b"sum": 10.5, b"count": 5.0, b"p99_9": 3.9}
    assert by_name == {prefix + name: value for name, value in expected.items()}
    assert set(batch.timestamps_ms.tolist()) == {1_700_000_000_000}
    assert batch.samples == 15
    assert len({tuple(key) for key in batch.keys.tolist()}) == 5


def test_common_attributes_are_labels():
    """What the owner of the stream has set stands beside the dimensions, which win."""
    attributes = json.dumps({"commonAttributes": {"team": "a", "InstanceId": "other"}})
    headers = {"x-amz-firehose-common-attributes": attributes}
    labels = dict(firehose.decode(request(lines(METRIC), **headers), BOUNDS).labels_at(0))
    assert (labels[b"team"], labels[b"InstanceId"]) == (b"a", b"i-1")
    with pytest.raises(BadBody):
        firehose.decode(request(lines(METRIC), **{"x-amz-firehose-common-attributes": "x"}), BOUNDS)


@pytest.mark.parametrize(
    "bad",
    [
        b"no json",
        b"\x0a\x05otel!",
        b"{",
        b"[]" * 3,
        lines({**METRIC, "timestamp": "now"}),
        lines({**METRIC, "timestamp": True}),
        lines({**METRIC, "namespace": ""}),
        lines({**METRIC, "value": {"note": "x"}}),
        lines({**METRIC, "value": {"sum": True}}),
        lines({**METRIC, "value": {"sum": 10**400}}),
        lines({**METRIC, "dimensions": [1]}),
        b"{" * 50_000,
    ],
)
def test_a_bad_line_costs_itself(bad):
    """It is refused and counted with its text; the lines and records around it are stored."""
    batch = firehose.decode(request(lines(METRIC) + bad, lines(METRIC)), BOUNDS)
    assert batch.samples == 10
    assert batch.refused == {"bad_record": 1}
    assert batch.first_error


def test_dimensions_never_replace_one_another_or_the_place():
    """Two that become one label are joined; none is the metric's name, account or region."""
    dimensions = {"a.b": "1", "a_b": "2", "__name__": "x", "region": "moon", "h": "\ud800"}
    labels = dict(
        firehose.decode(request(lines({**METRIC, "dimensions": dimensions})), BOUNDS).labels_at(0)
    )
    assert labels[b"a_b"] == b"1;2"
    assert labels[b"region"] == b"eu-central-1"
    assert labels[b"__name__"] == b"aws_ec2_cpuutilization_max"
    assert labels[b"h"] == b"?"
    odd = lines({**METRIC, "namespace": "AWS/\ud800", "account_id": "\ud800"})
    assert dict(firehose.decode(request(odd), BOUNDS).labels_at(0))[b"account_id"] == b"?"


def test_a_line_is_not_multiplied():
    """Statistics times dimensions of one line are bounded."""
    wide = {**METRIC, "dimensions": {f"d{i}": "x" for i in range(101)}}
    assert firehose.decode(request(lines(wide)), BOUNDS).refused == {"bad_record": 1}
    long = {**METRIC, "dimensions": {f"d{i}": "x" * 40_000 for i in range(100)}}
    values = {f"p{i}": 1.0 for i in range(17)}
    bounds = Bounds(decoded_bytes_max=64 << 20, samples_max=100_000)
    assert firehose.decode(request(lines({**long, "value": {"sum": 1}})), bounds).samples == 1
    with pytest.raises(BodyTooLarge):
        firehose.decode(request(lines({**long, "value": values})), bounds)


@pytest.mark.parametrize("body", [b"", b"{}", b"[" * 50_000, b'{"records": [{"data": "%"}]}'])
def test_another_envelope_is_refused(body):
    """Nothing of it can be taken."""
    with pytest.raises(BadBody):
        firehose.decode(sent(body), BOUNDS)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(body):
    """In the envelope or in a record, nothing but our errors comes out."""
    assert firehose.decode(request(body), BOUNDS).samples == 0
    with pytest.raises(BadBody):
        firehose.decode(sent(body), BOUNDS)


def test_bounds_hold():
    """Lines and samples of one request, and bytes after gzip."""
    zipped = gzip.compress(request(lines(METRIC)).body)
    headers = {"content-encoding": "gzip"}
    assert firehose.decode(sent(zipped, **headers), BOUNDS).samples == 5
    for body in (lines(*[METRIC] * 21), b"xy\n" * 101):
        with pytest.raises(BodyTooLarge):
            firehose.decode(request(body), BOUNDS)
    with pytest.raises(BodyTooLarge):
        firehose.decode(sent(gzip.compress(bytes(100_001)), **headers), BOUNDS)
    for bad in ({"content-type": "text/plain"}, {"content-encoding": "br"}):
        with pytest.raises(UnsupportedBody):
            firehose.check(sent(b"", **bad))


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (Outcome(5), 200),
        (Outcome(5, {"bad_record": 1, "too_old": 2}), 200),
        (BadBody(detail="x"), 413),
        (BodyTooLarge(limit=1), 413),
        (StoreUnavailable(detail="x"), 503),
        (RateLimited(limit_per_s=1, samples=1, retry_after_s=1), 429),
    ],
)
def test_firehose_is_told_what_to_do(result, status):
    """Its own request id always; what can be mended comes again, what cannot goes to its bucket."""
    answer = firehose.render(request(), result)
    body = json.loads(bytes(answer.body))
    assert (answer.status_code, body["requestId"], body["timestamp"]) == (status, "r-1", 7)
    assert answer.headers["content-type"] == "application/json"
    assert ("errorMessage" in body) == (status != 200)
