"""Prometheus remote_write 2.0: labels are numbers of symbols, and metadata comes with its series.

    body ── snappy ── kernels.remote_write_2: outline, read_symbols, walk ── SampleBatch

Source: https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/.
"""

from functools import partial
from typing import Final

import numpy as np
from starlette.responses import Response

from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import BadBody, BodyTooLarge, InvalidLabels
from data_ingest.kernels import remote_write as counters
from data_ingest.kernels import remote_write_2 as kernel
from data_ingest.kernels.hashing import seed_for
from data_ingest.limits import METADATA_NOT_KEPT, METADATA_TEXT_MAX
from data_ingest.model import (
    I64,
    METRIC_TYPES,
    U8,
    U64,
    Exemplar,
    MetricMetadata,
    Outcome,
    RawLabels,
    SampleBatch,
)
from data_ingest.protocols import messages
from data_ingest.protocols.exemplars import LABEL_CHARACTERS_MAX, exemplar
from data_ingest.protocols.protocol import Bounds, LabelBudget, WriteRequest, render, rooms
from data_ingest.protocols.remote_write_others import with_others
from data_ingest.protocols.snappy import decompress

MESSAGE: Final = "io.prometheus.write.v2.Request"
LABELS_MAX: Final = 1024
SERIES_BYTES_MAX: Final = 1 << 20
"""Of a series' labels: a symbol may be large and stand for any number of them."""
_DESCRIPTIONS_MAX: Final = 5_000
_TEXT_BYTES_MAX: Final = 4 * METADATA_TEXT_MAX
_SEED: Final = seed_for(b"remote_write_2")


def decode(body: bytes | bytearray | memoryview, bounds: Bounds, seed: U64 = _SEED) -> SampleBatch:
    """All samples of the request, in order; as `remote_write.decode`, with the same refusals."""
    buf, size = decompress(body, bounds.decoded_bytes_max)
    counts = np.zeros(counters.COUNTS, np.int64)
    _raise_for(kernel.outline(buf, size, counts), counts, size)
    symbols, series = int(counts[counters.SYMBOLS]), int(counts[counters.SERIES])
    if max(symbols, series) > bounds.samples_max:
        raise BodyTooLarge(
            detail="too many symbols or series in one request",
            symbols=symbols,
            series=series,
            limit=bounds.samples_max,
        )
    spans, hashes = np.empty(2 * symbols, np.int64), np.empty((symbols, 2), np.uint64)
    kernel.read_symbols(buf, size, seed, spans, hashes, counts)
    if symbols and spans[0] != spans[1]:
        raise BadBody(detail="symbol 0 is not empty", offset=int(spans[0]))
    keys = np.empty((series, 2), np.uint64)
    series_spans = np.empty(2 * series, np.int64)
    descriptions = np.empty(4 * symbols, np.int64)
    for room in rooms(series + series // 4 + 16, bounds.samples_max):
        samples, others = np.empty((3, room), np.int64), np.empty((room, 4), np.int64)
        status = kernel.walk(
            buf,
            size,
            seed,
            hashes,
            keys,
            series_spans,
            samples,
            others,
            np.zeros(symbols, np.int64),
            descriptions,
            counts,
        )
        if status != counters.FULL:
            break
    _raise_for(status, counts, size)
    series_of, timestamps_ms, bits = samples[:, : counts[counters.SAMPLES]]
    others = others[: counts[counters.OTHERS]]
    described = descriptions[: 4 * int(counts[counters.METADATA])].reshape(-1, 4)
    metadata = _metadata(buf, spans, described)
    not_kept = len(described) - len(metadata)
    labels = _Labels(buf, series_spans, spans)
    batch = SampleBatch(
        keys=keys[: counts[counters.SERIES]],
        series_of=series_of,
        timestamps_ms=timestamps_ms,
        values=bits.view(np.float64),
        labels_at=labels.of,
        metadata=metadata,
        skipped={METADATA_NOT_KEPT: not_kept} if not_kept else {},
    )
    if not len(others):
        return batch
    return with_others(batch, buf, others, partial(_exemplar, buf, spans), may_mix=False)


def _exemplar(buf: U8, symbol_spans: I64, row: int, message: bytes) -> Exemplar | None:
    one = messages.Exemplar2.FromString(message)
    references = list(one.labels_refs)
    if max(references, default=0) >= symbol_spans.size // 2:
        raise ValueError("label references lead nowhere")
    texts = [_label_text(buf, symbol_spans, at) for at in references]
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return exemplar(row, one.timestamp, one.value, pairs)


def _label_text(buf: U8, spans: I64, symbol: int) -> bytes:
    """As `_text`, but nothing larger than an exemplar's labels may be is read."""
    start, end = spans[2 * symbol : 2 * symbol + 2].tolist()
    if end - start > 4 * LABEL_CHARACTERS_MAX:
        raise ValueError("a label is too long")
    return buf[start:end].tobytes()


def answer(request: WriteRequest, result: Outcome | ServiceError) -> Response:
    """The usual answer with what was written, also by the elected replica in this one's place;
    without these headers senders fall back to 1.0.
    """
    outcome = result if isinstance(result, Outcome) else Outcome(0)
    histograms = outcome.histograms + outcome.deduplicated_histograms
    samples = outcome.accepted + outcome.deduplicated + outcome.lowered - histograms
    exemplars = outcome.exemplars + outcome.deduplicated_exemplars
    usual = render(request, result)
    written = {
        "X-Prometheus-Remote-Write-Samples-Written": str(samples),
        "X-Prometheus-Remote-Write-Histograms-Written": str(histograms),
        "X-Prometheus-Remote-Write-Exemplars-Written": str(exemplars),
    }
    headers = {name: value for name, value in usual.headers.items() if name != "content-length"}
    return Response(usual.body, usual.status_code, headers | written)


class _Labels:
    """Labels of the request's series, read one series at a time."""

    def __init__(self, buf: U8, series_spans: I64, symbol_spans: I64) -> None:
        self._buf = buf
        self._series_spans = series_spans
        self._symbol_spans = symbol_spans
        self._references = np.empty(2 * LABELS_MAX, np.int64)
        self._budget = LabelBudget()

    def of(self, row: int) -> RawLabels:
        """The labels of one row of `keys`; `InvalidLabels` where a reference leads nowhere."""
        start, end = self._series_spans[2 * row : 2 * row + 2].tolist()
        size = int(kernel.read_references(self._buf, start, end, self._references))
        symbols = self._symbol_spans.size // 2
        if size < 0 or size % 2:
            raise InvalidLabels(detail="label references do not come in pairs", references=size)
        if size > 2 * LABELS_MAX:
            raise InvalidLabels(detail="too many labels", labels=size // 2, limit=LABELS_MAX)
        references = self._references[:size]
        if size and not (references.min() >= 0 and references.max() < symbols):
            raise InvalidLabels(
                detail=f"label reference {references.max()} leads nowhere", symbols=symbols
            )
        spans = self._symbol_spans.reshape(-1, 2)[references]
        label_bytes = int((spans[:, 1] - spans[:, 0]).sum())
        if label_bytes > SERIES_BYTES_MAX:
            raise InvalidLabels(
                detail="labels are too large", bytes=label_bytes, limit=SERIES_BYTES_MAX
            )
        texts = [_text(self._buf, self._symbol_spans, at) for at in references.tolist()]
        return self._budget.spend(list(zip(texts[::2], texts[1::2], strict=True)), label_bytes)


def _text(buf: U8, spans: I64, symbol: int) -> bytes:
    return buf[spans[2 * symbol] : spans[2 * symbol + 1]].tobytes()


def _short_text(buf: U8, spans: I64, symbol: int) -> str:
    """As much of a description as is kept, with some to spare; the rest is not read."""
    start, end = spans[2 * symbol : 2 * symbol + 2].tolist()
    is_whole = end - start <= _TEXT_BYTES_MAX
    text = buf[start : min(end, start + _TEXT_BYTES_MAX)].tobytes()
    return text.decode(errors="strict" if is_whole else "ignore")


def _metadata(buf: U8, spans: I64, described: I64) -> tuple[MetricMetadata, ...]:
    """What is text of the descriptions; rows are the symbols of name, help and unit, and type."""
    metadata: list[MetricMetadata] = []
    for name, help_text, unit, kind in described[:_DESCRIPTIONS_MAX].tolist():
        try:
            texts = [_short_text(buf, spans, symbol) for symbol in (name, help_text, unit)]
        except UnicodeDecodeError:
            continue
        if texts[0] and (kind or texts[1] or texts[2]):
            type_name = METRIC_TYPES[kind] if kind < len(METRIC_TYPES) else METRIC_TYPES[0]
            metadata.append(MetricMetadata(texts[0], type_name, texts[1], texts[2]))
    return tuple(metadata)


def _raise_for(status: int, counts: I64, size: int) -> None:
    if status == counters.OTHER_VERSION:
        raise BadBody(
            detail="the message has the fields of remote_write 1.0, the content type says 2.0",
            offset=int(counts[counters.OFFSET]),
        )
    if status != counters.OK:
        raise BadBody(detail="malformed protobuf", offset=int(counts[counters.OFFSET]), bytes=size)
