"""How many samples each step of a query looks at; counted only where somebody asks.

A selector looks at one sample a series, a window at all it holds, whether they were stored or
computed by a subquery; a bucket of a rollup and a native histogram count as one.
Source: Prometheus `util/stats/query_stats.go`, `totalQueryableSamples`.
"""

import numpy as np

from data_api.model import I64


class SampleCounts:
    """by_step: (m,), or None, where nobody asks."""

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
