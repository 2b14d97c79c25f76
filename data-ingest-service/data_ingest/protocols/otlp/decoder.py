"""OTLP metrics: one request, protobuf or JSON, becomes a `SampleBatch`.

    body ─ unpacked ─ (JSON → protobuf) ─ kernels.otlp.walk ─ deltas made cumulative ─ SampleBatch
                                         labels are read only for series not seen before

Source: OTLP specification, "OTLP/HTTP Request"; docs/adr/0017-otlp-metrics.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import numpy as np
from google.protobuf.message import DecodeError

from data_ingest.errors import BadBody, BodyTooLarge, UnsupportedBody
from data_ingest.kernels import otlp as kernel
from data_ingest.kernels import otlp_points as layout
from data_ingest.kernels.hashing import SPARE_BYTES, seed_for
from data_ingest.limits import INVALID_EXEMPLAR, INVALID_HISTOGRAM, METADATA_NOT_KEPT
from data_ingest.model import I64, STALE_MARKER_BITS, U8, MetricMetadata, SampleBatch
from data_ingest.protocols import messages
from data_ingest.protocols.compression import decompressed
from data_ingest.protocols.exemplars import EXEMPLARS_MAX
from data_ingest.protocols.native_histogram import InvalidHistogram, exponential_point, from_otlp
from data_ingest.protocols.otlp import answers
from data_ingest.protocols.otlp.delta import OUT_OF_ORDER, DeltaTotals
from data_ingest.protocols.otlp.described import DescribedMetrics
from data_ingest.protocols.otlp.exponential import read_exemplars, read_histograms
from data_ingest.protocols.otlp.json_text import to_protobuf
from data_ingest.protocols.otlp.series import LabelOptions, RequestSeries
from data_ingest.protocols.protocol import Bounds, WriteProtocol, WriteRequest, rooms

REFUSALS: Final = (
    ("delta_temporality", "delta temporality is not taken, cumulative is"),
    ("no_temporality", "neither cumulative nor delta temporality"),
    ("no_timestamp", "a data point has no time"),
    ("no_value", "a data point has no value"),
    (INVALID_HISTOGRAM, "the bounds do not grow, or do not fit the bucket counts"),
)
"""By the kernel's numbers: why data points are refused, as a reason and in words."""
JSON_MEMORY: Final = 16
"""Memory kept for each byte of JSON: parsed requests take 12, the worst there is takes 52."""
_UNDECLARED_RATIO: Final = 100
_UNDECLARED_MIN: Final = 1 << 20
_BUCKETS_MAX: Final = 4096
_SEED: Final = seed_for(b"otlp")


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings say about OTLP. delta_series_max: 0 refuses delta temporality."""

    labels: LabelOptions = field(default_factory=LabelOptions)
    delta_series_max: int = 0


@dataclass(frozen=True, slots=True)
class _Walked:
    """What the kernel made of one message; see `kernels.otlp.walk`."""

    buf: U8
    rows: I64
    metrics: I64
    counts: I64

    def column(self, column: int) -> I64:
        """One column of `rows`, contiguous."""
        return np.ascontiguousarray(self.rows[:, column])


class Decoder:
    """Decodes requests of any tenant; keeps delta totals and which metrics were described."""

    def __init__(self, options: Options) -> None:
        self._labels = options.labels
        self._totals = DeltaTotals(options.delta_series_max) if options.delta_series_max else None
        self._described = DescribedMetrics()

    def decode(self, request: WriteRequest, bounds: Bounds) -> SampleBatch:
        """All samples of the request, and a `target_info` for each resource that names a service.

        Data points that cannot be taken are counted as refused, one each, exemplars that cannot as
        skipped.
        Raises `BadBody`, `BodyTooLarge` or `UnsupportedBody` when nothing of the request is taken.
        """
        walked = _walk(_message(request, bounds), bounds.samples_max, self._totals is not None)
        refused = {
            reason: int(count)
            for (reason, _), count in zip(REFUSALS, walked.counts[layout.REFUSED :], strict=True)
            if count
        }
        first_error, totals, settle = _first_error(walked), dict[int, Any](), _nothing
        if walked.counts[layout.DELTAS] and self._totals is not None:
            walked, totals, overlapping, settle = _accumulated(walked, self._totals, request.tenant)
            if overlapping:
                refused[OUT_OF_ORDER] = overlapping
                first_error = first_error or "a delta ends before the last one, or overlaps it"
        histogram_at, histograms = np.empty(0, np.int64), list[bytes]()
        if (walked.metrics[:, layout.KIND] & ~layout.DELTA == layout.EXPONENTIAL).any():
            walked, histogram_at, histograms, invalid, error = _with_histograms(walked, totals)
            if invalid:
                refused[INVALID_HISTOGRAM] = refused.get(INVALID_HISTOGRAM, 0) + invalid
                first_error = first_error or error
        exemplars_total = int(walked.counts[layout.EXEMPLARS])
        exemplars = []
        if exemplars_total:
            escape = self._labels.style.escape
            exemplars = read_exemplars(
                walked.buf, walked.rows, walked.metrics, EXEMPLARS_MAX, escape=escape
            )
        series = RequestSeries(walked.buf, walked.rows, walked.metrics, self._labels)
        described_by = walked.metrics[:, layout.METRIC_KEY : layout.METRIC_KEY + 2]
        new = self._described.new(described_by, request.tenant, request.received_ms)
        described = [series.metadata_of(metric) for metric in new]
        metadata = tuple(one for one in described if isinstance(one, MetricMetadata))
        skipped = {
            INVALID_EXEMPLAR: exemplars_total - len(exemplars),
            METADATA_NOT_KEPT: len(described) - len(metadata),
        }
        newly = described_by[new]

        def committed() -> None:
            settle()
            self._described.add(newly, request.tenant, request.received_ms)

        return SampleBatch(
            keys=np.ascontiguousarray(walked.rows[:, layout.KEY : layout.KEY + 2]).view(np.uint64),
            series_of=np.arange(len(walked.rows)),
            timestamps_ms=walked.column(layout.TIME),
            values=walked.column(layout.VALUE).view(np.float64),
            labels_at=series.labels_at,
            metadata=metadata,
            histogram_at=histogram_at,
            histograms=histograms,
            exemplars=exemplars,
            refused=refused,
            skipped={reason: count for reason, count in skipped.items() if count},
            first_error=first_error,
            points=walked.rows[:, layout.POINT],
            committed=committed,
        )


def protocol(options: Options) -> WriteProtocol:
    """OTLP's row of the table of protocols."""
    return WriteProtocol(
        name="otlp",
        paths=("/v1/metrics", "/api/v1/otlp/v1/metrics"),
        decode=Decoder(options).decode,
        check=check,
        unpacked_bytes=unpacked_bytes,
        render=answers.render,
    )


def check(request: WriteRequest) -> None:
    """Passes for protobuf and JSON; else `UnsupportedBody`."""
    if (media := request.media_type) not in {answers.PROTOBUF, answers.JSON}:
        raise UnsupportedBody(
            detail=f"Content-Type {media[:100]!r}; OTLP is {answers.PROTOBUF} or {answers.JSON}"
        )


def unpacked_bytes(request: WriteRequest) -> int:
    """What the body may take unpacked and, if it is JSON, parsed; `decode` keeps to it."""
    return _unpacked_max(request) * (JSON_MEMORY if request.media_type == answers.JSON else 1)


def _unpacked_max(request: WriteRequest) -> int:
    """Gzip says its size at its end; the others may hold as much as telemetry ever does."""
    encoding, size = request.encoding, len(request.body)
    if encoding in {"", "identity"}:
        return size
    if encoding == "gzip":
        return int.from_bytes(request.body[-4:], "little")
    return max(_UNDECLARED_MIN, size * _UNDECLARED_RATIO)


def _message(request: WriteRequest, bounds: Bounds) -> bytes:
    """The protobuf message that the body is, or stands for."""
    is_json, says = request.media_type == answers.JSON, _unpacked_max(request)
    bytes_max = bounds.decoded_bytes_max // (JSON_MEMORY if is_json else 1)
    if says > bytes_max and request.encoding == "gzip":
        raise BodyTooLarge(detail="decompressed", bytes=says, limit=bytes_max)
    body = decompressed(request, min(says, bytes_max))
    return to_protobuf(body) if is_json else body


def _walk(message: bytes, samples_max: int, takes_delta: bool) -> _Walked:
    size = len(message)
    buf = np.empty(size + SPARE_BYTES, np.uint8)
    buf[:size] = np.frombuffer(message, np.uint8)
    buf[size:] = 0
    elements, counts = np.empty(2 * _BUCKETS_MAX, np.int64), np.empty(layout.COUNTS, np.int64)
    # A data point is rarely under 64 bytes; when there are more samples, the walk says so.
    for room in rooms(size // 64 + 16, samples_max):
        rows = np.empty((room, layout.ROW_COLUMNS), np.int64)
        metrics = np.empty((room, layout.METRIC_COLUMNS), np.int64)
        status = kernel.walk(buf, size, _SEED, int(takes_delta), rows, metrics, elements, counts)
        if status != layout.FULL:
            break
    if status != layout.OK:
        detail = "malformed protobuf" if status == layout.MALFORMED else "a message given twice"
        raise BadBody(detail=detail, offset=int(counts[layout.OFFSET]), bytes=size)
    return _Walked(buf, rows[: counts[layout.SAMPLES]], metrics[: counts[layout.METRICS]], counts)


def _first_error(walked: _Walked) -> str:
    """Why the first refused data point was; empty when there is none."""
    if not (reason := int(walked.counts[layout.FIRST_REFUSED])):
        return ""
    start, end = walked.counts[layout.REFUSED_NAME : layout.REFUSED_NAME + 2].tolist()
    name = walked.buf[start:end][:100].tobytes().decode(errors="replace")
    return f"metric {name!r}: {REFUSALS[reason - 1][1]}"


def _nothing() -> None:
    """Nothing is left to do."""


def _with_histograms(
    walked: _Walked, totals: dict[int, Any]
) -> tuple[_Walked, I64, list[bytes], int, str]:
    """The same without histograms that are refused; where the others are, and their messages; how
    many were refused, and why the first was. totals: as `_accumulated` has them.
    """
    read, error = read_histograms(walked.buf, walked.rows, walked.metrics, totals)
    dropped = [row for row, message in read.items() if not message]
    left = np.delete(np.arange(len(walked.rows)), dropped)
    places = np.flatnonzero(np.isin(left, list(read)))
    stored = [message for message in read.values() if message]
    return replace(walked, rows=walked.rows[left]), places, stored, len(dropped), error


def _times_ns(buf: U8, start: int, end: int) -> tuple[int, int]:
    """Start (0 when not given) and end of the data point in [start, end)."""
    try:
        times = messages.OTLP["Times"].FromString(buf[start:end].tobytes())
    except DecodeError as exc:
        raise BadBody(detail="malformed protobuf", offset=start) from exc
    return times.startTimeUnixNano, times.timeUnixNano


def _accumulated(
    walked: _Walked, totals: DeltaTotals, tenant: UUID
) -> tuple[_Walked, dict[int, Any], int, Callable[[], None]]:
    """The same with totals instead of deltas; those of exponential histograms by where the delta
    begins; how many data points had to be left out, and what is to be done once it is stored.
    """
    rows, buf = walked.rows, walked.buf
    kinds = walked.metrics[rows[:, layout.METRIC], layout.KIND]
    values = rows.view(np.float64)[:, layout.VALUE]
    at, points = [], []
    for i in np.flatnonzero(kinds >= layout.DELTA).tolist():
        if rows[i, layout.VALUE] == STALE_MARKER_BITS:
            continue
        start, end = rows[i, layout.POINT : layout.POINT_END + 1].tolist()
        value: Any = float(values[i])
        if kinds[i] == layout.EXPONENTIAL | layout.DELTA:
            try:
                value = exponential_point(buf[start:end].tobytes())
                from_otlp(value)
            except InvalidHistogram:
                continue  # `_with_histograms` says why
        at.append(i)
        key = rows[i, layout.KEY : layout.KEY + 2].tobytes()
        points.append((key, *_times_ns(buf, start, end), value))
    added, settle = totals.add(tenant.bytes, points)
    histograms: dict[int, Any] = {}
    dropped = []
    for i, total in zip(at, added, strict=True):
        if total is None:
            dropped.append(i)
        elif isinstance(total, float):
            values[i] = total
        else:
            histograms[int(rows[i, layout.POINT])] = total
    refused_points = np.unique(rows[dropped, layout.POINT]).size
    left = replace(walked, rows=np.delete(rows, dropped, axis=0))
    return left, histograms, refused_points, settle
