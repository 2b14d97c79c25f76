"""The native histograms of one query, and the values that name them.

    Vector.values   1.0   NaN(7)   NaN(8)             a value that is a histogram names its place:
    Pool            … 7 ─▶ Histogram, 8 ─▶ Histogram  whatever moves values moves histograms

Arithmetic would take such a value for a NaN, and leave its bits: whatever computes with floats
leaves histograms out first. A pool that is empty says that there are none to look for.
"""

from dataclasses import replace

import numpy as np

from data_api import histogram_codec
from data_api.model import (
    F64,
    HISTOGRAM_BITS,
    I64,
    INDEX_MASK,
    SAMPLE_BYTES,
    Bools,
    Columns,
    is_histogram,
)
from data_api.native_histogram import Hint, Histogram
from data_api.promql.context import Budget
from data_api.promql.values import Vector, checked

OBJECT_BYTES = 320  # of a histogram, beside its arrays: measured
COUNTED_BYTES = 1 << 20  # are counted at once


class Pool:
    """Histograms by place; stored ones are decoded when they are first looked at."""

    def __init__(self, budget: Budget) -> None:
        self.items: list[Histogram | bytes] = []
        self._budget = budget
        self._uncounted_bytes = 0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.items)

    def adopt(self, columns: Columns) -> Columns:
        """The same columns, whose histograms are of this pool."""
        if not columns.histograms:
            return columns
        values = columns.values.copy()
        values.view(np.int64)[is_histogram(values)] += len(self.items)
        self.items.extend(columns.histograms)
        return replace(columns, values=values, histograms=())

    def add(self, histogram: Histogram) -> np.int64:
        """The bits of a value that names a new histogram. Raises TooManySamples."""
        self.items.append(histogram)
        self._count(histogram)
        return np.int64(HISTOGRAM_BITS | (len(self.items) - 1))

    def _count(self, histogram: Histogram) -> None:
        """Its memory is part of the budget; also a checkpoint, every thousand or so."""
        self._uncounted_bytes += OBJECT_BYTES + histogram.nbytes
        if self._uncounted_bytes >= COUNTED_BYTES:
            self._budget.load(self._uncounted_bytes // SAMPLE_BYTES)
            self._uncounted_bytes = 0

    def of(self, values: F64) -> list[Histogram]:
        """The histograms that some values name. Raises CorruptData, TooManySamples."""
        histograms = []
        for place in (values.view(np.int64) & INDEX_MASK).tolist():
            item = self.items[place]
            if isinstance(item, bytes):
                item = self.items[place] = histogram_codec.decode(item)
                self._count(item)
            histograms.append(item)
        return histograms

    def floats(self, value: Vector) -> Vector:
        """The same without the samples that are histograms."""
        if not self.items:
            return value
        is_float = ~is_histogram(value.values)
        return replace(value, present=value.present & is_float).compact()

    def mask(self, value: Vector) -> Bools | None:
        """Which samples are histograms; None when none is."""
        if not self.items:
            return None
        histograms: Bools = value.present & is_histogram(value.values)
        return histograms if histograms.any() else None

    def compared(self, columns: Columns, places: I64) -> F64:
        """The values of the columns, of which the histograms at `places` say whether a counter
        reset lies before them, as the histogram before tells where they do not know it themselves.

        Source: Prometheus `chunkenc.HistogramStatsIterator`, which reads counts without buckets.
        """
        values = columns.values.copy()
        is_native = is_histogram(values)
        is_native[1:] &= is_native[:-1]
        is_native[columns.offsets[columns.offsets < values.size]] = False
        places = np.unique(places[places >= 0])
        for place in checked(places[is_native[places]].tolist()):
            before, now = self.of(columns.values[place - 1 : place + 1])
            if now.hint is Hint.UNKNOWN:
                hint = Hint.RESET if now.fell_from(before) else Hint.NOT_RESET
                values.view(np.int64)[place] = self.add(replace(now, hint=hint))
        return values

    def apart(self, columns: Columns) -> Columns:
        """Samples of a subquery: of two neighbours nothing is known any more."""
        places = np.flatnonzero(is_histogram(columns.values)) if self.items else ()
        if not len(places):
            return columns
        values = columns.values.copy()
        bits: I64 = values.view(np.int64)
        for place, histogram in zip(places, self.of(values[places]), strict=True):
            if histogram.hint in {Hint.RESET, Hint.NOT_RESET}:
                bits[place] = self.add(replace(histogram, hint=Hint.UNKNOWN))
        return replace(columns, values=values)
