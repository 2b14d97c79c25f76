"""One query: its times, its samples, its notes, and how many samples it looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from data_api.model import I64, Buckets, Columns, Loaded
from data_api.promql.context import Annotations, Budget, Options
from data_api.promql.nodes import VectorSelector
from data_api.promql.pool import Pool


class SampleCounts:
    """How many samples each step looks at. by_step: (m,), or None, where nobody asks.

    A selector looks at one sample a series, a window at all it holds, whether they were stored or
    computed by a subquery; a bucket of a rollup and a native histogram count as one.
    Source: Prometheus `util/stats/query_stats.go`, `totalQueryableSamples`.
    """

    def __init__(self, steps: int | None = None) -> None:
        self.by_step: I64 | None = None if steps is None else np.zeros(steps, np.int64)

    def points(self, indexes: I64) -> None:
        """Adds those of (n, m) `indexes` that are not -1."""
        if self.by_step is not None:
            self.by_step += (indexes >= 0).sum(axis=0)

    def windows(self, timestamps_ms: I64, ends_ms: I64, range_ms: int) -> None:
        """Adds what lies in the windows ``(end - range_ms, end]`` of each step."""
        if self.by_step is not None:
            times = np.sort(timestamps_ms)
            self.by_step += np.searchsorted(times, ends_ms, "right")
            self.by_step -= np.searchsorted(times, ends_ms - range_ms, "right")


@dataclass(slots=True)
class Query:
    """What all evaluators of one query share: its own times, its samples, its notes.

    samples: by the selector's place in the text.
    """

    start_ms: int
    end_ms: int
    step_ms: int
    lookback_ms: int
    options: Options
    samples: Mapping[int, Loaded]
    notes: Annotations
    budget: Budget
    pool: Pool
    counts: SampleCounts = field(default_factory=SampleCounts)

    def buckets(self, selector: VectorSelector) -> Buckets | None:
        """The buckets that were loaded for a selector, which is noted, or None: samples were."""
        loaded = self.samples[selector.span.start]
        if isinstance(loaded, Columns):
            return None
        minutes = loaded.resolution_ms // 60_000
        message = f"read from rollups of {minutes} minutes, which give the answer of the samples"
        self.notes.add("info", message, selector.span)
        return loaded

    @property
    def instant(self) -> bool:
        """Whether the query asks for one time."""
        return self.start_ms == self.end_ms
