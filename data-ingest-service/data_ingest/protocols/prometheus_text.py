"""Prometheus text 0.0.4 and OpenMetrics 1.0 expositions: what a scrape brings.

    body ── kernels.prometheus_text.walk ──▶ offsets, floats ──▶ Exposition
                                             hard floats: Python's float

Both formats go through one walker. OpenMetrics timestamps are seconds and its body ends with
`# EOF` (so a cut body is noticed); 0.0.4 timestamps are whole milliseconds. `le` and `quantile` are
written one way (`1` and `1.0` are one series), as Prometheus 3 does.
Source: Prometheus `model/textparse`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import numpy as np

from data_ingest.errors import BadBody
from data_ingest.kernels import prometheus_text as kernel
from data_ingest.model import F64, I64, METRIC_TYPES, NAN_BITS, U8, MetricMetadata, RawLabels
from data_ingest.protocols.exemplars import EXEMPLARS_MAX

TYPES: Final = frozenset({*METRIC_TYPES, "untyped"})
_FLOAT: Final = re.compile(
    rb"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?)|nan",
    re.IGNORECASE,
)
_INFINITY: Final = re.compile(rb"[+-]?inf(?:inity)?", re.IGNORECASE)
_SECONDS: Final = re.compile(rb"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,4})?")
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"\\": b"\\", b'"': b'"'}
_FAULTS: Final = {
    kernel.BAD_NAME: "not a metric name",
    kernel.BAD_LABEL_NAME: "not a label name",
    kernel.NO_EQUALS: "expected = after the label name",
    kernel.NO_QUOTE: "expected a quoted label value",
    kernel.OPEN_QUOTE: "the quote is not closed on its line",
    kernel.NO_SEPARATOR: "expected , or } after a label",
    kernel.NO_VALUE: "expected a value",
    kernel.BAD_TIMESTAMP: "expected a timestamp",
    kernel.TRAILING: "expected the end of the line",
    kernel.TWO_NAMES: "a second metric name",
    kernel.NO_METRIC_NAME: "the series has no metric name",
    kernel.AFTER_EOF: "text after # EOF",
    kernel.NO_EOF: "the body does not end with # EOF: it was cut",
    kernel.BAD_EXEMPLAR: "not an exemplar",
}
_QUOTED_BYTES: Final = 60
_MS_MAX: Final = 2**63 - 1


class BadExposition(BadBody):
    """The exposition cannot be read."""


@dataclass(frozen=True, slots=True)
class TextExemplar:
    """An exemplar of one sample of the body; timestamp_ms: None where it has none."""

    sample: int
    timestamp_ms: int | None
    value: float
    labels: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Exposition:
    """One decoded body; a sample's labels are made when `labels` is called.

    rows: (n, SAMPLE_COLUMNS) and label_rows: (l, LABEL_COLUMNS) int64, offsets into `body`.
    values: (n,) float64, every NaN NAN_BITS. exemplars: EXEMPLARS_MAX of exemplars_total.
    timestamps_ms: (n,) int64, meaningful where has_timestamp (n,) bool. types: of families.
    """

    body: bytes
    rows: I64
    label_rows: I64
    values: F64
    timestamps_ms: I64
    has_timestamp: np.ndarray[tuple[int], np.dtype[np.bool_]]
    metadata: tuple[MetricMetadata, ...]
    types: dict[bytes, str] = field(default_factory=dict)
    exemplars: tuple[TextExemplar, ...] = ()
    exemplars_total: int = 0

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def keys(self) -> Iterator[bytes]:
        """The text of each sample's series as in the body, `name{…}`; equal texts, equal labels."""
        for start, end in self.rows[:, : kernel.KEY_END + 1].tolist():
            yield self.body[start:end]

    def labels(self, sample: int) -> RawLabels:
        """Labels of one sample, `__name__` first, values unescaped, `le` and `quantile` normalised.

        Empty values are kept: with `honor_labels` they say that there is no such label. Raises
        BadExposition for a value that is not UTF-8 or a label given twice.
        """
        row = self.rows[sample].tolist()
        name = self._unescaped(
            row[kernel.NAME_START], row[kernel.NAME_END], bool(row[kernel.NAME_ESCAPED])
        )
        labels: RawLabels = [(b"__name__", name)]
        names = {b"__name__"}
        boundary = self._boundary_label(name)
        for start, end, value_start, value_end, escaped in self.label_rows[
            row[kernel.LABELS_START] : row[kernel.LABELS_END]
        ].tolist():
            label = self._unescaped(start, end, bool(escaped & 2))
            value = self._unescaped(value_start, value_end, bool(escaped & 1))
            if label in names:
                raise _fault(self.body, start, "this label stands here twice")
            names.add(label)
            if label == boundary:
                value = normalised_boundary(value)
            labels.append((label, value))
        return labels

    def _boundary_label(self, name: bytes) -> bytes | None:
        if name.endswith(b"_bucket") and self.types.get(name[:-7]) in {
            "histogram",
            "gaugehistogram",
        }:
            return b"le"
        return b"quantile" if self.types.get(name) == "summary" else None

    def _unescaped(self, start: int, end: int, escaped: bool) -> bytes:
        text = self.body[start:end]
        if escaped:
            text = unescape(text)
        if not text.isascii():
            try:
                text.decode()
            except UnicodeDecodeError as exc:
                raise _fault(self.body, start + exc.start, "not UTF-8") from exc
        return text


def is_openmetrics(content_type: str) -> bool:
    """What `Content-Type` says; everything that is not OpenMetrics is read as 0.0.4."""
    return content_type.split(";", 1)[0].strip().lower() == "application/openmetrics-text"


def decode(body: bytes, *, openmetrics: bool = False) -> Exposition:
    """The exposition in `body`; BadExposition with line and offset of the first fault.

    All or nothing, as in Prometheus: an exposition with one bad line is a failed scrape.
    """
    buf: U8 = np.frombuffer(body, np.uint8)
    lines = body.count(b"\n") + 1
    samples = np.empty((lines, kernel.SAMPLE_COLUMNS), np.int64)
    values = np.empty(lines, np.float64)
    labels = np.empty((body.count(b"=") + 1, kernel.LABEL_COLUMNS), np.int64)
    metadata = np.empty((body.count(b"#") + 1, kernel.META_COLUMNS), np.int64)
    out = np.zeros(5, np.int64)
    status = kernel.walk(buf, openmetrics, samples, values, labels, metadata, out)
    if status != kernel.OK:
        raise _fault(body, int(out[4]), _FAULTS[status])
    n = int(out[0])
    samples, values = samples[:n], values[:n]
    for i in np.flatnonzero(samples[:, kernel.HARD]).tolist():
        start, end = samples[i, [kernel.VALUE_START, kernel.VALUE_END]].tolist()
        values[i] = _parse_value(body, start, end)
    values.view(np.uint64)[np.isnan(values)] = NAN_BITS
    described = _metadata(body, metadata[: int(out[2])])
    exemplars_at = np.flatnonzero(samples[:, kernel.EXEMPLAR_START] >= 0).tolist()
    return Exposition(
        body=body,
        rows=samples,
        label_rows=labels,
        values=values,
        timestamps_ms=_timestamps(body, samples, openmetrics=openmetrics),
        has_timestamp=samples[:, kernel.TIME_START] >= 0,
        metadata=tuple(described.values()),
        types={name.encode(): metric.type for name, metric in described.items()},
        exemplars=tuple(
            _exemplar(body, samples, labels, sample) for sample in exemplars_at[:EXEMPLARS_MAX]
        ),
        exemplars_total=len(exemplars_at),
    )


def _exemplar(body: bytes, samples: I64, label_rows: I64, sample: int) -> TextExemplar:
    row = samples[sample].tolist()
    first = row[kernel.LABELS_END]
    last, start = row[kernel.EXEMPLAR_LABELS_END :]
    texts = body[start : body.find(b"\n", start)].split()
    if not 1 <= len(texts) <= 2:
        raise _fault(body, start, "not an exemplar")
    value_start = body.index(texts[0], start)
    value, at_ms = _parse_value(body, value_start, value_start + len(texts[0])), None
    if len(texts) == 2:
        at_ms = _seconds_to_ms(texts[1]) if _SECONDS.fullmatch(texts[1]) else _MS_MAX + 1
        if not -_MS_MAX <= at_ms <= _MS_MAX:
            raise _fault(body, start, "not an exemplar")
    labels = []
    for name, name_end, text, text_end, escaped in label_rows[first:last].tolist():
        name_text, label = body[name:name_end], body[text:text_end]
        labels.append(
            (
                unescape(name_text) if escaped & 2 else name_text,
                unescape(label) if escaped & 1 else label,
            )
        )
    return TextExemplar(sample, at_ms, value, tuple(labels))


def unescape(text: bytes) -> bytes:
    r"""`\n`, `\\` and `\"` undone; a backslash before anything else stays, as in Prometheus."""
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[0]), text)


def normalised_boundary(text: bytes) -> bytes:
    """A bucket boundary or quantile as OpenMetrics writes it: `1` → `1.0`; other text is unchanged.

    Source: Prometheus `normalizeFloatsInLabelValues`, `formatOpenMetricsFloat` (Go's `%g`, shortest
    form).
    """
    if not _FLOAT.fullmatch(text):
        return text
    value = float(text)
    if value != value:  # noqa: PLR0124 - NaN
        return b"NaN"
    if value in {float("inf"), float("-inf")}:
        return b"+Inf" if value > 0 else b"-Inf"
    written = np.format_float_scientific(value + 0.0, trim="-", exp_digits=2)  # -0.0 + 0.0 is 0.0
    if -4 <= int(written.partition("e")[2]) < 6:  # the bounds of the shortest `%g`
        written = np.format_float_positional(value + 0.0, trim="0")
    return written.encode()


def _parse_value(body: bytes, start: int, end: int) -> float:
    text = body[start:end]
    if not _FLOAT.fullmatch(text):
        raise _fault(body, start, "not a number")
    value = float(text)
    if value in {float("inf"), float("-inf")} and not _INFINITY.fullmatch(text):
        raise _fault(body, start, "the number is too large for a float64")
    return value


def _timestamps(body: bytes, samples: I64, *, openmetrics: bool) -> I64:
    timestamps_ms = np.zeros(samples.shape[0], np.int64)
    rows = np.flatnonzero(samples[:, kernel.TIME_START] >= 0)
    times = []
    for start, end in samples[rows, kernel.TIME_START : kernel.TIME_END + 1].tolist():
        text = body[start:end]
        if openmetrics and _SECONDS.fullmatch(text):
            at_ms = _seconds_to_ms(text)
        elif not openmetrics and text.removeprefix(b"-").isdigit():
            at_ms = int(text) if len(text) <= 20 else _MS_MAX + 1
        else:
            raise _fault(body, start, "expected a timestamp")
        if not -_MS_MAX <= at_ms <= _MS_MAX:
            raise _fault(body, start, "the timestamp is too large")
        times.append(at_ms)
    timestamps_ms[rows] = times
    return timestamps_ms


def _seconds_to_ms(text: bytes) -> int:
    """Truncated towards zero, as Prometheus does with `int64(ts * 1000)`, but exact in decimals."""
    seconds = Decimal(text.decode())
    return _MS_MAX + 1 if seconds.adjusted() > 18 else int(seconds * 1000)


def _metadata(body: bytes, rows: I64) -> dict[str, MetricMetadata]:
    described: dict[str, dict[str, str]] = {}
    for kind, name_start, name_end, start, end in rows.tolist():
        try:
            name = unescape(body[name_start:name_end]).decode()
            text = body[start:end].decode()
        except UnicodeDecodeError as exc:
            raise _fault(body, name_start, "not UTF-8") from exc
        facts = described.setdefault(name, {})
        if kind == kernel.HELP:
            facts["help"] = unescape(text.strip(" \t").encode()).decode()
        elif kind == kernel.TYPE:
            if text.strip() not in TYPES:
                raise _fault(body, start, "not a metric type")
            facts["type"] = text.strip().replace("untyped", "unknown")
        else:
            facts["unit"] = text.strip()
    return {
        name: MetricMetadata(
            name, facts.get("type", "unknown"), facts.get("help", ""), facts.get("unit", "")
        )
        for name, facts in described.items()
    }


def _fault(body: bytes, offset: int, why: str) -> BadExposition:
    line_start = body.rfind(b"\n", 0, offset) + 1
    line_end = body.find(b"\n", offset)
    text = body[line_start : line_end if line_end >= 0 else len(body)][:_QUOTED_BYTES]
    return BadExposition(
        detail=why,
        line=body.count(b"\n", 0, offset) + 1,
        offset=offset,
        text=repr(text.decode(errors="replace")),
    )
