"""The samples of one scrape, before anything is known about their series: pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_ingest.model import F64, I64, Array, MetricMetadata, RawLabels
from data_ingest.protocols.prometheus_text import Exposition, TextExemplar


@dataclass(frozen=True, slots=True)
class Family:
    """A metric of our own making: its meaning and its samples, each (labels, value)."""

    name: str
    type: str
    help: str
    samples: Sequence[tuple[Sequence[tuple[str, str]], float]]


@dataclass(frozen=True, slots=True)
class ScrapedSamples:
    """Samples of one scrape, columnar.

    texts: n texts; of one scrape, and of two with equal `types`, equal texts have equal labels.
    labels: the labels of one sample, empty ones too; called only for texts that are new.
    values: (n,) float64; timestamps_ms: (n,) int64, meaningful where has_timestamp (n,) bool.
    """

    texts: Sequence[bytes]
    labels: Callable[[int], RawLabels]
    values: F64
    timestamps_ms: I64
    has_timestamp: Array
    metadata: tuple[MetricMetadata, ...] = ()
    exemplars: tuple[TextExemplar, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def types(self) -> dict[str, str]:
        """The type of each metric; it decides how `le` and `quantile` are read."""
        return {metric.metric_name: metric.type for metric in self.metadata}

    def without_timestamps(self) -> "ScrapedSamples":
        """The same, all of the moment of the scrape."""
        return replace(self, has_timestamp=np.zeros(len(self), bool))


def from_exposition(exposition: Exposition) -> ScrapedSamples:
    """A decoded body."""
    return ScrapedSamples(
        list(exposition.keys()),
        exposition.labels,
        exposition.values,
        exposition.timestamps_ms,
        exposition.has_timestamp,
        exposition.metadata,
        exposition.exemplars,
    )


def from_families(families: Iterable[Family]) -> ScrapedSamples:
    """Metrics of our own making, without timestamps."""
    labels: list[RawLabels] = []
    values: list[float] = []
    metadata: list[MetricMetadata] = []
    for family in families:
        metadata.append(MetricMetadata(family.name, family.type, family.help))
        name = (b"__name__", family.name.encode())
        for pairs, value in family.samples:
            labels.append([name, *((n.encode(), _utf8(v)) for n, v in pairs)])
            values.append(value)
    n = len(values)
    return ScrapedSamples(
        [b"\xff".join(part for pair in pairs for part in pair) for pairs in labels],
        labels.__getitem__,
        np.array(values, np.float64),
        np.zeros(n, np.int64),
        np.zeros(n, bool),
        tuple(metadata),
    )


def _utf8(text: str) -> bytes:
    """UTF-8, with `?` for what has no encoding (a mount point of bytes that are not UTF-8)."""
    return text.encode("utf-8", "replace")
