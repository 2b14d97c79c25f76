"""What series of remote_write, 1.0 and 2.0, have besides samples: native histograms, exemplars.

kernel ── where each stands ── protobuf's library ── checked ── added to the request's samples
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError

from data_ingest.kernels.remote_write import HISTOGRAM
from data_ingest.limits import INVALID_EXEMPLAR, INVALID_HISTOGRAM
from data_ingest.model import I64, U8, Exemplar, SampleBatch
from data_ingest.protocols.exemplars import EXEMPLAR_BYTES_MAX, EXEMPLARS_MAX
from data_ingest.protocols.native_histogram import InvalidHistogram, from_prometheus

ReadExemplar = Callable[[int, bytes], Exemplar | None]
"""The exemplar of a row of `keys` in this message; raises ValueError where it is malformed."""
MIXED: Final = "samples and histograms in one series"


def with_others(
    batch: SampleBatch, buf: U8, others: I64, read: ReadExemplar, *, may_mix: bool
) -> SampleBatch:
    """The same with `others`: those that are invalid are counted.

    others: (o, 4), of each its kind, row of `keys`, start and end. may_mix: whether a series may
    have samples and histograms at once.
    """
    refusals: list[str] = []
    rows: list[int] = []
    stored: list[tuple[int, bytes]] = []
    is_histogram = others[:, 0] == HISTOGRAM
    with_samples = set() if may_mix else set(batch.series_of.tolist())
    for _, row, start, end in others[is_histogram].tolist():
        if row in with_samples:
            refusals.append(MIXED)
            continue
        try:
            stored.append(from_prometheus(buf[start:end].tobytes()))
            rows.append(row)
        except InvalidHistogram as exc:
            refusals.append(str(exc))
    spans = others[~is_histogram]
    exemplars = _exemplars(buf, spans[:EXEMPLARS_MAX], read)
    n = batch.samples
    not_taken = len(spans) - len(exemplars)
    return replace(
        batch,
        series_of=np.concatenate([batch.series_of, np.array(rows, np.int64)]),
        timestamps_ms=np.append(batch.timestamps_ms, np.array([at for at, _ in stored], np.int64)),
        values=np.append(batch.values, np.zeros(len(rows))),
        histogram_at=np.arange(n, n + len(rows)),
        histograms=[message for _, message in stored],
        exemplars=exemplars,
        refused={INVALID_HISTOGRAM: len(refusals)} if refusals else {},
        first_error=f"native histogram: {refusals[0]}" if refusals else "",
        skipped={**batch.skipped, INVALID_EXEMPLAR: not_taken} if not_taken else batch.skipped,
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
