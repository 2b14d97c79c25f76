"""Which samples of a series lie in each window, native histograms included."""

import numpy as np

from data_api.model import I64
from data_api.promql.kernels import extended
from data_api.promql.values import Windows


def window_edges(times: I64, windows: Windows, steps: int) -> tuple[I64, I64]:
    """First sample and end of each of the windows over one series' samples, (steps,) each."""
    if windows.edges:
        return _far_edges(times, windows, steps)
    ends = windows.ends_ms[:steps]
    starts = np.searchsorted(times, ends - windows.range_ms, side="right")
    return starts, np.searchsorted(times, ends, side="right")


def _far_edges(times: I64, windows: Windows, steps: int) -> tuple[I64, I64]:
    """Of windows that are anchored or smoothed, with what tells of their edges."""
    lefts, rights = np.zeros(steps, np.int64), np.zeros(steps, np.int64)
    is_smoothed = int(windows.edges == "smoothed")
    ends = np.ascontiguousarray(windows.ends_ms[:steps])
    extended.find_edges(
        times, 0, times.size, ends, windows.range_ms, windows.reach_ms, is_smoothed, lefts, rights
    )
    return np.where(rights < 0, 0, lefts), rights + 1
