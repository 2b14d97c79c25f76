"""Pushed Prometheus text: the group's labels, times, and what is refused."""

import base64
import gzip
from dataclasses import replace

import pytest

from data_ingest.errors import BadBody, BodyTooLarge, UnsupportedBody
from data_ingest.model import Exemplar, Outcome
from data_ingest.protocols import prometheus_push
from data_ingest.protocols.protocol import Bounds, WriteRequest

BOUNDS = Bounds(decoded_bytes_max=10_000, samples_max=100)
PAGE = b'# TYPE jobs counter\njobs 3\nlag{job="own",host="a"} 0.5\n'


def push(group: str, body: bytes = PAGE, **headers: str) -> WriteRequest:
    return WriteRequest(
        f"/metrics/{group}", headers, {}, {"group": group}, "", body, received_ms=5_000
    )


def importing(query: dict[str, str], query_string: str, body: bytes) -> WriteRequest:
    path = "/api/v1/import/prometheus"
    return WriteRequest(path, {}, query, {}, query_string, body, received_ms=5_000)


def labels_of(batch, row: int) -> dict[bytes, bytes]:
    return dict(batch.labels_at(row))


def test_the_groups_labels_replace_those_of_the_body():
    """Every series has the labels of the path, and the push itself is a series."""
    batch = prometheus_push.decode_push(push("job/nightly/zone/eu"), BOUNDS)
    group = {b"job": b"nightly", b"zone": b"eu"}
    assert [labels_of(batch, row) for row in range(3)] == [
        {b"__name__": b"jobs", **group},
        {b"__name__": b"lag", b"host": b"a", **group},
        {b"__name__": b"push_time_seconds", **group},
    ]
    assert batch.values.tolist() == [3.0, 0.5, 5.0]
    assert set(batch.timestamps_ms.tolist()) == {5_000}
    assert batch.metadata[0].type == "counter"


def test_pushed_exemplars_are_of_their_sample():
    """One without a time has the sample's; one whose labels are too long is counted."""
    body = b'a 1 # {t="x"} 0.5\nb 1 # {t="y"} 2 7.5\nc 1 # {t="%s"} 1\n# EOF\n' % (b"x" * 128)
    sent = push("job/nightly", body, **{"content-type": "application/openmetrics-text"})
    batch = prometheus_push.decode_push(sent, BOUNDS)
    assert batch.exemplars == [
        Exemplar(0, 5_000, 0.5, '{"t": "x"}'),
        Exemplar(1, 7_500, 2.0, '{"t": "y"}'),
    ]
    assert batch.skipped == {"invalid_exemplar": 1}


@pytest.mark.parametrize("value", ["a/b", "", "ünï", "=="])
def test_a_label_that_no_path_can_hold_is_base64(value):
    """`label@base64` holds any text, with padding or without; `=` alone is the empty one."""
    encoded = base64.urlsafe_b64encode(value.encode()).decode()
    for text in {encoded or "=", encoded.rstrip("=") or "="}:
        batch = prometheus_push.decode_push(push(f"job/a/path@base64/{text}"), BOUNDS)
        assert labels_of(batch, 0)[b"path"] == value.encode()


@pytest.mark.parametrize(
    "group",
    ["", "nightly", "zone/eu", "job/a/zone", "job/a/job/b", "job/a/x@base64/%%", "job/a//b"],
)
def test_a_path_that_is_no_group_is_refused(group):
    """Labels come in pairs, `job` first, each once, and base64 is base64."""
    with pytest.raises(BadBody):
        prometheus_push.check(push(group))


def test_a_series_has_one_key_in_one_group_only():
    """A key stands for the labels: another group, or another type of the family, is another."""
    keys = {
        tuple(prometheus_push.decode_push(push(group, body), BOUNDS).keys[0].tolist())
        for group in ("job/a", "job/b", "job/a")
        for body in (b'x_bucket{le="1"} 1\n', b'# TYPE x histogram\nx_bucket{le="1"} 1\n')
    }
    assert len(keys) == 4


def test_an_import_has_its_own_times():
    """A sample's own time, else the query's, else the time it came; labels from the query."""
    body = b'a 1 1000\nb{x="1"} 2\n'
    query_string = "extra_label=x=2&extra_label=y=a%3Db"
    batch = prometheus_push.decode_import(importing({}, query_string, body), BOUNDS)
    assert batch.timestamps_ms.tolist() == [1000, 5000]
    assert labels_of(batch, 1) == {b"__name__": b"b", b"x": b"2", b"y": b"a=b"}
    batch = prometheus_push.decode_import(importing({"timestamp": "77"}, "", body), BOUNDS)
    assert batch.timestamps_ms.tolist() == [1000, 77]
    assert labels_of(batch, 1)[b"x"] == b"1"


@pytest.mark.parametrize(
    ("query", "query_string"),
    [
        ({"timestamp": "soon"}, ""),
        ({"timestamp": "9" * 16}, ""),
        ({}, "extra_label=x"),
        ({}, "extra_label==1"),
        ({}, "extra_label=__name__=x"),
        ({}, "extra_label=a=1&extra_label=a=2"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(query, query_string):
    """Nothing is guessed."""
    with pytest.raises(BadBody):
        prometheus_push.decode_import(importing(query, query_string, PAGE), BOUNDS)


def test_bodies_are_bounded():
    """Samples of one request, and bytes after gzip; timed pushes and protobuf are refused."""
    zipped = prometheus_push.decode_push(
        push("job/a", gzip.compress(PAGE), **{"content-encoding": "gzip"}), BOUNDS
    )
    assert zipped.samples == 3
    bomb = gzip.compress(b"#" * (1 << 20) + b"#")
    cases = [
        (push("job/a", bomb, **{"content-encoding": "gzip"}), BodyTooLarge),
        (push("job/a", b"a 1\n" * 101), BodyTooLarge),
        (importing({}, "", b"# HELP a b\n" * 50_001), BodyTooLarge),
        (push("job/a", b"a 1 1000\n"), BadBody),
        (push("job/a", b"no text\n"), BadBody),
    ]
    for request, error in cases:
        bounds = replace(BOUNDS, decoded_bytes_max=1 << 20)
        decode = prometheus_push.PUSH if request.parameters else prometheus_push.IMPORT
        with pytest.raises(error):
            decode.decode(request, bounds)
    for name, value in (("content-encoding", "br"), ("content-type", "application/protobuf")):
        with pytest.raises(UnsupportedBody):
            prometheus_push.check(push("job/a", PAGE, **{name: value}))


def test_clients_of_pushgateway_are_told_200():
    """Stored whole: 200; else the usual refusal."""
    render = prometheus_push.PUSH.render
    assert render(push("job/a"), Outcome(3)).status_code == 200
    assert render(push("job/a"), Outcome(2, {"too_old": 1})).status_code == 400
    assert render(push("job/a"), BadBody(detail="x")).status_code == 400
