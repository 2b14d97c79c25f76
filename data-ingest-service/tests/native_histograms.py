"""Native histograms: valid ones as senders write them, and what stored bytes mean, the slow way."""

from itertools import accumulate
from typing import Any

from hypothesis import strategies as st

from tests import wire

AT_MS = 1_795_000_000_000
EXAMPLE = {
    "count_int": 9,
    "sum": 3.5,
    "schema": 3,
    "zero_threshold": 1e-9,
    "zero_count_int": 2,
    "positive_spans": [{"offset": -2, "length": 2}, {"offset": 3, "length": 1}],
    "positive_deltas": [1, 1, 0],
    "negative_spans": [{"offset": 0, "length": 1}],
    "negative_deltas": [2],
    "reset_hint": 2,
    "timestamp": AT_MS,
    "start_timestamp": AT_MS - 60_000,
}
FLOATS = {
    "count_float": 4.5,
    "sum": 1.0,
    "zero_count_float": 0.5,
    "positive_spans": [{"offset": 7, "length": 2}],
    "positive_counts": [1.5, 2.5],
    "reset_hint": 3,
    "timestamp": AT_MS,
}
CUSTOM = {
    "count_int": 3,
    "sum": 12.0,
    "schema": -53,
    "positive_spans": [{"offset": 1, "length": 2}],
    "positive_deltas": [1, 1],
    "custom_values": [0.5, 10.0],
    "timestamp": AT_MS,
}


def histogram(**fields: Any) -> Any:
    """The example, but for these fields."""
    return wire.Histogram(**{**EXAMPLE, **fields})


def stored_form(sent: Any) -> bytes:
    """What is to be stored of a valid histogram."""
    stored = wire.Histogram.FromString(sent.SerializeToString())
    stored.ClearField("timestamp")
    return bytes(stored.SerializeToString(deterministic=True))


def meaning(stored: bytes) -> dict[str, Any]:
    """Count, sum and what else a reader needs; buckets by their index, those with 0 left out."""
    one = wire.Histogram.FromString(stored)
    is_float = one.WhichOneof("count") == "count_float"
    sides = {}
    for side in ("positive", "negative"):
        deltas, counts = getattr(one, f"{side}_deltas"), getattr(one, f"{side}_counts")
        indices: list[int] = []
        at = 0
        for span in getattr(one, f"{side}_spans"):
            at += span.offset
            indices += range(at, at + span.length)
            at += span.length
        absolute = list(counts) if is_float else list(accumulate(deltas))
        sides[side] = {i: count for i, count in zip(indices, absolute, strict=True) if count}
    return {
        "count": one.count_float if is_float else one.count_int,
        "sum": one.sum,
        "schema": one.schema,
        "zero": one.zero_count_float if is_float else one.zero_count_int,
        "zero_threshold": one.zero_threshold,
        "start": one.start_timestamp,
        **sides,
    }


@st.composite
def valid_histograms(draw: st.DrawFn) -> Any:
    """Of both kinds, with spans of any shape; the time is in `timestamp`."""
    is_float, is_custom = draw(st.booleans()), draw(st.booleans())
    made = wire.Histogram(
        sum=draw(st.floats(allow_nan=False)),
        schema=-53 if is_custom else draw(st.integers(-4, 8)),
        reset_hint=draw(st.integers(0, 3)),
        timestamp=draw(st.integers(-(2**63), 2**63 - 1)),
        start_timestamp=draw(st.integers(0, 2**40)),
    )
    counts: list[float] = []
    number = st.floats(0, 1e9) if is_float else st.integers(0, 2**40)
    highest = 0
    for side in ("positive",) if is_custom else ("positive", "negative"):
        buckets: list[Any] = []
        for i in range(draw(st.integers(0, 3))):
            lowest = -(10**6) if i == 0 and not is_custom else 0
            offset, length = draw(st.integers(lowest, 20)), draw(st.integers(0, 4))
            getattr(made, f"{side}_spans").add(offset=offset, length=length)
            highest += offset + length
            buckets += draw(st.lists(number, min_size=length, max_size=length))
        if is_float:
            getattr(made, f"{side}_counts").extend(buckets)
        else:
            deltas = [b - a for a, b in zip([0, *buckets], buckets, strict=False)]
            getattr(made, f"{side}_deltas").extend(deltas)
        counts += buckets
    if is_custom:
        made.custom_values.extend(float(i) for i in range(highest))
    else:
        made.zero_threshold = draw(st.floats(0, 1))
        zero = draw(number)
        counts.append(zero)
        setattr(made, f"zero_count_{'float' if is_float else 'int'}", zero)
    setattr(made, f"count_{'float' if is_float else 'int'}", sum(counts))
    return made
