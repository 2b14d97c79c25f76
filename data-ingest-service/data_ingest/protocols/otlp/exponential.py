"""Exponential histograms and exemplars of one OTLP request, read from the messages they are.

Source: OpenTelemetry specification, compatibility/prometheus_and_openmetrics.md, "Exponential
Histograms" and "Exemplars".
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from data_ingest.errors import InvalidLabels
from data_ingest.kernels import otlp_points as layout
from data_ingest.kernels.otlp_histograms import FIRST_PART, INFINITY_PART
from data_ingest.model import I64, STALE_MARKER_BITS, U8, Exemplar
from data_ingest.protocols import messages
from data_ingest.protocols.exemplars import exemplar
from data_ingest.protocols.native_histogram import InvalidHistogram, exponential_point, from_otlp
from data_ingest.protocols.otlp.attributes import attributes, labels
from data_ingest.protocols.otlp.series import POINTS

_NS_PER_MS: Final = 1_000_000


def read_histograms(
    buf: U8, rows: I64, metrics: I64, totals: Mapping[int, Any]
) -> tuple[dict[int, bytes], str]:
    """The stored messages by the rows that are histograms, empty for one that is refused; and why
    the first was.

    buf, rows, metrics: see `kernels.otlp.walk`. totals: data points that stand for deltas, by
    where these begin.
    """
    kinds = metrics[rows[:, layout.METRIC], layout.KIND] & ~layout.DELTA
    is_read = (kinds == layout.EXPONENTIAL) & (rows[:, layout.VALUE] != STALE_MARKER_BITS)
    read, error = dict[int, bytes](), ""
    for row in np.flatnonzero(is_read).tolist():
        start, end = rows[row, layout.POINT : layout.POINT_END + 1].tolist()
        try:
            point = totals.get(start) or exponential_point(buf[start:end].tobytes())
            read[row] = from_otlp(point)
        except InvalidHistogram as exc:
            read[row] = b""
            error = error or f"metric {_name(buf, rows, metrics, row)!r}: {exc}"
    return read, error


def _name(buf: U8, rows: I64, metrics: I64, row: int) -> str:
    start, end = metrics[rows[row, layout.METRIC], layout.NAME : layout.NAME + 2].tolist()
    return buf[start:end][:100].tobytes().decode(errors="replace")


def read_exemplars(
    buf: U8, rows: I64, metrics: I64, exemplars_max: int, *, escape: bool
) -> list[Exemplar]:
    """Those of the first `exemplars_max` that can be stored; each is of the row that it explains.

    An exemplar of a histogram with buckets is of the bucket that its value is in. The ids of the
    trace win over attributes, which are left out where there is no room for them.
    """
    taken: list[Exemplar] = []
    for row in np.flatnonzero(np.diff(rows[:, layout.POINT], prepend=-1)).tolist():
        start, end = rows[row, layout.POINT : layout.POINT_END + 1].tolist()
        kind = POINTS.get(int(metrics[rows[row, layout.METRIC], layout.KIND]) & ~layout.DELTA)
        if start < 0 or kind in {None, messages.OTLP["SummaryPoint"]}:
            continue
        try:
            point = kind.FromString(buf[start:end].tobytes())
        except DecodeError:
            continue
        for one in point.exemplars[: max(0, exemplars_max)]:
            exemplars_max -= 1
            value = one.asDouble if one.HasField("asDouble") else float(one.asInt)
            has_buckets = kind is messages.OTLP["HistogramPoint"]
            part = _bucket(rows, row, value, point) if has_buckets else row
            if made := _exemplar(part, value, one, escape=escape):
                taken.append(made)
    return taken


def _exemplar(row: int, value: float, one: Any, *, escape: bool) -> Exemplar | None:
    ids = {"trace_id": one.traceId, "span_id": one.spanId}
    trace = {name: text.hex() for name, text in ids.items() if any(text)}
    try:
        filtered = labels(attributes(one.filteredAttributes), escape=escape)
    except InvalidLabels:
        return None
    for chosen in ({**filtered, **trace}, trace):
        pairs = ((name.encode(), text.encode()) for name, text in chosen.items())
        if made := exemplar(row, one.timeUnixNano // _NS_PER_MS, value, pairs):
            return made
    return None


def _bucket(rows: I64, row: int, value: float, point: Any) -> int:
    """The row of the bucket that `value` is in, of the data point beginning at `row`."""
    bucket = bisect_left(point.explicitBounds, value)
    part = FIRST_PART + bucket if bucket < len(point.explicitBounds) else INFINITY_PART
    while rows[row, layout.PART] != part:
        row += 1
    return row
