"""Laws of deltas made cumulative: nothing is counted twice, and what is lost shows as a reset."""

from collections import Counter
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.protocols.otlp import Options, protocol
from data_ingest.protocols.otlp.delta import EVICTED, DeltaTotals
from data_ingest.protocols.protocol import WriteRequest
from tests import otlp
from tests.native_histograms import meaning
from tests.otlp import BOUNDS, PROTOBUF, Request
from tests.unit.test_otlp import by_name

STEP_NS = 10_000_000_000
AT_NS = 1_795_000_000_000_000_000


def request(end: int, value: float, start: int | None = None, **room: str) -> bytes:
    """A counter's delta of the step that ends at `end`."""
    made = Request()
    metric = made.resource_metrics.add().scope_metrics.add().metrics.add(name="work")
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = 1, True
    point = metric.sum.data_points.add(time_unix_nano=AT_NS + end * STEP_NS, as_double=value)
    point.start_time_unix_nano = AT_NS + (end - 1 if start is None else start) * STEP_NS
    otlp.fill(point.attributes, **room)
    return bytes(made.SerializeToString())


def receiver(series_max: int = 100):
    """Decodes with totals; the values of each request."""
    row = protocol(Options(delta_series_max=series_max))

    def receive(body: bytes, tenant: int = 1):
        sent = WriteRequest("/", PROTOBUF, body=body, tenant=UUID(int=tenant))
        batch = row.decode(sent, BOUNDS)
        return batch.values.tolist(), dict(batch.refused)

    return receive


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8))
def test_deltas_add_up(values):
    """The sample after each delta is the sum of all of them."""
    receive = receiver()
    totals = [receive(request(end, value))[0][0] for end, value in enumerate(values, 1)]
    assert totals == np.cumsum(values).tolist()


def test_a_request_sent_twice_counts_once():
    """A sender that got no answer sends the same again: the total stays."""
    receive = receiver()
    assert receive(request(1, 5))[0] == [5.0]
    assert receive(request(1, 5))[0] == [5.0]
    assert receive(request(2, 3))[0] == [8.0]


@pytest.mark.parametrize(("end", "start"), [(1, 0), (3, 1)], ids=["older", "overlapping"])
def test_what_would_count_twice_is_refused(end, start):
    """A point before the last one, or one that overlaps it, is refused and counted."""
    receive = receiver()
    receive(request(2, 5))
    assert receive(request(end, 7, start)) == ([], {"delta_out_of_order": 1})
    assert receive(request(4, 1))[0] == [6.0]


def test_a_gap_adds_nothing():
    """Steps that never came are not guessed: the total goes on from where it was."""
    receive = receiver()
    receive(request(1, 5))
    assert receive(request(9, 2))[0] == [7.0]


def test_nan_is_refused():
    """It would make the total NaN for ever."""
    receive = receiver()
    assert receive(request(1, float("nan"))) == ([], {"delta_out_of_order": 1})
    assert receive(request(1, 5))[0] == [5.0]


def test_series_and_tenants_have_totals_of_their_own():
    """Another attribute or another tenant is another total."""
    receive = receiver()
    receive(request(1, 5, room="a"))
    assert receive(request(1, 1, room="b"))[0] == [1.0]
    assert receive(request(1, 2, room="a"), tenant=2)[0] == [2.0]
    assert receive(request(2, 1, room="a"))[0] == [6.0]


def test_totals_have_a_bound():
    """The series not written for longest starts again at zero, a reset, and is counted."""
    before = EVICTED._value.get()
    receive = receiver(series_max=2)
    for room in ("a", "b"):
        receive(request(1, 5, room=room))
    receive(request(2, 5, room="a"))
    receive(request(1, 5, room="c"))
    assert EVICTED._value.get() == before + 1
    assert receive(request(3, 1, room="a"))[0] == [11.0]
    assert receive(request(2, 1, room="b"))[0] == [1.0]


def test_every_part_of_a_histogram_adds_up():
    """Count, sum and buckets of a delta histogram are totals; the flag for no value ends them."""
    made = Request()
    scope_metrics = made.resource_metrics.add().scope_metrics.add()
    point = otlp.add_histogram(scope_metrics, AT_NS, temporality=1)
    row = protocol(Options(delta_series_max=100))

    def receive():
        return row.decode(WriteRequest("/", PROTOBUF, body=made.SerializeToString()), BOUNDS)

    first = by_name(receive())
    point.time_unix_nano += STEP_NS
    assert by_name(receive()) == {name: 2 * value for name, value in first.items()}
    point.time_unix_nano += STEP_NS
    point.flags = 1
    assert set(receive().values.view(np.uint64).tolist()) == {otlp.STALE}


def exponential(end: int, scale: int, zero: int, *sides: dict[int, int], **more: float) -> bytes:
    """A delta of the step that ends at `end`; sides: counts by index, positive and negative."""
    made = Request()
    metric = made.resource_metrics.add().scope_metrics.add().metrics.add(name="took")
    metric.exponential_histogram.aggregation_temporality = 1
    point = metric.exponential_histogram.data_points.add(scale=scale, zero_count=zero, sum=end)
    point.time_unix_nano = AT_NS + end * STEP_NS
    point.start_time_unix_nano = point.time_unix_nano - STEP_NS
    for side, buckets in zip((point.positive, point.negative), sides, strict=False):
        side.offset = min(buckets, default=0)
        counts = [buckets.get(i, 0) for i in range(side.offset, max(buckets, default=-1) + 1)]
        side.bucket_counts.extend(counts)
    point.count = zero + sum(sum(buckets.values()) for buckets in sides)
    for name, value in more.items():
        setattr(point, name, value)
    return bytes(made.SerializeToString())


def histograms_of(row, body: bytes):
    """What the stored histograms of a request mean, and what is refused."""
    batch = row.decode(WriteRequest("/", PROTOBUF, body=body), BOUNDS)
    return [meaning(one) for one in batch.histograms], dict(batch.refused)


sides = st.dictionaries(st.integers(-40, 40), st.integers(1, 9), max_size=6)


@given(st.lists(st.tuples(st.integers(-4, 8), st.integers(0, 5), sides, sides), min_size=1))
def test_exponential_histograms_add_up(deltas):
    """After each delta: all counts so far, at the lowest scale there was, bucket by bucket."""
    row = protocol(Options(delta_series_max=1_000))
    for end, delta in enumerate(deltas, 1):
        (total,), refused = histograms_of(row, exponential(end, *delta))
        scale = min(one[0] for one in deltas[:end])
        expected = [Counter[int](), Counter[int]()]
        for own, _, *both in deltas[:end]:
            for side, buckets in zip(expected, both, strict=True):
                for i, count in buckets.items():
                    side[(i >> own - scale) + 1] += count
        assert (total["schema"], refused) == (scale, {})
        assert [total["positive"], total["negative"]] == expected
        assert total["zero"] == sum(one[1] for one in deltas[:end])
        assert total["sum"] == end * (end + 1) / 2
        assert total["start"] == AT_NS // 1_000_000


def test_the_scale_falls_until_the_buckets_are_few():
    """However far observations are from one another, a total has at most 160 buckets a side."""
    row = protocol(Options(delta_series_max=1_000))
    histograms_of(row, exponential(1, 8, 0, {-10_000: 1}))
    (total,), _ = histograms_of(row, exponential(2, 8, 0, {10_000: 1}))
    indexes = sorted(total["positive"])
    assert (total["schema"], total["count"]) == (1, 2)
    assert indexes == [(-10_000 >> 7) + 1, (10_000 >> 7) + 1]


def test_an_exponential_delta_counts_once():
    """Sent twice it changes nothing; what is older, invalid or too far away is refused alone."""
    row = protocol(Options(delta_series_max=1_000))
    for _ in range(2):
        assert histograms_of(row, exponential(2, 0, 1, {0: 2}))[0][0]["count"] == 3
    late = {"delta_out_of_order": 1}
    assert histograms_of(row, exponential(1, 0, 1)) == ([], late)
    assert histograms_of(row, exponential(3, 0, 1, sum=float("nan"))) == ([], late)
    assert histograms_of(row, exponential(3, 0, 1, {2**30: 1})) == ([], late)
    assert histograms_of(row, exponential(3, 0, 1, count=7)) == ([], {"invalid_histogram": 1})
    assert histograms_of(row, exponential(4, 0, 1, {1: 1}))[0][0]["count"] == 5


def test_another_zero_threshold_begins_anew():
    """Counts around zero of two widths have no sum: the total starts at this delta, a reset."""
    row = protocol(Options(delta_series_max=1_000))
    histograms_of(row, exponential(1, 0, 1))
    (total,), _ = histograms_of(row, exponential(2, 0, 2, zero_threshold=0.5))
    assert (total["count"], total["zero_threshold"]) == (2, 0.5)


def test_buckets_take_room_as_series_do():
    """A total of 9 buckets counts as 10 series: a number that comes then has its room."""
    row = protocol(Options(delta_series_max=10))
    wide = exponential(1, 0, 0, dict.fromkeys(range(9), 1))
    before = EVICTED._value.get()
    histograms_of(row, wide)
    assert EVICTED._value.get() == before
    row.decode(WriteRequest("/", PROTOBUF, body=request(1, 5)), BOUNDS)
    assert EVICTED._value.get() == before + 1
    assert histograms_of(row, exponential(2, 0, 1))[0][0]["count"] == 1


def test_a_delta_that_may_fall_is_refused():
    """Its total would be relative to whenever this process began: wrong without a sign of it."""
    made = Request.FromString(request(1, 5))
    made.resource_metrics[0].scope_metrics[0].metrics[0].sum.is_monotonic = False
    assert receiver()(made.SerializeToString()) == ([], {"delta_temporality": 1})


def test_totals_at_once_are_exact():
    """Several points of one series in one request are added in their order."""
    totals = DeltaTotals(10)
    points = [(b"k", i, i + 1, 1.0) for i in range(5)]
    assert totals.add(b"t", points)[0] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_what_is_not_stored_comes_again_whole():
    """Until a request is stored, decoding it again gives the same samples, whatever came between;
    after that its points count as sent twice.
    """
    receive = protocol(Options(delta_series_max=100))
    first = Request.FromString(request(1, 5))
    first.MergeFrom(Request.FromString(request(2, 3)))

    def decode(body: bytes):
        return receive.decode(WriteRequest("/", PROTOBUF, body=body), BOUNDS)

    whole = decode(first.SerializeToString())
    assert whole.values.tolist() == [5.0, 8.0]
    assert decode(request(3, 1)).values.tolist() == [9.0]
    again = decode(first.SerializeToString())
    assert (again.values.tolist(), again.refused) == ([5.0, 8.0], {})
    assert again.metadata == whole.metadata != ()
    again.committed()
    stored = decode(first.SerializeToString())
    assert (stored.values.tolist(), stored.refused) == ([], {"delta_out_of_order": 2})
    assert stored.metadata == ()


def test_what_waits_to_be_stored_has_a_bound():
    """The oldest requests are forgotten when they have more points than series may have totals."""
    totals = DeltaTotals(3)
    first = [(b"k", 0, 1, 1.0), (b"k", 1, 2, 1.0)]
    assert totals.add(b"t", first)[0] == totals.add(b"t", first)[0] == [1.0, 2.0]
    totals.add(b"t", [(b"k", 2, 3, 1.0), (b"k", 3, 4, 1.0)])
    assert totals.add(b"t", first)[0] == [None, None]


@given(st.lists(st.integers(0, 12), min_size=2, max_size=5))
def test_no_tenant_takes_the_room_of_others(sizes):
    """However many series others send, a tenant keeps its totals up to a fair share of the room."""
    room = 12
    totals, share = DeltaTotals(room), room // len(sizes)

    def send(tenant: int, series: int, end: int):
        points = [(str(i).encode(), end - 1, end, 1.0) for i in range(series)]
        return totals.add(bytes([tenant]), points)[0]

    for tenant, size in enumerate(sizes):
        send(tenant, min(size, share), 1)
    send(len(sizes) - 1, 100, 2)
    for tenant, size in enumerate(sizes[:-1]):
        own = min(size, share)
        assert send(tenant, own, 3) == [2.0] * own
    assert sum(one.size for one in totals._tenants.values()) <= room
