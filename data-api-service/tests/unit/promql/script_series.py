"""Series of Prometheus's test language, and a store of them in memory.

load 1m
up{job="a"} 1+0x5 _ stale 1                    # 6 samples, a gap, a stale marker, one more
latency {{schema:0 sum:4 count:4 buckets:[1 2 1]}}x3
"""

import re
import struct
from dataclasses import dataclass

import numpy as np
from script_histograms import Literal, literals, of_classic, with_hints

from data_api.model import HISTOGRAM_BITS, METRIC_NAME, STALE_BITS, Columns, SelectorSpan
from data_api.native_histogram import Histogram
from data_api.promql.lexer import Kind, tokens

STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]

_VALUE = re.compile(r"\{\{.*?\}\}(?:[+-]\{\{.*?\}\})?(?:x\d+)?|\S+")
_EXPANDED = re.compile(
    r"(?P<first>[+-]?(?:inf|nan|[0-9.]+(?:e[+-]?\d+)?))"
    r"(?P<delta>[+-](?:inf|nan|[0-9.]+(?:e[+-]?\d+)?))?x(?P<times>\d+)\Z",
    re.IGNORECASE,
)


@dataclass
class Series:
    """What a script says of one series: a value, None for a gap, or a histogram each."""

    labels: dict[str, str]
    values: list[float | Literal | None]


def duration_ms(text: str) -> int:
    """`1m30s`, or a plain number of seconds."""
    try:
        return round(float(text) * 1000)
    except ValueError:
        units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
        parts = re.findall(r"(\d+)(ms|[smhd])", text)
        return sum(int(n) * units[u] for n, u in parts) * (-1 if text.startswith("-") else 1)


def parse_labels(text: str) -> tuple[dict[str, str], str]:
    """The labels of a series line, and the rest of the line."""
    labels: dict[str, str] = {}
    end = 0
    if not text.startswith("{"):
        bare = re.match(r"[^\s{]+", text)
        assert bare is not None
        labels[METRIC_NAME] = bare.group()
        end = bare.end()
    if text[end : end + 1] == "{" and text[end : end + 2] != "{{":
        name: str | None = None
        closed = False
        for token in tokens(text[end:]):
            if token.text == "}" and token.kind is Kind.SYMBOL:
                end += token.end
                closed = True
                break
            if token.kind is Kind.IDENTIFIER or (token.kind is Kind.STRING and name is None):
                name = token.text
            elif token.kind is Kind.STRING:
                assert isinstance(name, str)
                labels[name] = token.text
                name = None
            elif token.text == "," and isinstance(name, str):
                labels[METRIC_NAME] = name
                name = None
        assert closed, text
        if isinstance(name, str):
            labels[METRIC_NAME] = name
    return {k: labels[k] for k in sorted(labels) if labels[k]}, text[end:].strip()


def number(text: str) -> float:
    """A number as scripts write it."""
    return float(int(text, 16)) if text.lower().startswith("0x") else float(text)


def parse_values(text: str) -> list[float | Literal | None]:
    """`1 2+1x3 _ _x2 stale` spelled out."""
    values: list[float | Literal | None] = []
    for item in _VALUE.findall(text):
        if item.startswith("{{"):
            values.extend(literals(item))
        elif item == "_":
            values.append(None)
        elif item.startswith("_x"):
            values.extend([None] * int(item[2:]))
        elif item == "stale":
            values.append(STALE)
        elif m := _EXPANDED.match(item):
            value, delta = float(m["first"]), float(m["delta"] or 0)
            for _ in range(int(m["times"]) + 1):
                values.append(value)
                value += delta
        else:
            values.append(number(item))
    return values


class MemoryStore:
    """Samples of a script, answering selector spans the way a store does."""

    def __init__(self) -> None:
        self.samples: dict[tuple[tuple[str, str], ...], dict[int, float | Histogram]] = {}
        self.touched_native = False

    def add(self, series: Series, step_ms: int) -> None:
        """Samples from time 0 on; a later load replaces."""
        stored = self.samples.setdefault(tuple(series.labels.items()), {})
        for index, value in enumerate(series.values):
            if value is not None:
                stored[index * step_ms] = value.histogram if isinstance(value, Literal) else value

    def load(self, span: SelectorSpan) -> Columns:
        """What the span asks for; whether a native histogram was there is remembered."""
        tests = [(m.name, m.predicate()) for m in span.matchers]
        labels: list[dict[str, str]] = []
        offsets: list[int] = [0]
        times: list[int] = []
        bits: list[int] = []
        histograms: list[Histogram] = []
        for pairs, written in self.samples.items():
            samples = written
            each = dict(pairs)
            if not all(test(each.get(name, "")) for name, test in tests):
                continue
            if any(isinstance(sample, Histogram) for sample in samples.values()):
                self.touched_native = True
                samples = with_hints(samples)
            chosen = [t for t in sorted(samples) if span.start_ms < t <= span.end_ms]
            if not chosen:
                continue
            labels.append(each)
            times.extend(chosen)
            offsets.append(len(times))
            for t in chosen:
                value = samples[t]
                if isinstance(value, Histogram):
                    bits.append(HISTOGRAM_BITS | len(histograms))
                    histograms.append(value)
                else:
                    bits.append(struct.unpack("<q", struct.pack("<d", value))[0])
        return Columns(
            labels,
            np.array(offsets, np.int64),
            np.array(times, np.int64),
            np.array(bits, np.int64).view(np.float64),
            histograms,
        )


def load_block(store: MemoryStore, block: list[str]) -> None:
    """Keep the samples of a `load` block; with nhcb also classic series as histograms."""
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
    counts = parts.pop("count", None)
    sums = parts.pop("sum", None)
    bounds = {float(le): values for le, values in parts.items()}
    return [
        Literal(
            of_classic(
                {bound: values[i] for bound, values in bounds.items()},
                None if sums is None else sums[i],
                None if counts is None else counts[i],
            ),
            says_hint=False,
        )
        for i in range(max(map(len, bounds.values())))
    ]
