"""A native histogram as Prometheus renders it; pure.

    {"count":"3","sum":"4","buckets":[[0,"0.5","1","1"],[0,"1","2","2"]]}

A bucket: which of its bounds belong to it (0 the upper, 1 the lower, 2 none, 3 both), lower bound,
upper bound, count; empty ones are left out. Source: Prometheus `util/jsonutil.MarshalHistogram`.
"""

from collections.abc import Sequence

from data_api import histogram_codec
from data_api.model import F64, INDEX_MASK, Bools, is_histogram
from data_api.native_histogram import Histogram
from data_api.promql.native_histogram_functions import filled_buckets, text
from data_api.promql.numerals import format_value


def natives(values: F64, histograms: Sequence[Histogram | bytes]) -> Bools | None:
    """Which of `values` are histograms; None when none is."""
    if not histograms:
        return None
    mask = is_histogram(values)
    return mask if mask.any() else None


def named(value: F64, histograms: Sequence[Histogram | bytes]) -> Histogram:
    """The histogram that one value (1,) names. Raises CorruptData."""
    histogram = histograms[int(value.view("i8")[0]) & INDEX_MASK]
    return histogram_codec.decode(histogram) if isinstance(histogram, bytes) else histogram


def histogram_json(histogram: Histogram) -> bytes:
    """The object above."""
    buckets = [
        f'[{rule},"{format_value(low)}","{format_value(high)}","{format_value(count)}"]'
        for low, high, count, rule in filled_buckets(histogram)
    ]
    rest = f',"buckets":[{",".join(buckets)}]' if buckets else ""
    count, total = format_value(histogram.count), format_value(histogram.sum)
    return f'{{"count":"{count}","sum":"{total}"{rest}}}'.encode()


def histogram_csv(histogram: Histogram) -> bytes:
    """Its text in one line's field."""
    return f'"{text(histogram)}"'.encode()
