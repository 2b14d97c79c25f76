"""CloudWatch metric streams in the format OpenTelemetry 1.0, as the series that JSON makes.

    record: (length as varint, ExportMetricsServiceRequest) one after another
    summary of resource {cloud.account.id, cloud.region} with {Namespace, MetricName, Dimensions}
      ─▶ its count, its sum, quantile 0 as min, 1 as max, 0.99 as p99; the time is the period's end

Source: CloudWatch user guide, "Metric stream output in OpenTelemetry 1.0.0 format".
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import numpy as np

from data_ingest.errors import BadBody, InvalidLabels
from data_ingest.model import SampleBatch
from data_ingest.protocols.otlp import STYLES, LabelOptions, Options, answers, decoder
from data_ingest.protocols.protobuf import BYTES, read_varint
from data_ingest.protocols.protocol import Bounds, WriteRequest

OTEL_0_7: Final = "opentelemetry_0_7"
_FIRST_FIELD: Final = 1 << 3 | BYTES
_STATISTICS: Final = {"0.0": "min", "1.0": "max"}
_PLACES: Final = {"account_id": "cloud.account.id", "region": "cloud.region"}
_DECODER: Final = decoder.Decoder(
    Options(LabelOptions(STYLES["NoTranslation"], frozenset(_PLACES.values()), scope_labels=False))
)

Metric = tuple[dict[str, Any], str]
"""A metric in the words of the JSON format, and one statistic's name."""


def is_otel(record: bytes) -> bool:
    """Whether a record is in this format; a line of JSON goes on in its first line."""
    if record.lstrip().startswith(b"{") and record[1:2] != b"\n":
        return False
    try:
        return record[read_varint(record, 0)[1] :][:1] == bytes([_FIRST_FIELD])
    except ValueError:
        return False


def decode(
    records: Sequence[bytes], request: WriteRequest, bounds: Bounds
) -> tuple[SampleBatch, int, Callable[[int], Metric]]:
    """The batch, how many messages cannot be read, and the metric of a row, `InvalidLabels` where
    it is none of CloudWatch's.

    Samples of OpenTelemetry 0.7 are refused: its labels would be read over.
    """

    def decoded(message: bytes) -> SampleBatch:
        headers = {"content-type": answers.PROTOBUF}
        return _DECODER.decode(replace(request, headers=headers, body=message), bounds)

    messages, bad = [], 0
    for message in _messages(records):
        bad += message is None
        messages.append(message or b"")
    try:
        batch = decoded(whole := b"".join(messages))  # protobuf merges what is one after another
    except BadBody:
        readable = [message for message in messages if _is_readable(message, decoded)]
        bad += len(messages) - len(readable)
        batch = decoded(whole := b"".join(readable))
    assert batch.points is not None
    is_old = np.frombuffer(whole + b"\0", np.uint8)[batch.points] == _FIRST_FIELD
    if old := int(is_old.sum()):
        why = "it is OpenTelemetry 0.7; set the stream's output format to OpenTelemetry 1.0 or JSON"
        batch = replace(
            batch,
            series_of=batch.series_of[~is_old],
            timestamps_ms=batch.timestamps_ms[~is_old],
            values=batch.values[~is_old],
            refused={**batch.refused, OTEL_0_7: old},
            first_error=batch.first_error or why,
        )
    return replace(batch, points=None, metadata=()), bad, lambda row: _metric(batch, row)


def _messages(records: Sequence[bytes]) -> Iterator[bytes | None]:
    """Those of each record; None for what is left of one that ends within a message."""
    for record in records:
        at = 0
        while at < len(record):
            try:
                size, start = read_varint(record, at)
            except ValueError:
                size, start = len(record), at
            at = start + size
            yield record[start:at] if at <= len(record) else None


def _is_readable(message: bytes, decoded: Callable[[bytes], SampleBatch]) -> bool:
    try:
        decoded(message)
    except BadBody:
        return False
    return True


def _metric(batch: SampleBatch, row: int) -> Metric:
    labels = {name.decode(): value.decode() for name, value in batch.labels_at(row)}
    name, quantile = labels["__name__"], labels.get("quantile")
    statistic = name.rpartition("_")[2] if quantile is None else _STATISTICS.get(quantile, "")
    if quantile is not None and not statistic:
        statistic = f"p{(Decimal(quantile) * 100).normalize():f}"
    try:
        dimensions = json.loads(labels.get("Dimensions", "{}"))
    except (ValueError, RecursionError):
        dimensions = None
    metric = {
        "namespace": labels.get("Namespace"),
        "metric_name": labels.get("MetricName"),
        "dimensions": dimensions,
        **{place: labels.get(key) for place, key in _PLACES.items()},
    }
    is_summary = quantile is not None or statistic in {"count", "sum"}
    has_name = metric["namespace"] and metric["metric_name"]
    if not (is_summary and has_name and isinstance(dimensions, dict)):
        raise InvalidLabels(detail=f"{name[:100]!r} is no metric of CloudWatch")
    return metric, statistic
