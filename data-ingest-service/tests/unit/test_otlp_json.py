"""Laws of OTLP's JSON: it is the protobuf message that it stands for, or refused in words."""

import base64
import json
import math
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.errors import BadBody, BodyTooLarge
from data_ingest.protocols.otlp import json_text, names
from data_ingest.protocols.otlp.json_text import to_protobuf
from data_ingest.protocols.protocol import Bounds
from tests import otlp
from tests.otlp import AT_NS, JSON, Meaning, Request, decode
from tests.unit.test_otlp import requests, samples

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resourceMetrics", "scopeMetrics", "metrics", "gauge", "dataPoints"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


def without_ids(request: Request) -> Request:
    """As the converter writes it: `MessageToDict` writes ids as base64, which is no id in OTLP."""
    for resource_metrics in request.resource_metrics:
        resource_metrics.schema_url = ""
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                points = getattr(metric, metric.WhichOneof("data") or "gauge").data_points
                for point in points:
                    for exemplar in getattr(point, "exemplars", ()):
                        exemplar.ClearField("trace_id")
                        exemplar.ClearField("span_id")
    return request


@given(requests())
def test_json_is_the_message_it_stands_for(request):
    """What protobuf's own library writes as JSON becomes the same message again."""
    text = json.dumps(MessageToDict(request, use_integers_for_enums=True))
    read = Request.FromString(to_protobuf(text.encode()))
    wanted = without_ids(Request.FromString(request.SerializeToString()))
    # NaN is not equal to itself; its text is.
    assert str(read) == str(wanted)


def test_json_and_protobuf_are_the_same_samples():
    """Both forms of one request decode to the same samples of the same series."""
    request, scope_metrics = otlp.request(AT_NS, service__name="api")
    otlp.add_histogram(scope_metrics, AT_NS).exemplars.add(trace_id=bytes(16), as_double=1.0)
    text = json.dumps(MessageToDict(request, use_integers_for_enums=True))
    batch = decode(text.encode(), headers=JSON)
    assert samples(batch) == Meaning(request).samples
    assert batch.skipped == {}
    assert [one.value for one in batch.exemplars] == [1.0]
    assert decode(request.SerializeToString()).keys.tolist() == batch.keys.tolist()


def point(**fields) -> bytes:
    gauge = {"dataPoints": [{"timeUnixNano": str(AT_NS), **fields}]}
    metrics = [{"name": "m", "gauge": gauge}]
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}).encode()


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"asInt": "-7"}, -7.0),
        ({"asInt": 7}, 7.0),
        ({"asInt": 7.0}, 7.0),
        ({"asDouble": 1}, 1.0),
        ({"asDouble": "2.5e3"}, 2500.0),
        ({"asDouble": "Infinity"}, math.inf),
        ({"asDouble": "-Infinity"}, -math.inf),
        ({"asDouble": 1.5, "unheard": {"of": [1]}, "flags": None}, 1.5),
        ({"asDouble": 1.5, "exemplars": [{"traceId": "00ff", "spanId": "no hex"}]}, 1.5),
    ],
)
def test_numbers_as_senders_write_them(fields, value):
    """64-bit numbers are strings or numbers; unknown keys are ignored, null is absent, and an id
    that is not hexadecimal is none.
    """
    batch = decode(point(**fields), headers=JSON)
    assert batch.values.tolist() == [value]
    if "exemplars" in fields:
        assert [one.labels for one in batch.exemplars] == ['{"trace_id": "00ff"}']


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON"),
        (b"[]", "an object"),
        (b'{"resourceMetrics": {}}', "resourceMetrics: expected an array"),
        (b"\xff", "utf-8"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b"[" * 50_000, "too deep"),
        (b'{"resourceMetrics":' + b"[" * 50_000, "too deep"),
        (point(asInt=str(2**63)), "asInt: expected an integer"),
        (point(asInt=True), "asInt"),
        (point(asInt="0x7"), "asInt"),
        (point(asDouble="1_0"), "asDouble: expected a number"),
        (point(asDouble=1e999), "asDouble|JSON"),
        (point(asDouble=10**400), "asDouble: "),
        (point(asDouble=-(10**400)), "asDouble: "),
        (point(asInt=10**400), "asInt: expected"),
        (point(asInt=1e300), "asInt: expected"),
        (point(asDouble=1).replace(b"1}", b"1" * 5_000 + b"}"), "JSON"),
        (point(timeUnixNano=10**400), "timeUnixNano: expected"),
        (point(asInt=1).replace(b'"m"', b'"\\ud800"'), "surrogates"),
        (point(attributes=[{"key": "k", "value": {"stringValue": "\udfff"}}]), "surrogates"),
        (point(attributes=[{"key": "k", "value": {"doubleValue": 10**400}}]), "doubleValue: "),
        (point(flags="1"), "flags: expected an integer"),
        (point(timeUnixNano="-1"), "timeUnixNano"),
        (point(attributes=[{"key": "\ud800", "value": {"stringValue": "x"}}]), "surrogates"),
        (point(attributes=[{"key": 5}]), "key: expected a string"),
        (point(attributes=[{"key": "k", "value": {"bytesValue": "!"}}]), "bytesValue"),
        (
            point(asInt=1).replace(b'"gauge": {', b'"sum": {"aggregationTemporality": "DELTA",'),
            "aggregationTemporality: expected an integer",
        ),
    ],
)
def test_other_json_is_refused_in_words(body, message):
    """What is not OTLP's JSON is a 400 that says where; names of enums are not taken."""
    with pytest.raises(BadBody, match=message):
        decode(body, headers=JSON)


def test_long_text_is_not_remembered():
    """What is kept between requests has a bound: a sender cannot fill it with long text."""
    before = json_text._text_attribute.cache_info().misses, names._escaped.cache_info().misses
    one = {"key": "k" * 300, "value": {"stringValue": "x"}}
    assert samples(decode(point(asInt=1, attributes=[one]), headers=JSON))[0][0] == frozenset(
        {("__name__", "m"), ("k" * 300, "x")}
    )
    after = json_text._text_attribute.cache_info().misses, names._escaped.cache_info().misses
    assert after == before


def test_snake_case_keys_are_unknown_keys():
    """Only lowerCamelCase is OTLP's JSON."""
    assert decode(b'{"resource_metrics": [5]}', headers=JSON).samples == 0


def test_attributes_of_every_kind():
    """Values inside values arrive as they were; bytes are base64, also its web form."""
    data = bytes(range(248, 256))
    web = base64.urlsafe_b64encode(data).decode()
    pairs = {
        "bytes": ({"bytesValue": web}, base64.b64encode(data).decode()),
        "array": ({"arrayValue": {"values": [{"intValue": "1"}, {"boolValue": True}]}}, "[1,true]"),
        "map": (
            {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}},
            '{"k":"v"}',
        ),
        "double": ({"doubleValue": 0.1}, "0.1"),
        "number": ({"intValue": -5}, "-5"),
    }
    written = [{"key": key, "value": value} for key, (value, _) in pairs.items()]
    batch = decode(point(asInt=1, attributes=written), headers=JSON)
    assert dict(samples(batch)[0][0] or ()) == {
        "__name__": "m",
        **{key: text for key, (_, text) in pairs.items()},
    }


def test_values_inside_values_have_a_bound():
    """An attribute nested without end refuses its series, and a recursion that deep the request."""
    for depth, error in ((17, None), (2_000, BadBody)):
        value: dict[str, Any] = {"stringValue": "x"}
        for _ in range(depth):
            value = {"arrayValue": {"values": [value]}}
        text = json.dumps if depth < 100 else _deep
        body = point(asInt=1, attributes=["@"]).replace(
            b'"@"', b'{"key":"k","value":' + text(value).encode() + b"}"
        )
        if error:
            with pytest.raises(error, match="too deep"):
                decode(body, headers=JSON)
        else:
            assert samples(decode(body, headers=JSON))[0][0] is None


def _deep(value) -> str:
    """JSON of arrays inside arrays, without recursion."""
    depth = 0
    while "arrayValue" in value:
        value, depth = value["arrayValue"]["values"][0], depth + 1
    return '{"arrayValue":{"values":[' * depth + json.dumps(value) + "]}}" * depth


def test_json_has_a_tighter_bound():
    """Parsed JSON takes many times its size: its bound is a sixteenth."""
    bounds = Bounds(decoded_bytes_max=16 * 1000, samples_max=100)
    assert decode(b'{"a":"' + b"x" * 992 + b'"}', headers=JSON, bounds=bounds).samples == 0
    with pytest.raises(BodyTooLarge):
        decode(b'{"a":"' + b"x" * 993 + b'"}', headers=JSON, bounds=bounds)


@given(ANY_JSON)
def test_any_json_is_read_or_refused(document):
    """Whatever the JSON, it becomes a message that protobuf reads, or `BadBody`."""
    try:
        message = to_protobuf(json.dumps(document).encode())
    except BadBody:
        return
    Request.FromString(message)
