"""Functions of windows that hold native histograms; windows of floats alone are the kernels' work.

    a series     h h h │ f f │ h h      h: histogram, f: float
    windows      └─ h: here  └─ both: most functions drop it, with a warning
                       └─ f: what the kernel made stays

Samples of a series are mostly of one layout: then its buckets are the columns of one matrix, and
its resets are found once for all windows. Source: Prometheus `promql/functions.go`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

import numpy as np

from data_api.errors import TooManySamples
from data_api.model import F64, I64, METRIC_NAME, Bools, is_histogram
from data_api.native_histogram import (
    CUSTOM,
    Aligned,
    Hint,
    Histogram,
    IncompatibleBucketsError,
    aligned,
    joined_hint,
)
from data_api.promql.context import Notes
from data_api.promql.kernels import grouping
from data_api.promql.kernels import growth as kernels
from data_api.promql.kernels.windows import find_windows
from data_api.promql.pool import Pool
from data_api.promql.values import Windows, checkpoint, drop_samples

BOTH_KINDS: Final = frozenset(
    {
        "count_over_time",
        "first_over_time",
        "last_over_time",
        "present_over_time",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
    }
)
"""These only choose or count samples, of either kind: the kernels do it."""
SUMS: Final = {
    "sum": grouping.SUM,
    "avg": grouping.AVG,
    "sum_over_time": grouping.SUM,
    "avg_over_time": grouping.AVG,
}
COUNTER_FUNCTIONS: Final = frozenset({"rate", "increase", "irate"})
EXTRAPOLATED: Final = {"rate": kernels.RATE, "increase": kernels.INCREASE, "delta": kernels.DELTA}
COMPARED: Final = frozenset({"changes", "resets"})
NATIVE: Final = frozenset({*SUMS, *EXTRAPOLATED, *COMPARED, "irate", "idelta"})


def summed(
    name: str, histograms: Sequence[Histogram], rows: Aligned | None, notes: Notes
) -> Histogram:
    """The sum or mean, by `name`, of histograms; rows: them aligned, where they are already.

    Raises IncompatibleBucketsError and TooManySamples.
    """
    rows = aligned(histograms) if rows is None else rows
    hint, is_conflict = joined_hint(histograms)
    if is_conflict:
        notes.conflicting("aggregation")
    if rows.is_reconciled:
        notes.reconciled("aggregation")
    shape = (1, rows.rows.shape[1])
    out, present = np.zeros(shape), np.zeros(shape, np.bool_)
    is_given, groups = np.ones(rows.rows.shape, np.bool_), np.zeros(len(rows.rows), np.int64)
    grouping.aggregate(SUMS[name], rows.rows, is_given, groups, out, present)
    return rows.histogram(out[0], hint)


def _edges_of(times: I64, windows: Windows, steps: int) -> tuple[I64, I64]:
    """First sample and end of each of the windows over one series' samples, (steps,) each; of
    windows that are anchored or smoothed, with what tells of their edges.
    """
    starts, stops = np.zeros(steps, np.int64), np.zeros(steps, np.int64)
    series = times, 0, times.size, np.ascontiguousarray(windows.ends_ms[:steps]), windows.range_ms
    if not windows.edges:
        find_windows(*series, starts, stops)
        return starts, stops
    is_smoothed = int(windows.edges == "smoothed")
    kernels.find_edges(*series, windows.reach_ms, is_smoothed, starts, stops)
    return np.where(stops < 0, 0, starts), stops + 1


def float_windows(windows: Windows, steps: int, notes: Notes) -> Windows:
    """The windows without histograms, for functions that know floats only; an info where a window
    holds both.
    """
    columns = windows.columns
    is_native = is_histogram(columns.values)
    for row in _rows_with(is_native, columns.offsets):
        samples = slice(int(columns.offsets[row]), int(columns.offsets[row + 1]))
        starts, stops = _edges_of(columns.timestamps_ms[samples], windows, steps)
        before = np.concatenate(([0], np.cumsum(is_native[samples])))
        natives = before[stops] - before[starts]
        if ((natives > 0) & (natives < stops - starts)).any():
            metric = columns.labels[row].get(METRIC_NAME, "")
            notes.info(
                "ignored histograms in a range containing both floats and histograms"
                f' for metric name "{metric}"'
            )
    return replace(windows, columns=drop_samples(columns, is_native))


def _rows_with(is_native: Bools, offsets: I64) -> list[int]:
    before = np.concatenate(([0], np.cumsum(is_native)))
    rows: list[int] = np.flatnonzero(np.diff(before[offsets])).tolist()
    return rows


def fill(  # noqa: PLR0917 - what is computed, of what, where it goes
    name: str, windows: Windows, pool: Pool, notes: Notes, out: F64, present: Bools
) -> None:
    """Replace in `out` and `present` (n, steps) what windows with histograms give."""
    columns = windows.columns
    bits = out.view(np.int64)
    for row in _rows_with(is_histogram(columns.values), columns.offsets):
        samples = slice(int(columns.offsets[row]), int(columns.offsets[row + 1]))
        metric = columns.labels[row].get(METRIC_NAME, "")
        series = _Series(windows, samples, pool, replace(notes, metric=metric))
        starts, stops = _edges_of(series.times, windows, out.shape[1])
        if name in COMPARED:
            differs = series.changed if name == "changes" else series.fell
            before = np.concatenate(([0], np.cumsum(differs)))
            present[row] = stops > starts
            out[row] = before[stops] - before[np.minimum(starts + 1, stops)]
            continue
        natives = np.concatenate(([0], np.cumsum(series.is_native)))
        for step in np.flatnonzero(natives[stops] > natives[starts]).tolist():
            checkpoint()
            window = slice(int(starts[step]), int(stops[step]))
            result = series.result(name, window, int(windows.ends_ms[step]))
            present[row, step] = result is not None
            if result is not None:
                bits[row, step] = pool.add(result)


class _Series:
    """The samples of one series, some of which are histograms.

    A `window` of them is a slice of its samples, in ``(end_ms - range_ms, end_ms]``; of windows
    with edges of their own, those around too.
    """

    def __init__(self, windows: Windows, samples: slice, pool: Pool, notes: Notes) -> None:
        self.range_ms = windows.range_ms
        self.edges = windows.edges
        self.times = windows.columns.timestamps_ms[samples]
        self.values = windows.columns.values[samples]
        self.notes = notes
        self.is_native = is_histogram(self.values)
        self.histograms: list[Histogram | None] = [None] * self.values.size
        places = np.flatnonzero(self.is_native)
        for place, histogram in zip(places.tolist(), pool.of(self.values[places]), strict=True):
            self.histograms[place] = histogram

    @cached_property
    def changed(self) -> Bools:
        """(n,) whether each sample differs from the one before."""
        values = self.values
        differs = np.ones(values.size, np.bool_)
        same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
        differs[1:] = ~same
        return self._compared(differs, lambda now, before: not now.equals(before))

    @cached_property
    def fell(self) -> Bools:
        """(n,) whether a counter reset lies between each sample and the one before."""
        if self.whole is not None:
            return self.whole.falls([h.hint for h in self.histograms if h is not None])
        differs = np.zeros(self.values.size, np.bool_)
        differs[1:] = self.values[1:] < self.values[:-1]
        return self._compared(differs, Histogram.fell_from)

    def _compared(self, differs: Bools, differ: Callable[[Histogram, Histogram], bool]) -> Bools:
        """`differs` of floats, completed: a change of kind is a difference."""
        for place in range(1, self.values.size):
            checkpoint()
            now, before = self.histograms[place], self.histograms[place - 1]
            if now is not None and before is not None:
                differs[place] = differ(now, before)
            elif now is not before:
                differs[place] = True
        return differs

    @cached_property
    def whole(self) -> Aligned | None:
        """All histograms as the rows of one matrix; None when their layouts differ, when there are
        floats among them, or when it is too large.
        """
        natives = [histogram for histogram in self.histograms if histogram is not None]
        if len(natives) < len(self.histograms) or len({h.layout for h in natives}) > 1:
            return None
        try:
            return aligned(natives, checkpoint=checkpoint)
        except TooManySamples:
            return None

    def result(self, name: str, window: slice, end_ms: int) -> Histogram | None:
        """The function's value over a window with a histogram; None when it has none."""
        try:
            if name in {"irate", "idelta"}:
                return self._instant(name, window)
            natives = [h for h in self.histograms[window] if h is not None]
            if len(natives) < window.stop - window.start:
                self.notes.mixed()
                return None
            if name in SUMS:
                if self.whole is None:
                    rows = aligned(natives, checkpoint=checkpoint)
                else:
                    rows = replace(self.whole, rows=self.whole.rows[window])
                return summed(name, natives, rows, self.notes)
            if self.edges:
                return self._edge_growth(name, natives, window, end_ms)
            return self._growth(name, natives, window, end_ms) if len(natives) > 1 else None
        except IncompatibleBucketsError:
            self.notes.incompatible()
            return None

    def _check_kind(self, natives: list[Histogram], *, is_counter: bool) -> None:
        """A note where gauges are taken for a counter, or a counter for a gauge."""
        gauges = [histogram.hint is Hint.GAUGE for histogram in natives]
        if is_counter and any(gauges):
            self.notes.of_metric("this native histogram metric is not a counter:")
        elif not is_counter and not (gauges[0] and gauges[-1]):
            self.notes.of_metric("this native histogram metric is not a gauge:")

    def _instant(self, name: str, window: slice) -> Histogram | None:
        """From the last two samples: irate, idelta. Source: `instantValue`."""
        if window.stop - window.start < 2:
            return None
        before, now = self.histograms[window.stop - 2 : window.stop]
        if before is None or now is None:
            self.notes.mixed()
            return None
        self._check_kind([before, now], is_counter=name == "irate")
        if name == "irate" and self.fell[window.stop - 1]:
            result = replace(now, hint=Hint.GAUGE)
        else:
            both = aligned([before, now])
            if both.is_reconciled:
                self.notes.reconciled("subtraction")
            result = both.histogram(both.rows[1] - both.rows[0], Hint.GAUGE)
        if name == "idelta":
            return result
        seconds = (self.times[window.stop - 1] - self.times[window.stop - 2]) / 1000.0
        return result.divided(float(seconds))

    def _growth(self, name: str, natives: list[Histogram], window: slice, end_ms: int) -> Histogram:
        """rate, increase and delta. Source: `histogramRate` and `extrapolatedRate`."""
        is_counter = name in COUNTER_FUNCTIONS
        self._check_kind(natives, is_counter=is_counter)
        resets: list[int] = []
        if is_counter:
            resets = (np.flatnonzero(self.fell[window.start + 1 : window.stop]) + 1).tolist()
        # What came before a reset of the first sample does not count, so neither do its buckets.
        starts_at_zero = resets[:1] == [1]
        before_resets = [at - 1 for at in resets if at > 1]
        needed = [*([] if starts_at_zero else [0]), *before_resets, len(natives) - 1]
        whole = self.whole
        if whole is None:
            schemas = [h.layout.schema for h in natives[starts_at_zero:]] if is_counter else []
            if len({schema == CUSTOM for schema in schemas}) > 1:
                raise IncompatibleBucketsError
            schema_max = min(schemas, default=CUSTOM)
            whole = aligned([natives[at] for at in needed], schema_max, checkpoint)
            rows = whole.rows
        else:
            rows = whole.rows[window.start + np.array(needed)]
        if whole.is_reconciled:
            self.notes.reconciled("subtraction")
        growth = rows[-1] + rows[(0 if starts_at_zero else 1) : -1].sum(axis=0)
        if not starts_at_zero:
            growth -= rows[0]
        factor = kernels.extrapolation(
            EXTRAPOLATED[name],
            end_ms - self.range_ms,
            end_ms,
            self.times[window.start],
            self.times[window.stop - 1],
            window.stop - window.start - 1,
            natives[0].count,
            growth[0],
        )
        return whole.histogram(growth * factor, Hint.GAUGE)

    def _edge_growth(
        self, name: str, natives: list[Histogram], window: slice, end_ms: int
    ) -> Histogram:
        """rate, increase and delta from edge to edge; as `kernels.from_edges`."""
        is_counter = name in COUNTER_FUNCTIONS
        self._check_kind(natives, is_counter=is_counter)
        times = self.times[window]
        falls = self.fell[window] & is_counter
        whole = aligned(natives, checkpoint=checkpoint)
        rows, start_ms = whole.rows, end_ms - self.range_ms
        is_cut = self.edges == "smoothed" and times[0] < start_ms
        low, high = rows[0], rows[-1]
        if is_cut:
            share = (start_ms - times[0]) / (times[1] - times[0])
            low = rows[1] * share if falls[1] else rows[0] + (rows[1] - rows[0]) * share
        if times[-1] > end_ms:
            before, share = rows[-2], (end_ms - times[-2]) / (times[-1] - times[-2])
            if falls[-1] and is_cut and times.size == 2:
                before = np.zeros_like(before)
            high = before + (rows[-1] if falls[-1] else rows[-1] - before) * share
        counted = falls & (times <= end_ms)
        counted[: 1 + is_cut] = False
        growth = high - low + rows[np.flatnonzero(counted) - 1].sum(axis=0)
        if name == "rate":
            growth = growth / (self.range_ms / 1000.0)
        return whole.histogram(growth, Hint.GAUGE)
