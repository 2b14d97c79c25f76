"""The nouns of the write path: arrays of samples, their labels, and the outcome of a request."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt

U8: TypeAlias = npt.NDArray[np.uint8]
U64: TypeAlias = npt.NDArray[np.uint64]
I64: TypeAlias = npt.NDArray[np.int64]
F64: TypeAlias = npt.NDArray[np.float64]
Array: TypeAlias = npt.NDArray[Any]

RawLabels: TypeAlias = list[tuple[bytes, bytes]]
"""Name and value of each label as they came: any order, not yet checked."""


class LabelSets(NamedTuple):
    """As `RawLabels`, of several series.

    spans: (n, 4) int64, where in `buf` name and value of each label begin and end.
    ends: (k,) int64, the end of each series' labels among them.
    """

    buf: U8
    spans: I64
    ends: I64


STALE_MARKER_BITS = 0x7FF0_0000_0000_0002
"""The NaN that ends a series. Compare bits: NaN equals nothing.

Source: Prometheus `value.StaleNaN`.
"""

NAN_BITS = 0x7FF8_0000_0000_0001
"""The NaN that is a value like any other. Source: Prometheus `value.NormalNaN`."""

METRIC_TYPES = (
    "unknown",
    "counter",
    "gauge",
    "histogram",
    "gaugehistogram",
    "summary",
    "info",
    "stateset",
)
"""By the numbers that remote_write gives them. Source: Prometheus `MetricMetadata.MetricType`."""

_NOTHING: Mapping[str, int] = MappingProxyType({})
_NO_TEXTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class MetricMetadata:
    """What the sender says a metric name means; `type` is lower case (`counter`), or `unknown`."""

    metric_name: str
    type: str
    help: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation of a series, with the labels (as JSON) of where it came from.

    series: a row of `SampleBatch.keys`; in a `Write` an id, or -1 - i for its series `new[i]`.
    """

    series: int
    timestamp_ms: int
    value: float
    labels: str


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """One decoded request, columnar: what every protocol module makes and the pipeline takes.

    keys: (s, 2) uint64, two hash lanes over the raw label bytes of each series as it occurs in the
        request; two rows may be one series. A cache key only: it decides nothing that is stored.
    series_of: (n,) int64, the row of `keys` each sample belongs to.
    timestamps_ms: (n,) int64. values: (n,) float64, bits kept (stale markers, -0.0).
    labels_at: the raw labels of one row of `keys`; called only for series not in the cache.
        May raise `errors.InvalidLabels`, which refuses that series' samples and no others.
    refused: samples the decoder could read but not take, by reason.
    histograms: messages of the samples at `histogram_at`, (h,), that are native histograms
        (docs/formats/histogram.md), an empty one for a stale marker. Their values mean nothing.
    exemplars: of rows of `keys`, which need not have samples.
    skipped: things that are not samples and are not kept (bad exemplars), by reason.
    first_error: why the first of `refused` was; empty when there is none.
    points: (n,) int64, which data point of the protocol each sample is part of, -1 for none; None
        where senders count samples themselves.
    committed: what the decoder does once the sender will not send this again; not when decoding
        is repeated, or the sender is told to come again.
    label_sets: what `labels_at` says of several rows at once, where that is cheaper; no labels of
        those that it must look at itself.
    """

    keys: U64
    series_of: I64
    timestamps_ms: I64
    values: F64
    labels_at: Callable[[int], RawLabels]
    metadata: tuple[MetricMetadata, ...] = ()
    histogram_at: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    histograms: Sequence[bytes] = ()
    exemplars: Sequence[Exemplar] = ()
    refused: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    skipped: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    first_error: str = ""
    points: I64 | None = None
    committed: Callable[[], None] = lambda: None
    label_sets: Callable[[I64], LabelSets] | None = None

    @property
    def samples(self) -> int:
        """How many samples were decoded; those in `refused` come on top."""
        return int(self.timestamps_ms.size)


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose samples a request brings; name: the id of its key, or what in the hub made them."""

    tenant: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request after its commit: accepted + refused + deduplicated + lowered.

    histograms: how many of the accepted samples came as histograms. exemplars: how many are stored.
    deduplicated: of a replica that is not the elected one; they are stored from the other.
    lowered: of a tenant whose resolution is lowered; answered as stored.
    deduplicated_histograms: how many of both came as histograms. deduplicated_exemplars: its own.
    refused_points: of a batch with `points`, how many had a sample refused, or were it as a whole.
    examples: of `refused`, why the first was, by reason.
    """

    accepted: int
    refused: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    skipped: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    first_error: str = ""
    refused_points: int = 0
    histograms: int = 0
    exemplars: int = 0
    examples: Mapping[str, str] = field(default_factory=lambda: _NO_TEXTS)
    deduplicated: int = 0
    deduplicated_histograms: int = 0
    deduplicated_exemplars: int = 0
    lowered: int = 0

    @property
    def refused_total(self) -> int:
        """Samples that were received and not stored."""
        return sum(self.refused.values())
