"""Laws of reading native histograms: a valid one is stored as it is, others are refused by name."""

import contextlib
import math
import struct
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1 import metrics_pb2

from data_ingest.model import STALE_MARKER_BITS
from data_ingest.protocols.native_histogram import (
    InvalidHistogram,
    exponential_point,
    from_otlp,
    from_prometheus,
)
from tests import wire
from tests.native_histograms import (
    AT_MS,
    CUSTOM,
    EXAMPLE,
    FLOATS,
    histogram,
    meaning,
    stored_form,
    valid_histograms,
)

STALE = struct.unpack("<d", struct.pack("<Q", STALE_MARKER_BITS))[0]
SPANS = [{"offset": 0, "length": 2}]


@given(valid_histograms())
def test_a_valid_histogram_is_stored_without_its_time(sent):
    """The stored message is what came, without its timestamp and without unknown fields."""
    message = sent.SerializeToString() + b"\xfa\x07\x03abc"
    at_ms, stored = from_prometheus(message)
    assert at_ms == sent.timestamp
    assert stored == stored_form(sent)


def test_a_histogram_that_ends_its_series_is_a_stale_marker():
    """A sum with the bits of the stale marker says nothing else, whatever the buckets are."""
    for fields in ({}, {"count_int": 99}):
        assert from_prometheus(histogram(sum=STALE, **fields).SerializeToString()) == (AT_MS, b"")


def test_without_a_sum_the_count_may_be_larger():
    """NaN was observed: such observations are in no bucket."""
    sent = histogram(sum=math.nan, count_int=10)
    assert from_prometheus(sent.SerializeToString()) == (AT_MS, stored_form(sent))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schema": 9}, "schema 9"),
        ({"schema": -5}, "schema -5"),
        ({"reset_hint": 4}, "reset hint"),
        ({"count_int": 10}, "add up to 9, the count is 10"),
        ({"count_int": 8, "sum": math.nan}, "add up to 9, the count is 8"),
        ({"positive_deltas": [1, 1]}, "positive spans have 3 buckets, there are 2|add up"),
        ({"positive_deltas": [1, -2, 6]}, "a count is -1"),
        ({"positive_spans": [*SPANS, {"offset": -1, "length": 1}]}, "span 1 has offset -1"),
        ({"positive_spans": [{"offset": 2**31 - 2, "length": 3}]}, "leaves the buckets"),
        ({"negative_spans": []}, "negative spans have 0 buckets"),
        ({"zero_threshold": -1.0}, "zero threshold"),
        ({"zero_threshold": math.nan}, "zero threshold"),
        ({"custom_values": [1.0]}, "custom bounds"),
        ({**FLOATS, "positive_counts": [-0.5, 2.5]}, "negative or not finite"),
        ({**FLOATS, "positive_counts": [math.nan, 2.5]}, "negative or not finite"),
        ({**CUSTOM, "positive_spans": [{"offset": 2, "length": 2}]}, "leaves the buckets 0 … 2"),
        ({**CUSTOM, "custom_values": [10.0, 0.5]}, "do not ascend"),
        ({**CUSTOM, "custom_values": [0.5, math.inf]}, "do not ascend"),
        ({**CUSTOM, "custom_values": [0.5, math.nan]}, "do not ascend"),
        ({**CUSTOM, "zero_count_int": 1, "count_int": 4}, "a zero bucket"),
        ({**CUSTOM, "negative_deltas": [0]}, "a negative side"),
    ],
)
def test_an_invalid_histogram_is_refused_by_name(fields, reason):
    """What no reader could make sense of is not stored."""
    base = EXAMPLE if "count_float" not in fields and fields.get("schema") != -53 else {}
    with pytest.raises(InvalidHistogram, match=reason):
        from_prometheus(wire.Histogram(**{**base, **fields}).SerializeToString())


def test_counts_are_of_one_kind():
    """What belongs to the other kind is left out, as Prometheus reads past it."""
    sent = histogram(positive_counts=[1.0], negative_counts=[2.0])
    assert from_prometheus(sent.SerializeToString()) == (AT_MS, stored_form(histogram()))
    sent = wire.Histogram(**FLOATS, positive_deltas=[7])
    stored = stored_form(wire.Histogram(**FLOATS))
    assert from_prometheus(sent.SerializeToString()) == (AT_MS, stored)


def test_a_histogram_has_a_bound():
    """More than 16,384 bytes are refused, and no more than four times that is read at all."""
    for buckets, reason in ((17_000, "are stored"), (70_000, "are read")):
        spans = [{"offset": 0, "length": buckets}]
        sent = wire.Histogram(count_int=0, positive_spans=spans, positive_deltas=[0] * buckets)
        with pytest.raises(InvalidHistogram, match=reason):
            from_prometheus(sent.SerializeToString())


def test_a_histogram_without_a_count_or_cut_short_is_refused():
    """An empty message has no count; half of one is no message."""
    for message in (b"", histogram().SerializeToString()[:-3]):
        with pytest.raises(InvalidHistogram):
            from_prometheus(message)


def otlp_point(**fields: Any) -> Any:
    return metrics_pb2.ExponentialHistogramDataPoint(**fields)


counts = st.lists(st.integers(0, 2**30), max_size=12)


@given(st.integers(-4, 20), st.integers(-50, 50), counts, st.integers(-50, 50), counts)
def test_an_exponential_histogram_is_the_native_one(scale, first, positive, other, negative):
    """OTLP's bucket i is Prometheus' i + 1; scales over 8 are merged down; nothing is lost."""
    total = sum(positive) + sum(negative) + 3
    point = otlp_point(
        count=total,
        sum=2.5,
        scale=scale,
        zero_count=3,
        start_time_unix_nano=AT_MS * 1_000_000,
        time_unix_nano=1,
    )
    point.positive.offset, point.negative.offset = first, other
    point.positive.bucket_counts.extend(positive)
    point.negative.bucket_counts.extend(negative)
    width = 2 ** max(0, scale - 8)
    sides = []
    for offset, listed in ((first, positive), (other, negative)):
        merged: Counter[int] = Counter()
        for i, count in enumerate(listed):
            merged[(offset + i) // width + 1] += count
        sides.append({i: count for i, count in merged.items() if count})
    assert meaning(read_otlp(point.SerializeToString())) == {
        "count": total, "sum": 2.5, "schema": min(scale, 8), "zero": 3, "zero_threshold": 1e-128,
        "start": AT_MS, "positive": sides[0], "negative": sides[1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"scale": -5}, "scale -5 is below -4"),
        ({"count": 1}, "add up to 0, the count is 1"),
        ({"positive": {"offset": 2**31 - 1, "bucket_counts": [1]}, "count": 1}, "out of range"),
        ({"positive": {"bucket_counts": [2**64 - 1]}, "count": 2**64 - 1}, "too large"),
        ({"zero_threshold": math.nan}, "zero threshold"),
    ],
)
def test_an_exponential_histogram_that_is_none_is_refused(fields, reason):
    """Scales below -4 cannot be merged up; the rest is as for every native histogram."""
    with pytest.raises(InvalidHistogram, match=reason):
        read_otlp(otlp_point(**fields).SerializeToString())


def read_otlp(message: bytes) -> bytes:
    return from_otlp(exponential_point(message))


@given(st.binary(max_size=200), st.data())
def test_any_bytes_are_a_histogram_or_refused(noise, data):
    """No message, whole or damaged, does anything but become a histogram or be refused."""
    damaged = bytearray(histogram().SerializeToString())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for message in (noise, bytes(damaged)):
        for read in (from_prometheus, read_otlp):
            with contextlib.suppress(InvalidHistogram):
                read(message)
