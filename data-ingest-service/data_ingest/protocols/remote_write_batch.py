"""The batch of a walked request of remote_write, 1.0 or 2.0.

    kernel ─┬─ samples ──────────────────────────────────────────────────────────────┐
            └─ where histograms and exemplars stand ── protobuf's library, checked ──┴─ SampleBatch
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from data_ingest.errors import BadBody
from data_ingest.kernels import remote_write as kernel
from data_ingest.limits import INVALID_EXEMPLAR, INVALID_HISTOGRAM, METADATA_NOT_KEPT
from data_ingest.model import I64, U8, Exemplar, MetricMetadata, SampleBatch
from data_ingest.protocols.exemplars import EXEMPLAR_BYTES_MAX, EXEMPLARS_MAX
from data_ingest.protocols.native_histogram import InvalidHistogram, from_prometheus

ReadExemplar = Callable[[int, bytes], Exemplar | None]
"""The exemplar of a row of `keys` in this message; raises ValueError where it is malformed."""
MIXED: Final = "samples and histograms in one series"


def raise_malformed(status: int, counts: I64, size: int) -> None:
    """Passes for OK, else raises BadBody with the place that the walk stopped at."""
    if status != kernel.OK:
        raise BadBody(detail="malformed protobuf", offset=int(counts[kernel.OFFSET]), bytes=size)


def batch_of(
    buf: U8,
    walked: tuple[Any, I64, I64, I64],
    metadata: Sequence[MetricMetadata | None],
    read: ReadExemplar,
    *,
    may_mix: bool,
    **labels: Any,
) -> SampleBatch:
    """All that was walked; histograms that are invalid are refused, exemplars and metadata skipped.

    walked: keys, samples, others and counts as the kernel wrote them. metadata: None for what is
    not text. may_mix: whether a series may have samples and histograms at once. labels: as
    `SampleBatch` takes them.
    """
    keys, samples, others, counts = walked
    series_of, timestamps_ms, bits = samples[:, : counts[kernel.SAMPLES]]
    n, values = series_of.size, bits.view(np.float64)
    spans = others[: counts[kernel.OTHERS]]
    is_histogram = spans[:, 0] == kernel.HISTOGRAM
    with_samples = set() if may_mix or not is_histogram.any() else set(series_of.tolist())
    refusals: list[str] = []
    rows: list[int] = []
    stored: list[tuple[int, bytes]] = []
    for _, row, start, end in spans[is_histogram].tolist():
        if row in with_samples:
            refusals.append(MIXED)
            continue
        try:
            stored.append(from_prometheus(buf[start:end].tobytes()))
            rows.append(row)
        except InvalidHistogram as exc:
            refusals.append(str(exc))
    exemplars = _exemplars(buf, spans[~is_histogram][:EXEMPLARS_MAX], read)
    described = tuple(one for one in metadata if one is not None)
    skipped = {
        METADATA_NOT_KEPT: int(counts[kernel.METADATA]) - len(described),
        INVALID_EXEMPLAR: len(spans) - int(is_histogram.sum()) - len(exemplars),
    }
    if rows:
        series_of = np.append(series_of, np.array(rows, np.int64))
        timestamps_ms = np.append(timestamps_ms, np.array([at for at, _ in stored], np.int64))
        values = np.append(values, np.zeros(len(rows)))
    return SampleBatch(
        keys=keys[: counts[kernel.SERIES]],
        series_of=series_of,
        timestamps_ms=timestamps_ms,
        values=values,
        metadata=described,
        histogram_at=np.arange(n, n + len(rows)),
        histograms=[message for _, message in stored],
        exemplars=exemplars,
        refused={INVALID_HISTOGRAM: len(refusals)} if refusals else {},
        first_error=f"native histogram: {refusals[0]}" if refusals else "",
        skipped={reason: count for reason, count in skipped.items() if count},
        **labels,
    )


def _exemplars(buf: U8, spans: I64, read: ReadExemplar) -> Sequence[Exemplar]:
    taken = []
    for _, row, start, end in spans.tolist():
        if end - start > EXEMPLAR_BYTES_MAX:
            continue
        try:
            one = read(row, buf[start:end].tobytes())
        except (ValueError, DecodeError):
            continue
        if one is not None:
            taken.append(one)
    return taken
