"""Exponential histograms and exemplars of one OTLP request, read from the messages they are.

Source: OpenTelemetry specification, compatibility/prometheus_and_openmetrics.md, "Exponential
Histograms" and "Exemplars".
"""

from bisect import bisect_left
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError

from data_ingest.errors import InvalidLabels
from data_ingest.kernels import otlp_points as layout
from data_ingest.kernels.otlp_exemplars import find_exemplars
from data_ingest.kernels.otlp_histograms import FIRST_PART, INFINITY_PART
from data_ingest.model import I64, STALE_MARKER_BITS, U8, Exemplar
from data_ingest.protocols import messages
from data_ingest.protocols.exemplars import EXEMPLARS_MAX, exemplar
from data_ingest.protocols.native_histogram import InvalidHistogram, from_otlp
from data_ingest.protocols.otlp.attributes import attributes, labels
from data_ingest.protocols.otlp.series import boundaries
from data_ingest.protocols.protobuf import BYTES

_FILTERED_ATTRIBUTE: Final = 7 << 3 | BYTES
_NS_PER_MS: Final = 1_000_000


def read_histograms(buf: U8, rows: I64, metrics: I64) -> tuple[list[bytes], list[int], str]:
    """The stored messages of the rows that are histograms, empty for one that is refused; these
    rows; and why the first was refused.

    buf, rows, metrics: see `kernels.otlp.walk`.
    """
    kinds = metrics[:, layout.KIND]
    if not (kinds == layout.EXPONENTIAL).any():
        return [], [], ""
    is_histogram = kinds[rows[:, layout.METRIC]] == layout.EXPONENTIAL
    at = np.flatnonzero(is_histogram & (rows[:, layout.VALUE] != STALE_MARKER_BITS))
    read, error = [], ""
    for row in at.tolist():
        start, end = rows[row, layout.POINT : layout.POINT_END + 1].tolist()
        try:
            read.append(from_otlp(buf[start:end].tobytes()))
        except InvalidHistogram as exc:
            read.append(b"")
            error = error or f"metric {_name(buf, rows, metrics, row)!r}: {exc}"
    return read, at.tolist(), error


def _name(buf: U8, rows: I64, metrics: I64, row: int) -> str:
    start, end = metrics[rows[row, layout.METRIC], layout.NAME : layout.NAME + 2].tolist()
    return buf[start:end][:100].tobytes().decode(errors="replace")


def read_exemplars(buf: U8, rows: I64, metrics: I64, count: int, *, escape: bool) -> list[Exemplar]:
    """Those of at most EXEMPLARS_MAX that can be stored; each is of the row that it explains.

    An exemplar of a histogram with buckets is of the bucket that its value is in. The ids of the
    trace win over attributes, which are left out where there is no room for them.
    """
    spans = np.empty((min(count, EXEMPLARS_MAX), 3), np.int64)
    spans = spans[: find_exemplars(buf, rows, metrics, spans)]
    taken = []
    for row, start, end in spans.tolist():
        message = buf[start:end].tobytes()
        try:
            one = messages.OtlpExemplar.FromString(message)
            filtered = labels(attributes(message, _FILTERED_ATTRIBUTE), escape=escape)
        except (DecodeError, InvalidLabels):
            continue
        value = one.as_double if one.HasField("as_double") else float(one.as_int)
        ids = {"trace_id": one.trace_id, "span_id": one.span_id}
        trace = {name: text.hex() for name, text in ids.items() if any(text)}
        explained = _row_of(buf, rows, metrics, row, value)
        for chosen in ({**filtered, **trace}, trace):
            pairs = ((name.encode(), text.encode()) for name, text in chosen.items())
            if made := exemplar(explained, one.time_ns // _NS_PER_MS, value, pairs):
                taken.append(made)
                break
    return taken


def _row_of(buf: U8, rows: I64, metrics: I64, row: int, value: float) -> int:
    """The row of the data point beginning at `row` that `value` counts in."""
    if metrics[rows[row, layout.METRIC], layout.KIND] & ~layout.DELTA != layout.HISTOGRAM:
        return row
    start, end = rows[row, layout.POINT : layout.POINT_END + 1].tolist()
    bounds = [float(text) for text in boundaries(buf[start:end].tobytes(), layout.HISTOGRAM)]
    bucket = bisect_left(bounds, value)
    part = FIRST_PART + bucket if bucket < len(bounds) else INFINITY_PART
    while rows[row, layout.PART] != part:
        row += 1
    return row
