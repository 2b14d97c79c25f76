"""What workers count is added to the counters of their service, whose `/metrics` shows both."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter

from data_api.store.block import CORRUPT
from data_api.store.cache import LOOKUPS
from data_api.store.history import FORGOTTEN
from data_api.store.rollups import ROWS

COUNTERS: Final[Sequence[Counter]] = (CORRUPT, LOOKUPS, FORGOTTEN, ROWS)
"""Those of the store, which each worker has of its own."""
Counts = list[dict[tuple[str, ...], float]]
"""Of each of COUNTERS, by its labels' values."""


def counts() -> Counts:
    """What this process has counted."""
    return [
        {
            tuple(sample.labels.values()): sample.value
            for metric in counter.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }
        for counter in COUNTERS
    ]


def since(before: Counts) -> Counts:
    """What this process has counted since it had counted `before`."""
    return [
        {labels: value - old.get(labels, 0.0) for labels, value in now.items()}
        for now, old in zip(counts(), before, strict=True)
    ]


def add(more: Counts) -> None:
    """This process has counted so many more."""
    for counter, increases in zip(COUNTERS, more, strict=True):
        for labels, increase in increases.items():
            (counter.labels(*labels) if labels else counter).inc(increase)
