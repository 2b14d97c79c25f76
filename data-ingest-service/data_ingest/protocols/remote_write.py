"""Prometheus remote_write 1.0: a snappy block of protobuf becomes a `SampleBatch`.

    body ── declared length checked ── snappy ── kernels.remote_write.walk ── SampleBatch
                                                  labels are read only for series not seen before

Source: https://prometheus.io/docs/specs/prw/remote_write_spec/ ; snappy's `format_description.txt`.
"""

from dataclasses import dataclass
from typing import Final

import cramjam
import numpy as np

from data_ingest.errors import BadBody, BodyTooLarge, InvalidLabels, UnsupportedBody
from data_ingest.kernels import remote_write as kernel
from data_ingest.kernels.hashing import SPARE_BYTES, seed_for
from data_ingest.model import U8, U64, MetricMetadata, RawLabels, SampleBatch

NAME: Final = "remote_write"
PATHS: Final = ("/api/v1/write", "/api/v1/push", "/api/prom/push")
HISTOGRAM_REASON: Final = "native_histogram_unsupported"
EXEMPLAR_REASON: Final = "exemplar_unsupported"

# The densest thing a snappy block can say: a copy of 64 bytes in an element of 3 (2-byte offset).
# A block that claims more than this lies, and is refused before anything is allocated for it.
_RATIO_MAX: Final = 22
_METADATA_MAX: Final = 20_000
_METADATA_TEXT_MAX: Final = 4096
_METADATA_FIELDS_MAX: Final = 32
# Reading labels is Python, a microsecond each, so it is bounded, by series and by request. Empty
# ones count here, which the rules (`labels.LabelRules`) do not count.
_LABELS_MAX: Final = 1024
_LABELS_READ_MAX: Final = 4_000_000
_TYPES: Final = (
    "unknown",
    "counter",
    "gauge",
    "histogram",
    "gaugehistogram",
    "summary",
    "info",
    "stateset",
)
_SEED: Final = seed_for(b"remote_write")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one request may hold."""

    decoded_bytes_max: int
    samples_max: int


def check_content(content_type: str, content_encoding: str) -> None:
    """Passes for remote_write 1.0; `UnsupportedBody` names what else it is. Absent headers mean
    1.0.
    """
    media, _, parameters = content_type.partition(";")
    if media.strip().lower() not in {"", "application/x-protobuf"}:
        raise UnsupportedBody(
            detail=f"Content-Type {media.strip()[:100]!r}; remote_write is application/x-protobuf"
        )
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        message = value.strip().strip('"')
        if name.strip().lower() == "proto" and message != "prometheus.WriteRequest":
            raise UnsupportedBody(
                detail=f"message {message[:100]!r}; this receiver takes remote_write 1.0"
            )
    if content_encoding.strip().lower() not in {"", "snappy"}:
        raise UnsupportedBody(
            detail=f"Content-Encoding {content_encoding.strip()[:100]!r}; remote_write is snappy"
        )


def declared_bytes(body: bytes | bytearray | memoryview) -> int:
    """What the snappy block says it will unpack to: at most 2**32 - 1."""
    value = 0
    for i in range(min(5, len(body))):
        value |= (body[i] & 0x7F) << (7 * i)
        if body[i] < 0x80:
            if value > 0xFFFF_FFFF:
                break
            return value
    raise BadBody(detail="it is not a snappy block: no length at its start", bytes=len(body))


def decompress(body: bytes | bytearray | memoryview, decoded_bytes_max: int) -> tuple[U8, int]:
    """The message and its size; the buffer has `SPARE_BYTES` zeros after the message."""
    size = declared_bytes(body)
    if size > decoded_bytes_max:
        raise BodyTooLarge(detail="decompressed", bytes=size, limit=decoded_bytes_max)
    if size > _RATIO_MAX * len(body):
        raise BadBody(
            detail="the snappy block claims more than its bytes can hold",
            claimed=size,
            bytes=len(body),
        )
    buf = np.empty(size + SPARE_BYTES, np.uint8)
    buf[size:] = 0
    try:
        written = cramjam.snappy.decompress_raw_into(body, buf[:size].data) if size else 0
    except cramjam.DecompressionError as exc:
        raise BadBody(detail=f"it is not a snappy block: {exc}") from exc
    if written != size:
        raise BadBody(
            detail="the snappy block is shorter than it claims", claimed=size, got=written
        )
    return buf, size


def decode(body: bytes | bytearray | memoryview, bounds: Bounds, seed: U64 = _SEED) -> SampleBatch:
    """All samples of the request, in order; `BadBody`, `BodyTooLarge` or `UnsupportedBody` when
    there are none to take.

    Exemplars are skipped and counted; native histograms are refused and counted, one sample each.
    """
    buf, size = decompress(body, bounds.decoded_bytes_max)
    # A TimeSeries with its labels is rarely under 64 bytes; the kernel says when this guess was too
    # small.
    capacity = min(size // 64 + 16, bounds.samples_max)
    while True:
        keys = np.empty((capacity, 2), np.uint64)
        series_start, series_of, timestamps_ms = np.empty((3, capacity), np.int64)
        value_bits = np.empty(capacity, np.uint64)
        metadata_start = np.empty(min(capacity, _METADATA_MAX), np.int64)
        counts = np.zeros(kernel.COUNTS, np.int64)
        status = kernel.walk(
            buf,
            size,
            seed,
            keys,
            series_start,
            series_of,
            timestamps_ms,
            value_bits,
            metadata_start,
            counts,
        )
        if status not in {kernel.SERIES_FULL, kernel.SAMPLES_FULL}:
            break
        if capacity >= bounds.samples_max:
            raise BodyTooLarge(detail="too many samples in one request", limit=bounds.samples_max)
        capacity = min(capacity * 8, bounds.samples_max)
    if status == kernel.VERSION_2:
        raise UnsupportedBody(
            detail="the message has the fields of remote_write 2.0; this receiver takes 1.0"
        )
    if status != kernel.OK:
        raise BadBody(detail="malformed protobuf", offset=int(counts[kernel.OFFSET]), bytes=size)
    series, samples = int(counts[kernel.SERIES]), int(counts[kernel.SAMPLES])
    histograms, exemplars = int(counts[kernel.HISTOGRAMS]), int(counts[kernel.EXEMPLARS])
    described = metadata_start[: min(int(counts[kernel.METADATA]), metadata_start.size)]

    spans = np.empty(4 * _LABELS_MAX, np.int64)
    labels_read = 0

    def labels_at(row: int) -> RawLabels:
        nonlocal labels_read
        start, end = _message(buf, int(series_start[row]))
        found = kernel.find_labels(buf, start, end, spans)
        if found < 0:
            raise InvalidLabels(detail="malformed protobuf", offset=start)
        if found > _LABELS_MAX:
            raise InvalidLabels(detail="too many labels", labels=found, limit=_LABELS_MAX)
        labels_read += found
        if labels_read > _LABELS_READ_MAX:
            raise BodyTooLarge(detail="too many labels in one request", limit=_LABELS_READ_MAX)
        at = spans[: 4 * found].tolist()
        return [
            (buf[at[i] : at[i + 1]].tobytes(), buf[at[i + 2] : at[i + 3]].tobytes())
            for i in range(0, 4 * found, 4)
        ]

    return SampleBatch(
        keys=keys[:series],
        series_of=series_of[:samples],
        timestamps_ms=timestamps_ms[:samples],
        values=value_bits[:samples].view(np.float64),
        labels_at=labels_at,
        metadata=tuple(
            found
            for at in described.tolist()
            if (found := _metadata(buf, *_message(buf, at))) is not None
        ),
        refused={HISTOGRAM_REASON: histograms} if histograms else {},
        skipped={EXEMPLAR_REASON: exemplars} if exemplars else {},
        first_error="native histograms are not stored" if histograms else "",
    )


def _message(buf: U8, at: int) -> tuple[int, int]:
    """Start and end of the length-delimited field whose length starts at `at`; the walker has
    checked it.
    """
    size, shift = 0, 0
    while True:
        byte = int(buf[at])
        size |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return at, at + size


def _fields(message: bytes) -> list[tuple[int, int, int | bytes]]:
    """(field, wire type, value) of each field; `InvalidLabels` when the bytes end early or there
    are too many.
    """
    found: list[tuple[int, int, int | bytes]] = []
    p, end = 0, len(message)
    while p < end:
        if len(found) == _METADATA_FIELDS_MAX:
            raise InvalidLabels(detail="too many fields", limit=_METADATA_FIELDS_MAX)
        tag, p = _varint(message, p)
        wire = tag & 7
        value: int | bytes
        if wire == 0:
            value, p = _varint(message, p)
        elif wire == 2:
            size, p = _varint(message, p)
            value, p = message[p : p + size], p + size
        elif wire in {1, 5}:
            size = 8 if wire == 1 else 4
            value, p = message[p : p + size], p + size
        else:
            raise InvalidLabels(detail="malformed protobuf", offset=p)
        if p > end:
            raise InvalidLabels(detail="malformed protobuf", offset=p)
        found.append((tag >> 3, wire, value))
    return found


def _varint(message: bytes, p: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if p + i >= len(message):
            break
        value |= (message[p + i] & 0x7F) << (7 * i)
        if message[p + i] < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, p + i + 1
    raise InvalidLabels(detail="malformed protobuf", offset=p)


def _metadata(buf: U8, start: int, end: int) -> MetricMetadata | None:
    """What the sender says about a metric name; None when it says it in bytes that cannot be
    kept.
    """
    kind, texts = 0, {2: b"", 4: b"", 5: b""}
    try:
        for field, wire, value in _fields(buf[start:end].tobytes()):
            if field == 1 and isinstance(value, int):
                kind = value
            elif field in texts and wire == 2 and isinstance(value, bytes):
                texts[field] = value
        name, help_text, unit = (texts[field].decode() for field in (2, 4, 5))
    except (InvalidLabels, UnicodeDecodeError):
        return None
    if not 0 < len(name) <= _METADATA_TEXT_MAX or "\0" in name + help_text + unit:
        return None
    type_name = _TYPES[kind] if kind < len(_TYPES) else "unknown"
    return MetricMetadata(
        name, type_name, help_text[:_METADATA_TEXT_MAX], unit[:_METADATA_TEXT_MAX]
    )
