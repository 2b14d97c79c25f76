"""The samples of a script in memory, answering selector spans the way the store does."""

import numpy as np

from data_api.model import HISTOGRAM_BITS, METRIC_NAME, Columns, SelectorSpan
from data_api.native_histogram import Histogram
from data_api.promqltest.literals import Literal, of_classic, with_hints
from data_api.promqltest.script import Series, duration_ms, parse_labels, parse_values


class MemoryStore:
    """Samples of a script, answering selector spans the way a store does."""

    def __init__(self) -> None:
        self.samples: dict[tuple[tuple[str, str], ...], dict[int, float | Histogram]] = {}
        self.touched_native = False

    def add(self, series: Series, step_ms: int, start_ms: int = 0) -> None:
        """Samples from `start_ms` on; a later load replaces."""
        stored = self.samples.setdefault(tuple(series.labels.items()), {})
        for index, value in enumerate(series.values):
            if value is not None:
                stored[start_ms + index * step_ms] = (
                    value.histogram if isinstance(value, Literal) else value
                )

    def load(self, span: SelectorSpan) -> Columns:
        """What the span asks for; whether a native histogram was there is remembered."""
        tests = [(m.name, m.predicate()) for m in span.matchers]
        labels: list[dict[str, str]] = []
        offsets: list[int] = [0]
        times: list[int] = []
        bits: list[np.int64] = []
        histograms: list[Histogram] = []
        for pairs, written in self.samples.items():
            samples = written
            of_series = dict(pairs)
            if not all(test(of_series.get(name, "")) for name, test in tests):
                continue
            if any(isinstance(sample, Histogram) for sample in samples.values()):
                self.touched_native = True
                samples = with_hints(samples)
            chosen = [t for t in sorted(samples) if span.start_ms < t <= span.end_ms]
            if not chosen:
                continue
            labels.append(of_series)
            times.extend(chosen)
            offsets.append(len(times))
            for t in chosen:
                value = samples[t]
                if isinstance(value, Histogram):
                    bits.append(np.int64(HISTOGRAM_BITS | len(histograms)))
                    histograms.append(value)
                else:
                    bits.append(np.float64(value).view(np.int64))
        return Columns(
            labels,
            np.array(offsets, np.int64),
            np.array(times, np.int64),
            np.array(bits, np.int64).view(np.float64),
            histograms,
        )


def load_block(store: MemoryStore, block: list[str]) -> None:
    """The samples of a `load` block are added; with `load_with_nhcb` the histograms of classic
    series too.
    """
    command, step = block[0].split()
    classic: dict[tuple[tuple[str, str], ...], dict[str, list[float | Literal | None]]] = {}
    for item in block[1:]:
        if "@st" in item:
            continue  # start timestamps: experimental
        labels, rest = parse_labels(item)
        series = Series(labels, parse_values(rest))
        store.add(series, duration_ms(step))
        name, _, part = labels.get(METRIC_NAME, "").rpartition("_")
        if command == "load_with_nhcb" and part in {"bucket", "sum", "count"}:
            base = {k: v for k, v in labels.items() if k != "le"} | {METRIC_NAME: name}
            parts = classic.setdefault(tuple(base.items()), {})
            parts[labels["le"] if part == "bucket" else part] = series.values
    for pairs, parts in classic.items():
        store.add(Series(dict(pairs), _from_classic(parts)), duration_ms(step))


def _from_classic(parts: dict[str, list[float | Literal | None]]) -> list[float | Literal | None]:
    """The histograms of classic series, by `le`, "sum" and "count"."""
    floats = {
        part: [value if isinstance(value, float) else None for value in values]
        for part, values in parts.items()
    }
    counts, sums = floats.pop("count", None), floats.pop("sum", None)
    histograms: list[float | Literal | None] = []
    for i in range(max(map(len, floats.values()))):
        buckets = {
            float(le): value for le, values in floats.items() if (value := values[i]) is not None
        }
        if len(buckets) < len(floats):
            histograms.append(None)
            continue
        total = sums[i] if sums else None
        count = counts[i] if counts else None
        histograms.append(Literal(of_classic(buckets, total, count), says_hint=False))
    return histograms
