"""Prometheus remote_write: a snappy block of protobuf becomes a `SampleBatch`. 1.0 is here.

    body ── declared length checked ── snappy ── kernels.remote_write.walk ── SampleBatch
                                                  labels are read only for series not seen before

Source: https://prometheus.io/docs/specs/prw/remote_write_spec/ ; snappy's `format_description.txt`.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from starlette.responses import Response

from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import BadBody, InvalidLabels, UnsupportedBody
from data_ingest.kernels import remote_write as kernel
from data_ingest.kernels.hashing import seed_for
from data_ingest.limits import METADATA_NOT_KEPT
from data_ingest.model import (
    I64,
    METRIC_TYPES,
    U8,
    U64,
    Exemplar,
    LabelSets,
    MetricMetadata,
    Outcome,
    RawLabels,
    SampleBatch,
)
from data_ingest.protocols import messages, remote_write_2
from data_ingest.protocols.exemplars import exemplar
from data_ingest.protocols.protocol import (
    Bounds,
    LabelBudget,
    WriteProtocol,
    WriteRequest,
    render,
    rooms,
)
from data_ingest.protocols.remote_write_others import with_others
from data_ingest.protocols.snappy import declared_bytes, decompress

MESSAGES: Final = ("prometheus.WriteRequest", remote_write_2.MESSAGE)
MEDIA_2: Final = f"application/x-protobuf;proto={remote_write_2.MESSAGE}"
_METADATA_MAX: Final = 5_000
_LABELS_MAX: Final = 1024
"""Of a series. Labels with empty values count here; `labels.LabelRules` does not count them."""
_SEED: Final = seed_for(b"remote_write")


def check(request: WriteRequest) -> None:
    """Passes for 1.0 and 2.0, and for absent headers; else `UnsupportedBody` says why not."""
    media, encoding = request.media_type, request.encoding
    if media not in {"", "application/x-protobuf"}:
        raise UnsupportedBody(
            detail=f"Content-Type {media[:100]!r}; remote_write is application/x-protobuf"
        )
    if (message := message_of(request)) not in MESSAGES:
        raise UnsupportedBody(detail=f"message {message[:100]!r}; known: {', '.join(MESSAGES)}")
    if encoding not in {"", "snappy"}:
        raise UnsupportedBody(detail=f"Content-Encoding {encoding[:100]!r}; remote_write is snappy")


def message_of(request: WriteRequest) -> str:
    """The protobuf message that the content type names; 1.0's where it names none."""
    return _message_named(request.headers.get("content-type", ""))


@lru_cache(64)
def _message_named(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "proto":
            return value.strip().strip('"')
    return MESSAGES[0]


def decode(body: bytes | bytearray | memoryview, bounds: Bounds, seed: U64 = _SEED) -> SampleBatch:
    """All samples of the request, in order, then its native histograms; and its exemplars.

    Invalid histograms are refused, bad exemplars and metadata skipped; all are counted. Raises
    `BadBody`, `BodyTooLarge` or `UnsupportedBody` when nothing of the request is taken.
    """
    buf, size = decompress(body, bounds.decoded_bytes_max)
    # One that describes a name has at least 5 bytes.
    metadata_spans = np.empty(2 * min(size // 5 + 1, _METADATA_MAX), np.int64)
    counts = np.zeros(kernel.COUNTS, np.int64)
    # A TimeSeries with its labels is rarely under 64 bytes; when there are more, the walk says so.
    for room in rooms(size // 64 + 16, bounds.samples_max):
        keys = np.empty((room, 2), np.uint64)
        series_spans, samples = np.empty(2 * room, np.int64), np.empty((3, room), np.int64)
        others = np.empty((room, 4), np.int64)
        status = kernel.walk(
            buf, size, seed, keys, series_spans, samples, others, metadata_spans, counts
        )
        if status != kernel.FULL:
            break
    if status == kernel.OTHER_VERSION:
        raise UnsupportedBody(detail=f"the message is of remote_write 2.0, whose type is {MEDIA_2}")
    if status != kernel.OK:
        raise BadBody(detail="malformed protobuf", offset=int(counts[kernel.OFFSET]), bytes=size)
    series_of, timestamps_ms, bits = samples[:, : counts[kernel.SAMPLES]]
    others = others[: counts[kernel.OTHERS]]
    descriptions = int(counts[kernel.METADATA])
    spans_read = metadata_spans[: 2 * descriptions].reshape(-1, 2).tolist()
    read = (_metadata(buf[start:end].tobytes()) for start, end in spans_read)
    metadata = tuple(one for one in read if one is not None)
    not_kept = descriptions - len(metadata)

    labels = _Labels(buf, series_spans)
    batch = SampleBatch(
        keys=keys[: counts[kernel.SERIES]],
        series_of=series_of,
        timestamps_ms=timestamps_ms,
        values=bits.view(np.float64),
        labels_at=labels.at,
        label_sets=labels.sets,
        metadata=metadata,
        skipped={METADATA_NOT_KEPT: not_kept} if not_kept else {},
    )
    return with_others(batch, buf, others, _exemplar, may_mix=True) if len(others) else batch


@dataclass(slots=True)
class _Labels:
    """The labels of each row, read from its TimeSeries."""

    buf: U8
    series_spans: I64
    spans: I64 = field(default_factory=lambda: np.empty(4 * _LABELS_MAX, np.int64))
    budget: LabelBudget = field(default_factory=LabelBudget)

    def at(self, row: int) -> RawLabels:
        """As `SampleBatch.labels_at`."""
        start, end = self.series_spans[2 * row : 2 * row + 2].tolist()
        labels = kernel.find_labels(self.buf, start, end, self.spans)
        if labels < 0:
            raise InvalidLabels(detail="malformed protobuf", offset=start)
        if labels > _LABELS_MAX:
            raise InvalidLabels(detail="too many labels", labels=labels, limit=_LABELS_MAX)
        text = self.buf[start:end].tobytes()
        at = (self.spans[: 4 * labels] - start).reshape(-1, 4).tolist()
        return self.budget.spend([(text[a:b], text[c:d]) for a, b, c, d in at], end - start)

    def sets(self, rows: I64) -> LabelSets:
        """As `SampleBatch.label_sets`."""
        # A label has 8 bytes at least; a series that finds no room is read by `at`.
        own_bytes = self.series_spans[2 * rows + 1] - self.series_spans[2 * rows]
        spans, ends = np.empty(own_bytes.sum() // 8 * 4, np.int64), np.empty(len(rows), np.int64)
        kernel.find_label_sets(self.buf, self.series_spans, rows, spans, ends)
        return LabelSets(self.buf, spans[: 4 * ends[-1]].reshape(-1, 4), ends)


def _exemplar(row: int, message: bytes) -> Exemplar | None:
    one = messages.Exemplar.FromString(message)
    pairs = ((label.name, label.value) for label in one.labels)
    return exemplar(row, one.timestamp, one.value, pairs)


def _metadata(message: bytes) -> MetricMetadata | None:
    """What the sender says about a metric name; None when the bytes are not text about one."""
    try:
        read = messages.Metadata.FromString(message)
        name, help_text, unit = (text.decode() for text in (read.name, read.help, read.unit))
    except (DecodeError, UnicodeDecodeError):
        return None
    type_name = METRIC_TYPES[read.type] if read.type < len(METRIC_TYPES) else "unknown"
    return MetricMetadata(name, type_name, help_text, unit) if name else None


def _decode(request: WriteRequest, bounds: Bounds) -> SampleBatch:
    is_version_2 = message_of(request) == remote_write_2.MESSAGE
    version = remote_write_2.decode if is_version_2 else decode
    return version(request.body, bounds)


def _render(request: WriteRequest, result: Outcome | ServiceError) -> Response:
    is_version_2 = message_of(request) == remote_write_2.MESSAGE
    return (remote_write_2.answer if is_version_2 else render)(request, result)


PROTOCOL: Final = WriteProtocol(
    name="remote_write",
    paths=("/api/v1/write", "/api/v1/push", "/api/prom/push"),
    decode=_decode,
    check=check,
    unpacked_bytes=lambda request: declared_bytes(request.body),
    render=_render,
    small_bytes=640 * 1024,  # about 2,400 samples, 0.3 ms
)
