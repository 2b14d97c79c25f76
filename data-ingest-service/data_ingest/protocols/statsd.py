"""StatsD's lines, with DogStatsD's tags and packed values; they are added up in `statsd_totals`.

    page.views:1|c|@0.1|#zone:eu,beta  ─▶  counter page_views_total{zone="eu", beta="true"} + 10
    api.latency:320:280|ms             ─▶  histogram api_latency_seconds, 0.32 and 0.28

Source: github.com/statsd/statsd, docs/metric_types.md; Datadog, "DogStatsD datagram format".
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from data_ingest.protocols.names import joined, metric_name

Labels = tuple[tuple[bytes, bytes], ...]
"""Of one metric: `__name__`, then the others in the order of their names."""

TAGS_MAX: Final = 100

COUNTER, GAUGE, HISTOGRAM, SET = "counter", "gauge", "histogram", "set"
_TYPES: Final = {
    b"c": (COUNTER, b"_total", 1.0),
    b"g": (GAUGE, b"", 1.0),
    b"ms": (HISTOGRAM, b"_seconds", 0.001),
    b"h": (HISTOGRAM, b"", 1.0),
    b"d": (HISTOGRAM, b"", 1.0),
    b"s": (SET, b"", 1.0),
}
"""By the letters of a line: what it is, what its name ends with, and the factor of its values."""


class Update(NamedTuple):
    """One line. values: numbers, of a set the hashes of its members.

    weight: how many observations each stands for, by the sampling rate. is_change: the gauge moves
    by the values.
    """

    type: str
    labels: Labels
    values: Sequence[float]
    weight: float = 1.0
    is_change: bool = False


def decode(line: bytes) -> Update:
    """What a line says; ValueError says why it cannot be taken."""
    # What no label can hold is refused here, once: kept, it would be refused at each flush.
    if b"\0" in line:
        raise ValueError("a NUL byte")
    line.decode()
    head, letters, *sections = *line.strip().split(b"|"), b""
    name, _, text = head.partition(b":")
    if letters not in _TYPES or not (name and text):
        raise ValueError("it is not name:value|type of the types c, g, ms, h, d, s")
    rate, tags = 1.0, b""
    for section in sections:
        if section.startswith(b"@"):
            rate = _number(section[1:])
        elif section.startswith(b"#"):
            tags = section[1:]
        elif section.startswith(b"T"):
            raise ValueError("a value with a time of its own cannot be added up")
    if not 0 < rate <= 1:
        raise ValueError("a sampling rate is over 0 and at most 1")
    kind, ending, factor = _TYPES[letters]
    labels = _labels(name, ending, tags)
    texts = text.split(b":")
    if kind == SET:
        return Update(kind, labels, [hash(one) for one in texts])
    values = [_number(one) * factor for one in texts]
    if kind == COUNTER and min(values) < 0:
        raise ValueError("a counter only grows")
    return Update(kind, labels, values, 1.0 / rate, is_change=text[:1] in b"+-")


def _number(text: bytes) -> float:
    value = float(text)
    if b"_" in text or not math.isfinite(value):
        raise ValueError("a number is not one, or not finite")
    return value


def _labels(name: bytes, ending: bytes, tags: bytes) -> Labels:
    pairs = [
        (key, value or b"true")
        for key, _, value in (t.partition(b":") for t in tags.split(b","))
        if key
    ]
    labels = joined(pairs)
    if b"__name__" in labels or len(pairs) > TAGS_MAX:
        raise ValueError(f"a tag is called __name__, or there are over {TAGS_MAX}")
    whole = metric_name(name).removesuffix(ending) + ending
    return ((b"__name__", whole), *sorted(labels.items()))
