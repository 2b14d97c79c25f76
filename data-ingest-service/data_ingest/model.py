"""The nouns of the write path: arrays of samples, the labels behind them, and what became of
them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

U8: TypeAlias = npt.NDArray[np.uint8]
U64: TypeAlias = npt.NDArray[np.uint64]
I64: TypeAlias = npt.NDArray[np.int64]
F64: TypeAlias = npt.NDArray[np.float64]
Array: TypeAlias = npt.NDArray[Any]

RawLabels: TypeAlias = list[tuple[bytes, bytes]]
"""Name and value of each label as they came: any order, not yet checked."""

STALE_MARKER_BITS = 0x7FF0_0000_0000_0002
"""The NaN that ends a series. Compare bits: NaN equals nothing. Source: Prometheus
`value.StaleNaN`.
"""

_NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class MetricMetadata:
    """What a metric name means, as its sender says. `type` is lower case (`counter`), `unknown` if
    unset.
    """

    metric_name: str
    type: str
    help: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """One decoded request, columnar: what every protocol module makes and the pipeline takes.

    keys: (s, 2) uint64, two hash lanes for each series occurrence, over its raw label bytes. Only a
    cache
        key (see `kernels.hashing`): it decides nothing that is stored. Rows may repeat a series.
    series_of: (n,) int64, the row of `keys` each sample belongs to.
    timestamps_ms: (n,) int64. values: (n,) float64, bits kept (stale markers, -0.0).
    labels_at: the raw labels of one row of `keys`; called only for series not seen before.
        It may raise `errors.InvalidLabels`, which refuses that series' samples and no others.
    refused: samples the decoder could read but not take, by reason; `first_error` says why the
    first.
    skipped: things that are not samples and are not kept (exemplars), by reason.
    """

    keys: U64
    series_of: I64
    timestamps_ms: I64
    values: F64
    labels_at: Callable[[int], RawLabels]
    metadata: tuple[MetricMetadata, ...] = ()
    refused: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    skipped: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    first_error: str = ""

    @property
    def samples(self) -> int:
        """How many samples were decoded; those in `refused` come on top."""
        return int(self.timestamps_ms.size)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request once its transaction has committed: accepted + refused =
    received.
    """

    accepted: int
    refused: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    skipped: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    first_error: str = ""

    @property
    def refused_total(self) -> int:
        """Samples that were received and not stored."""
        return sum(self.refused.values())
