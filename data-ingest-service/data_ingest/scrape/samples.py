"""The samples of one scrape, before anything is known about their series: pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from data_ingest.model import F64, I64, Array, MetricMetadata, RawLabels
from data_ingest.protocols.prometheus_text import Exposition, TextExemplar


@dataclass(frozen=True, slots=True)
class Family:
    """A metric of our own making: its meaning and its samples, each (labels, value)."""

    name: str
    type: str
    help: str
    samples: Sequence[tuple[Mapping[str, str], float]]


@dataclass(frozen=True, slots=True)
class ScrapedSamples:
    """Samples of one scrape, columnar.

    texts: n texts; of one scrape, and of two with equal `types`, equal texts have equal labels.
    labels: the labels of one sample, empty ones too; called only for texts that are new.
    values: (n,) float64; timestamps_ms: (n,) int64, meaningful where has_timestamp (n,) bool.
    histograms: by sample, the stored form of those that are native histograms.
    """

    texts: Sequence[bytes]
    labels: Callable[[int], RawLabels]
    values: F64
    timestamps_ms: I64
    has_timestamp: Array
    metadata: tuple[MetricMetadata, ...] = ()
    exemplars: tuple[TextExemplar, ...] = ()
    histograms: Mapping[int, bytes] = field(default_factory=dict)

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
            # `?` for what has no encoding: a mount point of bytes that are not UTF-8
            labels.append(
                [name, *((n.encode(), v.encode(errors="replace")) for n, v in pairs.items())]
            )
            values.append(value)
    return ScrapedSamples(
        [text_of(pairs) for pairs in labels],
        labels.__getitem__,
        np.array(values, np.float64),
        np.zeros(len(values), np.int64),
        np.zeros(len(values), bool),
        tuple(metadata),
    )


def text_of(labels: RawLabels) -> bytes:
    """What stands for these labels among the texts of one scrape."""
    return b"\xff".join(part for pair in labels for part in pair)
