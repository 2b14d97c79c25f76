"""Native histograms of Prometheus's test language: `{{schema:0 sum:4 count:4 buckets:[1 2 1]}}`.

Keys: schema sum count z_bucket z_bucket_w buckets offset n_buckets n_offset custom_values
counter_reset_hint. Source: Prometheus `promql/promqltest/README.md`, `parser.SeriesDescription`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from data_api.native_histogram import CUSTOM, KEY_OF_BUCKET_0, Hint, Histogram, Layout, aligned

HINTS = {
    "unknown": Hint.UNKNOWN,
    "reset": Hint.RESET,
    "not_reset": Hint.NOT_RESET,
    "gauge": Hint.GAUGE,
}
LISTS = frozenset({"buckets", "n_buckets", "custom_values"})
KEYS = LISTS | {
    "schema",
    "sum",
    "count",
    "z_bucket",
    "z_bucket_w",
    "offset",
    "n_offset",
    "counter_reset_hint",
}
TOLERANCE = 1e-6
_ITEM = re.compile(r"\{\{(?P<one>.*?)\}\}(?:(?P<sign>[+-])\{\{(?P<delta>.*?)\}\})?(?:x(?P<n>\d+))?")
_FIELD = re.compile(r"(\w+):(?:\[([^\]]*)\]|(\S+))")


@dataclass(frozen=True)
class Literal:
    """A histogram as a script writes it, and whether it says a hint."""

    histogram: Histogram
    says_hint: bool


def literals(text: str) -> list[Literal]:
    """`{{a}}+{{b}}x2` is a, a + b, a + 2 b."""
    item = _ITEM.fullmatch(text)
    if item is None:
        raise ValueError(f"no histogram: {text!r}")
    values = [_literal(item["one"])]
    step = _literal(item["delta"]).histogram if item["delta"] is not None else None
    for _ in range(int(item["n"] or 0)):
        last = values[-1]
        if step is None:
            values.append(last)
            continue
        rows = aligned([last.histogram, step])
        growth = rows.rows[1] if item["sign"] == "+" else -rows.rows[1]
        grown = rows.histogram(rows.rows[0] + growth, last.histogram.hint)
        values.append(Literal(grown, last.says_hint))
    return values


def _literal(text: str) -> Literal:
    fields: dict[str, str] = {}
    for name, items, value in _FIELD.findall(text):
        fields[name] = items or value
    hint = HINTS.get(fields.get("counter_reset_hint", "unknown"))
    if fields.keys() - KEYS or _FIELD.sub("", text).strip() or hint is None:
        raise ValueError(f"no histogram: {text!r}")

    def numbers(name: str) -> list[float]:
        return [float(word) for word in fields.get(name, "").split()]

    layout = Layout(
        int(fields.get("schema", 0)),
        float(fields.get("z_bucket_w", 0)),
        tuple(numbers("custom_values")),
    )
    positive, negative = numbers("buckets"), numbers("n_buckets")
    keys = np.arange(len(positive)) + int(fields.get("offset", 0)) + KEY_OF_BUCKET_0
    counts = positive
    if layout.schema != CUSTOM:
        below = np.arange(len(negative)) + int(fields.get("n_offset", 0)) + KEY_OF_BUCKET_0
        keys = np.concatenate((-below[::-1], [0], keys))
        counts = [*reversed(negative), float(fields.get("z_bucket", 0)), *positive]
    head = [float(fields.get("count", 0)), float(fields.get("sum", 0))]
    histogram = Histogram(layout, keys.astype(np.int64), np.array([*head, *counts]), hint)
    return Literal(histogram, "counter_reset_hint" in fields)


def of_classic(
    buckets: Mapping[float, float], total: float | None, count: float | None
) -> Histogram:
    """The histogram with custom bounds of one time's cumulative `le` buckets."""
    bounds = sorted(bound for bound in buckets if not math.isinf(bound))
    running = [buckets[bound] for bound in bounds]
    whole = buckets.get(math.inf, running[-1] if running else 0.0) if count is None else count
    counts = np.diff([0.0, *running, whole])
    keys = np.arange(counts.size, dtype=np.int64) + KEY_OF_BUCKET_0
    numbers = np.array([whole, 0.0 if total is None else total, *counts])
    return Histogram(Layout(CUSTOM, 0.0, tuple(bounds)), keys, numbers)


def with_hints(samples: Mapping[int, float | Histogram]) -> dict[int, float | Histogram]:
    """Hints as Prometheus's store gives them back: not reset inside a chunk, and a chunk ends where
    something changes. Source: `tsdb/chunkenc/float_histogram.go`.
    """
    hinted: dict[int, float | Histogram] = {}
    before: float | Histogram | None = None
    for at in sorted(samples):
        sample = samples[at]
        hinted[at] = sample
        if isinstance(sample, Histogram) and sample.hint is not Hint.GAUGE:
            follows = (
                isinstance(before, Histogram)
                and before.hint is not Hint.GAUGE
                and before.layout == sample.layout
                and not sample.fell_from(before)
            )
            hinted[at] = replace(sample, hint=Hint.NOT_RESET if follows else Hint.UNKNOWN)
        before = sample
    return hinted


def near(a: float, b: float) -> bool:
    """Whether two values agree, as upstream's `almost.Equal` decides it."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return True
    both = abs(a) + abs(b)
    return both < math.inf and abs(a - b) / both < TOLERANCE


def same(wanted: Literal, got: Histogram) -> bool:
    """Whether they agree, as upstream's `compareNativeHistogram` decides it."""
    one = wanted.histogram
    (keys, counts), (other_keys, other_counts) = one.filled(), got.filled()
    numbers = np.concatenate((one.numbers[:2], counts)).tolist()
    return (
        one.layout == got.layout
        and np.array_equal(keys, other_keys)
        and all(map(near, numbers, [got.count, got.sum, *other_counts.tolist()]))
        and (not wanted.says_hint or one.hint is got.hint)
    )
