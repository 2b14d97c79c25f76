"""Laws of decoding remote_write 1.0: what protobuf reads is read, anything else is refused."""

import contextlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import BadBody, BodyTooLarge, InvalidLabels, UnsupportedBody
from data_ingest.model import STALE_MARKER_BITS, MetricMetadata
from data_ingest.protocols import protocol, remote_write
from data_ingest.protocols.protocol import Bounds, WriteRequest
from tests import wire
from tests.native_histograms import stored_form, valid_histograms

BOUNDS = Bounds(decoded_bytes_max=1 << 20, samples_max=50_000)
LABELS = ((b"__name__", b"up"), (b"job", b"x"))

texts = st.binary(max_size=40) | st.binary(min_size=120, max_size=300)
labels = st.lists(st.tuples(texts, texts), max_size=6)
samples = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)), max_size=4
)
unknown = st.sampled_from([b"\x78\x05", b"\x7a\x03abc", b"\x79" + bytes(8), b"\x7d" + bytes(4)])


exemplars = st.builds(
    lambda pairs, value, at: (
        wire.WriteRequest(
            timeseries=[{"exemplars": [{"labels": pairs, "value": value, "timestamp": at}]}]
        )
        .timeseries[0]
        .exemplars[0]
        .SerializeToString()
    ),
    st.lists(st.builds(dict, name=texts, value=texts), max_size=2),
    st.floats(allow_nan=False),
    st.integers(-(2**63), 2**63 - 1),
)
histograms = valid_histograms().map(lambda one: one.SerializeToString()) | st.just(b"")


@st.composite
def time_series(draw) -> bytes:
    """One TimeSeries whose fields come in any order, as protobuf allows."""
    parts = [wire.label(*one) for one in draw(labels)]
    parts += [wire.sample(*one) for one in draw(samples)]
    parts += [wire.field(3, one) for one in draw(st.lists(exemplars, max_size=2))]
    parts += [wire.field(4, one) for one in draw(st.lists(histograms, max_size=2))]
    parts += draw(st.lists(unknown, max_size=2))
    return wire.field(1, b"".join(draw(st.permutations(parts))))


requests = st.lists(
    time_series() | st.just(wire.field(3, wire.field(2, b"up"))) | unknown, max_size=6
).map(b"".join)


def bits_of(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


@given(requests)
def test_decodes_what_protobuf_decodes(message):
    """Samples, bits, labels in their order, then histograms, and exemplars are what protobuf reads;
    those of the two that cannot be stored are counted.
    """
    oracle = wire.WriteRequest.FromString(message)
    batch = remote_write.decode(wire.compressed(message), BOUNDS)
    expected = [
        (
            tuple((one.name, one.value) for one in series.labels),
            point.timestamp,
            bits_of(point.value),
        )
        for series in oracle.timeseries
        for point in series.samples
    ]
    decoded = [
        (tuple(batch.labels_at(row)), timestamp, bits)
        for row, timestamp, bits in zip(
            batch.series_of.tolist(),
            batch.timestamps_ms.tolist(),
            batch.values.view(np.uint64).tolist(),
            strict=True,
        )
    ]
    first = len(decoded) - len(batch.histograms)
    assert batch.histogram_at.tolist() == list(range(first, len(decoded)))
    of_histograms, decoded = decoded[first:], decoded[:first]
    # Python's float keeps every NaN payload but sets its quiet bit; the decoder keeps even that.
    quiet = 1 << 51
    same = [
        (mine[:2] == theirs[:2]) and (mine[2] == theirs[2] or mine[2] | quiet == theirs[2] | quiet)
        for mine, theirs in zip(decoded, expected, strict=True)
    ]
    assert all(same)
    sent = [(one, each) for one in oracle.timeseries for each in one.histograms]
    valid = [(one, each) for one, each in sent if each.WhichOneof("count")]
    assert sum(batch.refused.values()) == len(sent) - len(valid)
    assert [one[:2] for one in of_histograms] == [
        (tuple((label.name, label.value) for label in one.labels), each.timestamp)
        for one, each in valid
    ]
    assert [*batch.histograms] == [stored_form(each) for _, each in valid]
    in_message = [(one, each) for one in oracle.timeseries for each in one.exemplars]
    storable = [
        (one, labels) for one, each in in_message if (labels := kept_labels(each)) is not None
    ]
    assert [json.loads(one.labels) for one in batch.exemplars] == [labels for _, labels in storable]
    assert [tuple(batch.labels_at(one.series)) for one in batch.exemplars] == [
        tuple((label.name, label.value) for label in one.labels) for one, _ in storable
    ]
    assert batch.skipped.get("invalid_exemplar", 0) == len(in_message) - len(storable)
    not_kept = len(oracle.metadata) - len(batch.metadata)
    assert batch.skipped.get("metadata_not_kept", 0) == not_kept
    assert len(batch.metadata) == sum(one.metric_family_name == b"up" for one in oracle.metadata)


def kept_labels(exemplar):
    """Labels as they are stored; None where they cannot be: 128 characters, UTF-8, each once."""
    try:
        pairs = [(one.name.decode(), one.value.decode()) for one in exemplar.labels]
    except UnicodeDecodeError:
        return None
    names = [name for name, _ in pairs]
    text = "".join(name + value for name, value in pairs)
    if len(text) > 128 or "\0" in text or "" in names or len(set(names)) < len(names):
        return None
    return {name: value for name, value in pairs if value}


def decode_or_refuse(body: bytes) -> None:
    """Anything but decoding, or one of our errors, is a failed test."""
    try:
        batch = remote_write.decode(body, BOUNDS)
    except ServiceError:
        return
    for row in range(len(batch.keys)):
        with contextlib.suppress(InvalidLabels):
            batch.labels_at(row)


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(body):
    """No body, compressed or not, does anything but decode or raise one of our errors."""
    decode_or_refuse(body)
    decode_or_refuse(wire.compressed(body))


@given(requests, st.data())
def test_a_damaged_request_is_decoded_or_refused(message, data):
    """Cut anywhere or with any byte changed, a request still only decodes or is refused."""
    damaged = bytearray(message[: data.draw(st.integers(0, len(message)))])
    if damaged:
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    decode_or_refuse(wire.compressed(bytes(damaged)))


@given(labels, labels)
def test_a_key_stands_for_the_label_bytes(one, other):
    """Two series have one cache key exactly when their label bytes are the same."""
    message = b"".join(
        wire.series(pairs, [(1, 1.0)]) + wire.series(pairs, [(2, 2.0)]) for pairs in (one, other)
    )
    keys = remote_write.decode(wire.compressed(message), BOUNDS).keys.tolist()
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    written = [b"".join(wire.label(*label) for label in pairs) for pairs in (one, other)]
    assert (keys[0] == keys[2]) == (written[0] == written[1])


@pytest.mark.parametrize("bits", [STALE_MARKER_BITS, 0x7FF8_0000_0000_0001, 1 << 63, 0x7FF << 52])
def test_value_bits_are_kept(bits):
    """Stale markers, NaN payloads, -0.0 and infinity arrive bit for bit."""
    message = wire.field(1, wire.label(b"a", b"b") + wire.sample(5, bits))
    batch = remote_write.decode(wire.compressed(message), BOUNDS)
    assert batch.values.view(np.uint64).tolist() == [bits]


def test_many_samples_in_one_series():
    """A request with far more samples than its size suggests is decoded whole."""
    message = wire.series(LABELS, [(i, float(i)) for i in range(5_000)])
    batch = remote_write.decode(wire.compressed(message), BOUNDS)
    assert batch.timestamps_ms.tolist() == list(range(5_000))
    assert len(batch.keys) == 1


def test_too_many_samples_are_refused():
    """A request over the bound of samples is too large, however small its bytes."""
    message = wire.field(1, wire.field(2, b"") * 60_000)
    with pytest.raises(BodyTooLarge):
        remote_write.decode(wire.compressed(message), BOUNDS)


@pytest.mark.parametrize("inside", [b"", b"\x78\x01" * 5])
def test_labels_without_end_refuse_their_series_at_once(inside):
    """Reading labels costs no more than a real series may have, however many a message holds: two
    bytes each, empty, or full of unknown fields.
    """
    bounds = Bounds(decoded_bytes_max=1 << 26, samples_max=50_000)
    endless = wire.field(1, wire.field(1, inside) * 2_000 + wire.sample(1, 0))
    batch = remote_write.decode(wire.compressed(endless + wire.series(LABELS, [(1, 1.0)])), bounds)
    with pytest.raises(InvalidLabels, match=r"too many labels \(labels=2000, "):
        batch.labels_at(0)
    assert batch.labels_at(1) == list(LABELS)


def test_labels_of_one_request_are_bounded(monkeypatch):
    """Many series with many labels each are a request that is too large, not minutes of work."""
    monkeypatch.setattr(protocol, "LABELS_READ_MAX", 15)
    message = wire.series([(b"a", b"b")] * 10, [(1, 1.0)]) * 2
    batch = remote_write.decode(wire.compressed(message), BOUNDS)
    assert len(batch.labels_at(0)) == 10
    with pytest.raises(BodyTooLarge, match="too many labels"):
        batch.labels_at(1)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(b"", BadBody, id="empty"),
        pytest.param(b"\xff" * 6, BadBody, id="no length"),
        pytest.param(b"\xff\xff\xff\xff\x0f\x00", BodyTooLarge, id="4 GiB in 6 bytes"),
        pytest.param(b"\x80\x80\x3c" + bytes(40), BadBody, id="960 KiB in 43 bytes"),
        pytest.param(b"\x04\x0cab", BadBody, id="shorter than it says"),
        pytest.param(b"sNaPpY framed", BadBody, id="framed"),
    ],
)
def test_snappy_lies_are_refused(body, error):
    """A block that claims what it cannot hold is refused before memory is taken for it."""
    with pytest.raises(error):
        remote_write.decode(body, BOUNDS)


@pytest.mark.parametrize("number", [4, 5])
def test_a_2_0_body_is_not_an_empty_1_0_request(number):
    """The fields of remote_write 2.0 are refused by name: as 1.0 their samples would be lost."""
    with pytest.raises(UnsupportedBody, match=r"2\.0"):
        remote_write.decode(wire.compressed(wire.field(number, b"up")), BOUNDS)


def request_with(content_type, encoding):
    headers = {"content-type": content_type, "content-encoding": encoding}
    return WriteRequest("/api/v1/write", headers)


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy"),
        ("application/json", "snappy"),
        ("application/x-protobuf", "gzip"),
        ("application/x-protobuf", "zstd"),
    ],
)
def test_other_content_is_named(content_type, encoding):
    """A content type or encoding of another protocol is refused as unsupported."""
    with pytest.raises(UnsupportedBody):
        remote_write.check(request_with(content_type, encoding))


@pytest.mark.parametrize(
    "content_type",
    ["", "application/x-protobuf", "Application/X-Protobuf; proto=prometheus.WriteRequest"],
)
def test_1_0_content_passes(content_type):
    """Absent headers mean 1.0."""
    remote_write.check(request_with(content_type, "snappy"))
    remote_write.check(request_with(content_type, ""))


def test_metadata_is_read():
    """Type, help and unit of a metric name arrive; what is not text is left out and counted."""
    good = b"\x08\x01" + wire.field(2, b"up") + wire.field(4, b"Is it.") + wire.field(5, b"s")
    bad = wire.field(2, b"\xff")
    message = wire.field(3, good) + wire.field(3, bad)
    batch = remote_write.decode(wire.compressed(message), BOUNDS)
    assert batch.metadata == (MetricMetadata("up", "counter", "Is it.", "s"),)
    assert batch.skipped == {"metadata_not_kept": 1}


def test_short_metadata_is_read_however_much_there_is():
    """Every description of a request is read, also where each is a few bytes; beyond the bound they
    are counted.
    """
    descriptions = [wire.field(3, wire.field(2, f"m{n}".encode())) for n in range(5_005)]
    batch = remote_write.decode(wire.compressed(b"".join(descriptions[:500])), BOUNDS)
    assert [one.metric_name for one in batch.metadata] == [f"m{n}" for n in range(500)]
    assert batch.skipped == {}
    batch = remote_write.decode(wire.compressed(b"".join(descriptions)), BOUNDS)
    assert (len(batch.metadata), batch.skipped) == (5_000, {"metadata_not_kept": 5})
