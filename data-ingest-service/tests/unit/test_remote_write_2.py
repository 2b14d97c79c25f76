"""remote_write 2.0: decoded is what protobuf reads; bad references cost their series only."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import BadBody, BodyTooLarge, InvalidLabels, RateLimited
from data_ingest.limits import METADATA_TEXT_MAX
from data_ingest.model import STALE_MARKER_BITS, MetricMetadata, Outcome
from data_ingest.protocols import remote_write, remote_write_2
from data_ingest.protocols.protocol import Bounds, WriteRequest
from tests import wire
from tests.native_histograms import stored_form, valid_histograms

BOUNDS = Bounds(decoded_bytes_max=1 << 20, samples_max=10_000)
HEADERS = {
    "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "content-encoding": "snappy",
}
SYMBOLS = [b"", b"__name__", b"up", b"job", b"a", b"b", b"Is it up.", b"seconds", b"\xff"]

samples: st.SearchStrategy[list[dict[str, float]]] = st.lists(
    st.builds(
        dict,
        value=st.floats(allow_nan=False),
        timestamp=st.integers(-(2**63), 2**63 - 1),
        start_timestamp=st.integers(0, 2**40),
    ),
    max_size=4,
)
references = st.lists(st.integers(0, len(SYMBOLS) - 1), max_size=4).map(lambda one: one + one)


@st.composite
def requests(draw):
    """A request with valid references."""
    request = wire.Request2(symbols=SYMBOLS)
    for _ in range(draw(st.integers(0, 5))):
        series = request.timeseries.add(labels_refs=draw(references), samples=draw(samples))
        for sent in draw(st.lists(valid_histograms(), max_size=2)):
            series.histograms.add().ParseFromString(sent.SerializeToString())
        for refs in draw(st.lists(st.sampled_from([[3, 4], [3, 0], [3], [3, 99]]), max_size=2)):
            series.exemplars.add(labels_refs=refs, value=1.5, timestamp=7)
    return request


def batched(items, size):
    return zip(*[iter(items)] * size, strict=True)


def decoded(request):
    return remote_write_2.decode(wire.compressed(request.SerializeToString()), BOUNDS)


@given(requests())
def test_decodes_what_protobuf_decodes(request):
    """Samples, labels in their order, then histograms of series without samples, and exemplars are
    what protobuf reads; the others of both are counted.
    """
    batch = decoded(request)
    expected = [
        (
            [
                (SYMBOLS[name], SYMBOLS[value])
                for name, value in zip(
                    series.labels_refs[::2], series.labels_refs[1::2], strict=True
                )
            ],
            sample.timestamp,
            sample.value,
        )
        for series in request.timeseries
        for sample in series.samples
    ]
    rows = zip(
        batch.series_of.tolist(), batch.timestamps_ms.tolist(), batch.values.tolist(), strict=True
    )
    first = batch.samples - len(batch.histograms)
    assert [(batch.labels_at(row), at, value) for row, at, value in [*rows][:first]] == expected
    sent = [(bool(one.samples), each) for one in request.timeseries for each in one.histograms]
    assert batch.histogram_at.tolist() == list(range(first, batch.samples))
    assert [*batch.histograms] == [stored_form(each) for mixed, each in sent if not mixed]
    assert batch.refused.get("invalid_histogram", 0) == sum(mixed for mixed, _ in sent)
    in_message = [each.labels_refs for one in request.timeseries for each in one.exemplars]
    storable = [refs for refs in in_message if len(refs) == 2 and refs[1] < len(SYMBOLS)]
    assert [json.loads(one.labels) for one in batch.exemplars] == [
        {"job": "a"} if refs[1] else {} for refs in storable
    ]
    assert batch.skipped.get("invalid_exemplar", 0) == len(in_message) - len(storable)


@given(references, references, st.permutations(range(1, len(SYMBOLS))))
def test_a_key_stands_for_the_labels(one, other, order):
    """A series has one key whatever its symbols' numbers are; other labels have another."""
    symbols = [b"", *(SYMBOLS[i] for i in order)]
    number = {text: i for i, text in enumerate(symbols)}
    first = wire.Request2(symbols=SYMBOLS)
    first.timeseries.add(labels_refs=one, samples=[{"timestamp": 1}])
    second = wire.Request2(symbols=symbols)
    for refs in (one, other):
        renumbered = [number[SYMBOLS[ref]] for ref in refs]
        second.timeseries.add(labels_refs=renumbered, samples=[{"timestamp": 1}])
    key = decoded(first).keys[0].tolist()
    same, maybe = decoded(second).keys.tolist()
    assert same == key
    assert (maybe == key) == (one == other)


@pytest.mark.parametrize(
    ("refs", "reason"),
    [([1, 2, 3], "pairs"), ([1, 99], "leads nowhere"), ([1, 2] * 2000, "too many labels")],
)
def test_bad_references_cost_their_series_only(refs, reason):
    """A series whose references lead nowhere is refused; its neighbours are read."""
    request = wire.Request2(symbols=SYMBOLS)
    request.timeseries.add(labels_refs=[1, 2], samples=[{"timestamp": 1}])
    request.timeseries.add(labels_refs=refs, samples=[{"timestamp": 2}])
    request.timeseries.add(labels_refs=[1, 4], samples=[{"timestamp": 3}])
    batch = decoded(request)
    assert batch.samples == 3
    with pytest.raises(InvalidLabels, match=reason):
        batch.labels_at(1)
    assert batch.labels_at(2) == [(b"__name__", b"a")]
    assert len({tuple(key) for key in batch.keys.tolist()}) == 3


def test_metadata_comes_once_a_name():
    """Type, help and unit of a name are read from the first series that has them."""
    request = wire.Request2(symbols=SYMBOLS)
    metadata = {"type": 1, "help_ref": 6, "unit_ref": 7}
    for job in (4, 5):
        request.timeseries.add(
            labels_refs=[1, 2, 3, job], samples=[{"timestamp": 1}], metadata=metadata
        )
    request.timeseries.add(labels_refs=[1, 4], samples=[{"timestamp": 1}])
    request.timeseries.add(
        labels_refs=[1, 8], samples=[{"timestamp": 1}], metadata=metadata
    )  # not text
    batch = decoded(request)
    assert batch.metadata == (MetricMetadata("up", "counter", "Is it up.", "seconds"),)
    assert batch.skipped == {"metadata_not_kept": 1}


def test_a_stale_marker_keeps_its_bits():
    """The NaN that ends a series arrives bit for bit."""
    marker = wire.sample(5, STALE_MARKER_BITS)
    series = wire.field(1, bytes([1, 2])) + marker
    message = wire.Request2(symbols=SYMBOLS).SerializeToString() + wire.field(5, series)
    batch = remote_write_2.decode(wire.compressed(message), BOUNDS)
    assert batch.values.view(np.uint64).tolist() == [STALE_MARKER_BITS]


def test_one_version_is_never_read_as_the_other():
    """Read as the other version a request is empty without an error: it is refused instead."""
    old = wire.compressed(wire.series([(b"__name__", b"up")], [(1, 1.0)]))
    request = wire.Request2(symbols=SYMBOLS)
    request.timeseries.add(labels_refs=[1, 2], samples=[{"timestamp": 1}])
    with pytest.raises(BadBody, match=r"1\.0"):
        remote_write_2.decode(old, BOUNDS)
    with pytest.raises(ServiceError, match=r"2\.0"):
        remote_write.decode(wire.compressed(request.SerializeToString()), BOUNDS)


def test_bounds_hold():
    """Symbols, series and samples of one request are bounded."""
    many = wire.Request2(symbols=[b""] * 10_001)
    with pytest.raises(BodyTooLarge):
        decoded(many)
    busy = wire.Request2(symbols=SYMBOLS)
    busy.timeseries.add(labels_refs=[1, 2], samples=[{"timestamp": 1}] * 10_001)
    with pytest.raises(BodyTooLarge):
        decoded(busy)
    del busy.timeseries[0].samples[0]
    assert decoded(busy).samples == 10_000


def test_a_large_symbol_is_not_multiplied():
    """A symbol may stand for any number of labels and descriptions; what is read stays bounded."""
    request = wire.Request2(symbols=[b"", b"__name__", b"x" * 100_000])
    for refs in ([1, 2] * 11, [1, 2] * 10):
        request.timeseries.add(labels_refs=refs, samples=[{"timestamp": 1}])
    batch = decoded(request)
    with pytest.raises(InvalidLabels, match="too large"):
        batch.labels_at(0)
    with pytest.raises(BodyTooLarge):
        list(map(batch.labels_at, [1] * 100))
    names = [f"m{i}".encode() for i in range(50)]
    request = wire.Request2(symbols=[b"", b"__name__", b"h" * 100_000, *names])
    for i in range(50):
        metadata = {"type": 1, "help_ref": 2}
        request.timeseries.add(
            labels_refs=[1, 3 + i], samples=[{"timestamp": 1}], metadata=metadata
        )
    assert {len(one.help) for one in decoded(request).metadata} == {4 * METADATA_TEXT_MAX}


@given(requests(), st.data())
def test_a_damaged_request_is_decoded_or_refused(request, data):
    """Cut anywhere or with any byte changed, a request still only decodes or is refused."""
    whole = request.SerializeToString()
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    if damaged:
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ServiceError):
        batch = remote_write_2.decode(wire.compressed(bytes(damaged)), BOUNDS)
        for row in range(len(batch.keys)):
            with contextlib.suppress(InvalidLabels):
                batch.labels_at(row)


@pytest.mark.parametrize(
    ("result", "status", "samples"),
    [
        (Outcome(7), 204, "7"),
        (Outcome(3, lowered=4), 204, "7"),
        (Outcome(5, {"too_old": 2}), 400, "5"),
        (RateLimited(samples=7, limit_per_s=1, retry_after_s=3), 429, "0"),
        (BadBody(detail="malformed"), 400, "0"),
    ],
)
def test_what_was_written_is_always_told(result, status, samples):
    """Without these headers a sender takes the receiver for a 1.0 one."""
    answer = remote_write.PROTOCOL.render(WriteRequest("/api/v1/write", HEADERS), result)
    assert answer.status_code == status
    prefix = "x-prometheus-remote-write"
    assert answer.headers[f"{prefix}-samples-written"] == samples
    assert answer.headers[f"{prefix}-histograms-written"] == "0"
    assert answer.headers[f"{prefix}-exemplars-written"] == "0"
    assert ("retry-after" in answer.headers) == (status == 429)
