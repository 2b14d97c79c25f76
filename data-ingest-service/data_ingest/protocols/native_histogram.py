"""A native histogram as senders write it becomes the message that is stored, or is refused.

    Prometheus Histogram (1.0, 2.0)      ─┐
    OTLP ExponentialHistogramDataPoint   ─┴─ checked ─ without its time ─ bytes

Source: docs/formats/histogram.md; Prometheus `model/histogram` (`Validate`), and
`otlptranslator/prometheusremotewrite/histograms.go`.
"""

import math
import struct
from itertools import accumulate
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from data_ingest.model import STALE_MARKER_BITS
from data_ingest.protocols import messages

BYTES_MAX: Final = 16_384
"""Of a stored histogram. Prometheus' client libraries keep to 160 buckets."""
BUCKETS_MAX: Final = 160
"""Of each side of a total of deltas. At scale -4 all of float64 has fewer."""
_COUNT_MAX: Final = (1 << 63) - 1
_MESSAGE_BYTES_MAX: Final = 4 * BYTES_MAX
CUSTOM_SCHEMA: Final = -53
SCHEMA_MIN, SCHEMA_MAX = -4, 8
_HINT_MAX: Final = 3
_INDEX_MAX: Final = (1 << 31) - 1
_ZERO_THRESHOLD: Final = 1e-128
"""Where OTLP does not say. Source: Prometheus `defaultZeroThreshold`."""
_NS_PER_MS: Final = 1_000_000
_INT_FIELDS: Final = ("count_int", "zero_count_int", "positive_deltas", "negative_deltas")
_FLOAT_FIELDS: Final = ("count_float", "zero_count_float", "positive_counts", "negative_counts")
_NOT_CUSTOM: Final = (
    *("zero_threshold", "zero_count_int", "zero_count_float"),
    *("negative_spans", "negative_deltas", "negative_counts"),
)


class InvalidHistogram(ValueError):
    """Why it is not stored."""


def from_prometheus(message: bytes) -> tuple[int, bytes]:
    """Time in ms and the stored message, empty where the histogram is a stale marker.

    Raises `InvalidHistogram`.
    """
    histogram = _parsed(messages.Histogram, message)
    timestamp_ms = int(histogram.timestamp)
    if struct.unpack("<Q", struct.pack("<d", histogram.sum))[0] == STALE_MARKER_BITS:
        return timestamp_ms, b""
    histogram.ClearField("timestamp")
    histogram.DiscardUnknownFields()
    return timestamp_ms, _stored(histogram)


def exponential_point(message: bytes) -> Any:
    """The data point of an exponential histogram. Raises `InvalidHistogram`."""
    return _parsed(messages.OTLP["ExponentialPoint"], message)


def added(total: Any, delta: Any) -> Any:
    """The data point of all observations of both; `InvalidHistogram` where there is none.

    total: None for none so far, as also where its zero threshold is another one. The scale is the
    lower one, or as much lower as the buckets of each side, at most BUCKETS_MAX, need.
    Source: OpenTelemetry specification, metrics/data-model.md, "Exponential histograms".
    """
    point = messages.OTLP["ExponentialPoint"]
    if total is None or total.zeroThreshold != delta.zeroThreshold:
        total = point(scale=delta.scale, startTimeUnixNano=delta.startTimeUnixNano)
    scale = min(total.scale, delta.scale)
    while not all(sides := [_both(side, total, delta, scale) for side in ("positive", "negative")]):
        scale -= 1
    if (count := total.count + delta.count) > _COUNT_MAX:
        raise InvalidHistogram(f"the total count {count} is over {_COUNT_MAX}")
    return point(
        startTimeUnixNano=total.startTimeUnixNano,
        count=count,
        sum=total.sum + delta.sum,
        scale=scale,
        zeroCount=total.zeroCount + delta.zeroCount,
        zeroThreshold=delta.zeroThreshold,
        positive=sides[0],
        negative=sides[1],
    )


def _both(side: str, total: Any, delta: Any, scale: int) -> dict[str, Any] | None:
    """The buckets of one side of two points; None where they are too many at this scale."""
    if scale < SCHEMA_MIN:
        raise InvalidHistogram(f"over {BUCKETS_MAX} buckets at scale {SCHEMA_MIN}")
    parts = [_merged(getattr(one, side), one.scale - scale) for one in (total, delta)]
    parts = [(counts, first) for counts, first in parts if counts]
    first = min((first for _, first in parts), default=1)
    size = max((begin + len(counts) for counts, begin in parts), default=first) - first
    if size > BUCKETS_MAX:
        return None
    sums = [0] * size
    for counts, begin in parts:
        for i, count in enumerate(counts, begin - first):
            sums[i] += count
    return {"offset": first - 1, "bucketCounts": sums}


def from_otlp(point: Any) -> bytes:
    """The stored message of an exponential histogram's data point. Raises `InvalidHistogram`.

    Scales over 8 are merged down to it. A missing sum is 0, as in Prometheus.
    """
    if point.scale < SCHEMA_MIN:
        raise InvalidHistogram(f"scale {point.scale} is below {SCHEMA_MIN}")
    histogram = messages.Histogram(
        count_int=point.count,
        sum=point.sum,
        schema=min(point.scale, SCHEMA_MAX),
        zero_threshold=point.zeroThreshold or _ZERO_THRESHOLD,
        zero_count_int=point.zeroCount,
        start_timestamp=point.startTimeUnixNano // _NS_PER_MS or None,
    )
    for side in ("positive", "negative"):
        buckets = getattr(point, side)
        counts, first = _merged(buckets, max(0, point.scale - SCHEMA_MAX))
        if counts:
            getattr(histogram, f"{side}_spans").add(offset=first, length=len(counts))
            deltas = (after - before for before, after in zip([0, *counts], counts, strict=False))
            _extend(getattr(histogram, f"{side}_deltas"), deltas)
    return _stored(histogram)


def _parsed(kind: Any, message: bytes) -> Any:
    if len(message) > _MESSAGE_BYTES_MAX:
        raise InvalidHistogram(f"{len(message)} bytes; at most {_MESSAGE_BYTES_MAX} are read")
    try:
        return kind.FromString(message)
    except DecodeError as exc:
        raise InvalidHistogram("malformed protobuf") from exc


def _extend(field: Any, numbers: Any) -> None:
    try:
        field.extend(numbers)
    except ValueError as exc:
        raise InvalidHistogram(f"a count is too large: {exc}") from exc


def _merged(buckets: Any, halvings: int) -> tuple[list[int], int]:
    """Counts from the first to the last that is not 0, and the index of the first in Prometheus'
    numbering: its bucket i is (base^(i-1), base^i], OTLP's (base^i, base^(i+1)].
    """
    counts: list[int] = list(buckets.bucketCounts)
    filled = [i for i, count in enumerate(counts) if count]
    if not filled:
        return [], 0
    first = (buckets.offset + filled[0]) >> halvings
    merged = [0] * (((buckets.offset + filled[-1]) >> halvings) - first + 1)
    for i in filled:
        merged[((buckets.offset + i) >> halvings) - first] += counts[i]
    if not -_INDEX_MAX <= first + 1 <= _INDEX_MAX:
        raise InvalidHistogram(f"bucket {first + 1} is out of range")
    return merged, first + 1


def _stored(histogram: Any) -> bytes:
    """The bytes of a histogram that holds to docs/formats/histogram.md; else InvalidHistogram."""
    if not 0 <= histogram.reset_hint <= _HINT_MAX:
        raise InvalidHistogram(f"reset hint {histogram.reset_hint} is not known")
    if histogram.schema == CUSTOM_SCHEMA:
        _check_custom(histogram)
    elif not SCHEMA_MIN <= histogram.schema <= SCHEMA_MAX:
        raise InvalidHistogram(f"schema {histogram.schema} is not -4 … 8 or {CUSTOM_SCHEMA}")
    elif histogram.custom_values:
        raise InvalidHistogram("custom bounds in an exponential histogram")
    if not 0 <= histogram.zero_threshold < math.inf:
        raise InvalidHistogram(f"zero threshold {histogram.zero_threshold}")
    counts = _counts(histogram)
    for side, listed in zip(("positive", "negative"), counts, strict=True):
        _check_spans(getattr(histogram, f"{side}_spans"), len(listed), side, histogram)
    stored: bytes = histogram.SerializeToString()
    if len(stored) > BYTES_MAX:
        raise InvalidHistogram(f"{len(stored)} bytes; at most {BYTES_MAX} are stored")
    return stored


def _counts(histogram: Any) -> tuple[list[float], list[float]]:
    """The count of each bucket of both sides; all counts are checked, of one kind only."""
    is_float = histogram.HasField("count_float")
    kind, lists = ("float", "counts") if is_float else ("int", "deltas")
    for name in _INT_FIELDS if is_float else _FLOAT_FIELDS:
        histogram.ClearField(name)
    if not histogram.HasField(f"count_{kind}"):
        raise InvalidHistogram("it has no count")
    positive = list(getattr(histogram, f"positive_{lists}"))
    negative = list(getattr(histogram, f"negative_{lists}"))
    if not is_float:
        positive, negative = list(accumulate(positive)), list(accumulate(negative))
    count = getattr(histogram, f"count_{kind}")
    zero_count = getattr(histogram, f"zero_count_{kind}")
    if is_float and not all(
        0 <= one < math.inf for one in (count, zero_count, *positive, *negative)
    ):
        raise InvalidHistogram("a count is negative or not finite")
    if (least := min(positive + negative, default=0)) < 0:
        raise InvalidHistogram(f"a count is {least}")
    total = zero_count + sum(positive) + sum(negative)
    if not is_float and (total > count or (total < count and not math.isnan(histogram.sum))):
        raise InvalidHistogram(f"the buckets add up to {total}, the count is {count}")
    return positive, negative


def _check_spans(spans: Any, buckets: int, side: str, histogram: Any) -> None:
    lowest, highest = -_INDEX_MAX - 1, _INDEX_MAX
    if histogram.schema == CUSTOM_SCHEMA:
        lowest, highest = 0, len(histogram.custom_values)
    end, total = 0, 0
    for i, span in enumerate(spans):
        if i and span.offset < 0:
            raise InvalidHistogram(f"{side} span {i} has offset {span.offset}")
        start, end = end + span.offset, end + span.offset + span.length
        total += span.length
        if start < lowest or end - 1 > highest:
            raise InvalidHistogram(f"{side} span {i} leaves the buckets {lowest} … {highest}")
    if total != buckets:
        raise InvalidHistogram(f"{side} spans have {total} buckets, there are {buckets}")


def _check_custom(histogram: Any) -> None:
    if any(getattr(histogram, name) for name in _NOT_CUSTOM):
        raise InvalidHistogram("custom bounds with a zero bucket or a negative side")
    bounds = np.array([-math.inf, *histogram.custom_values, math.inf])
    if not (bounds[1:] > bounds[:-1]).all():
        raise InvalidHistogram("custom bounds do not ascend, or are not finite")
