"""Native histograms: the value of a sample that is a whole distribution; pure numpy.

    exponential     [-2, -1)  [-1, -0.5)   [-t, t]   (0.5, 1]   (1, 2]      t: the zero threshold
    keys             -S-1      -S            0         S          S+1       S: KEY_OF_BUCKET_0
    custom bounds                           [-Inf, b0]  (b0, b1]  (b1, +Inf]

A key orders a histogram's buckets by value, whichever side they are on. Only the buckets that were
written are there, so a wide gap costs nothing. Of our modules imports only `errors`.
Source: Prometheus `model/histogram/float_histogram.go`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from data_api.errors import TooManySamples

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

CUSTOM: Final = -53
SCHEMA_MAX: Final = 8
GO_ROOT_OF_2: Final = 1.414213562373095
KEY_OF_BUCKET_0: Final = 1 << 40  # beyond every index of a bucket, which fits int32
BUCKETS: Final = slice(2, None)  # of `Histogram.numbers`; before them stand count and sum
ROWS_MAX: Final = 8_000_000  # counts of histograms that are computed together: 64 MB
FLOAT_MAX: Final = float(np.finfo(np.float64).max)
EXPONENT_MAX: Final = 5000  # far past any float64, and fits the int32 that ldexp takes
NO_KEYS: Final[I64] = np.empty(0, np.int64)


class Hint(IntEnum):
    """What is known of a counter reset between a histogram and the one before it."""

    UNKNOWN = 0
    RESET = 1
    NOT_RESET = 2
    GAUGE = 3


class IncompatibleBucketsError(Exception):
    """One histogram has exponential buckets, the other custom bounds."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which buckets there can be. bounds: the custom ones, ascending, without +Inf."""

    schema: int
    zero_threshold: float = 0.0
    bounds: tuple[float, ...] = ()

    @property
    def is_custom(self) -> bool:
        """Whether the buckets have custom bounds."""
        return self.schema == CUSTOM


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """keys: int64 (b,), strictly ascending. numbers: float64 (2 + b,): count, sum, then the count
    of each bucket. The zero bucket is the one with key 0.
    """

    layout: Layout
    keys: I64
    numbers: F64
    hint: Hint = Hint.UNKNOWN

    @property
    def count(self) -> float:
        """How many observations."""
        return float(self.numbers[0])

    @property
    def sum(self) -> float:
        """Of all observations."""
        return float(self.numbers[1])

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.keys.nbytes + self.numbers.nbytes

    def filled(self) -> tuple[I64, F64]:
        """Keys and counts of the buckets that are not empty."""
        counts = self.numbers[BUCKETS]
        is_filled = counts != 0
        return self.keys[is_filled], counts[is_filled]

    def times(self, factor: float) -> "Histogram":
        """Every count and the sum multiplied; a negative one is a gauge."""
        hint = Hint.GAUGE if factor < 0 else self.hint
        return replace(self, numbers=self.numbers * factor, hint=hint)

    def divided(self, divisor: float) -> "Histogram":
        """Every count and the sum divided; by zero only count, sum and zero bucket stay."""
        with np.errstate(all="ignore"):
            numbers = self.numbers / divisor
        hint = Hint.GAUGE if divisor < 0 else self.hint
        if divisor == 0:
            is_left = np.concatenate(([True, True], self.keys == 0))
            return Histogram(self.layout, self.keys[self.keys == 0], numbers[is_left], hint)
        return replace(self, numbers=numbers, hint=hint)

    def equals(self, other: "Histogram") -> bool:
        """Whether both are the same, empty buckets and the hint aside; NaN equals NaN."""
        keys, counts = self.filled()
        other_keys, other_counts = other.filled()
        return (
            self.layout == other.layout
            and np.array_equal(self.numbers[:2], other.numbers[:2], equal_nan=True)
            and np.array_equal(keys, other_keys)
            and np.array_equal(counts, other_counts, equal_nan=True)
        )

    def edges(self) -> tuple[F64, F64]:
        """Lower and upper bound of each bucket."""
        if self.layout.is_custom:
            bounds = np.array((-np.inf, *self.layout.bounds, np.inf))
            indexes = self.keys - KEY_OF_BUCKET_0
            return bounds[indexes], bounds[indexes + 1]
        indexes = np.abs(self.keys) - KEY_OF_BUCKET_0
        near, far = _bounds(self.layout.schema, indexes - 1), _bounds(self.layout.schema, indexes)
        zero = self.layout.zero_threshold
        lowers = np.where(self.keys > 0, near, np.where(self.keys < 0, -far, -zero))
        uppers = np.where(self.keys > 0, far, np.where(self.keys < 0, -near, zero))
        return lowers, uppers

    def widened(self, threshold: float) -> "Histogram":
        """The zero threshold at least `threshold`, and never inside a bucket that is not empty.

        Source: `zeroCountForLargerThreshold`.
        """
        if self.layout.zero_threshold >= threshold:
            return self
        indexes = np.abs(self.keys) - KEY_OF_BUCKET_0
        near, far = _bounds(self.layout.schema, indexes - 1), _bounds(self.layout.schema, indexes)
        is_filled = (self.keys != 0) & (self.numbers[BUCKETS] != 0)
        while (inside := is_filled & (near < threshold) & (far > threshold)).any():
            threshold = float(far[inside].max())
        keys = np.where((self.keys == 0) | (near < threshold), 0, self.keys)
        return _collapsed(replace(self.layout, zero_threshold=threshold), keys, self)

    def coarser(self, schema: int) -> "Histogram":
        """The same in the wider buckets of a lower exponential schema. Source: `targetIdx`."""
        if schema == self.layout.schema:
            return self
        indexes = np.abs(self.keys) - KEY_OF_BUCKET_0
        wider = ((indexes - 1) >> (self.layout.schema - schema)) + 1 + KEY_OF_BUCKET_0
        keys = np.where(self.keys == 0, 0, np.sign(self.keys) * wider)
        return _collapsed(replace(self.layout, schema=schema), keys, self)

    def rebound(self, bounds: tuple[float, ...]) -> "Histogram":
        """The same with some of its custom bounds only."""
        if bounds == self.layout.bounds:
            return self
        uppers = self.edges()[1]
        keys = np.searchsorted(np.array(bounds, np.float64), uppers) + KEY_OF_BUCKET_0
        return _collapsed(replace(self.layout, bounds=bounds), keys, self)

    def fell_from(self, before: "Histogram") -> bool:
        """Whether a counter reset lies between `before` and this one. Source: `DetectReset`."""
        if self.hint in {Hint.RESET, Hint.NOT_RESET}:
            return self.hint is Hint.RESET
        old, new = before.layout, self.layout
        if self.count < before.count or old.is_custom != new.is_custom:
            return True
        if not new.is_custom:
            if new.schema > old.schema or new.zero_threshold < old.zero_threshold:
                return True
            before = before.widened(new.zero_threshold)
            if before.layout.zero_threshold != new.zero_threshold:
                return True
        return bool(aligned([before, self]).falls([self.hint, self.hint])[1])


def _fractions() -> F64:
    """Bounds in [0.5, 1) of the highest schema, (256,); a lower one has every second of the next.

    To the last bit those of Prometheus and its client libraries, whose root of 2, as Go computes
    it, is one unit in the last place too small.
    Source: client_golang `nativeHistogramBounds`, the comment on how it was made.
    """
    fractions = np.array([0.5])
    roots = [2.0**2.0**-schema for schema in range(2, SCHEMA_MAX + 1)]
    for root in (GO_ROOT_OF_2, *roots):
        fractions = np.stack((fractions, fractions * root), axis=1).ravel()
    return fractions


FRACTIONS: Final = _fractions()


def _bounds(schema: int, indexes: I64) -> F64:
    """Upper bounds of positive exponential buckets. Source: `getBoundExponential`."""
    if schema < 0:
        exponents = indexes << -schema
        fractions = np.ones(indexes.size)
        is_last = exponents == 1024
    else:
        fractions = FRACTIONS[(indexes << (SCHEMA_MAX - schema)) & (FRACTIONS.size - 1)]
        exponents = (indexes >> schema) + 1
        is_last = (fractions == 0.5) & (exponents == 1025)
    exponents = np.clip(exponents, -EXPONENT_MAX, EXPONENT_MAX).astype(np.int32)
    with np.errstate(all="ignore"):
        return np.where(is_last, FLOAT_MAX, np.ldexp(fractions, exponents))


def _collapsed(layout: Layout, keys: I64, old: Histogram) -> Histogram:
    """`old` with new keys, ascending; buckets that have one key now are one."""
    if not keys.size:
        return replace(old, layout=layout)
    firsts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    counts = np.add.reduceat(old.numbers[BUCKETS], firsts)
    return Histogram(layout, keys[firsts], np.concatenate((old.numbers[:2], counts)), old.hint)


@dataclass(frozen=True, slots=True)
class Aligned:
    """Histograms brought to the same buckets. rows: (k, 2 + b), one a histogram, as `numbers`.

    is_reconciled: their custom bounds differed, and those they share were taken.
    """

    layout: Layout
    keys: I64
    rows: F64
    is_reconciled: bool = False

    def histogram(self, numbers: F64, hint: Hint) -> Histogram:
        """One of these buckets."""
        return Histogram(self.layout, self.keys, numbers, hint)

    def falls(self, hints: Sequence[Hint]) -> Bools:
        """(k,) whether a counter reset lies between each row and the one before, as `fell_from`
        says it of histograms of one layout.
        """
        lower = self.rows[1:] < self.rows[:-1]
        lower[:, 1] = False  # the sum may fall
        falls = np.concatenate(([False], lower.any(axis=1)))
        falls[[hint is Hint.NOT_RESET for hint in hints]] = False
        falls[[hint is Hint.RESET for hint in hints]] = True
        return falls


def aligned(
    histograms: Sequence[Histogram],
    schema_max: int = CUSTOM,
    checkpoint: Callable[[], None] = lambda: None,
) -> Aligned:
    """All of them, not none, in buckets that each can be brought to: the coarsest resolution, the
    largest zero threshold, or the custom bounds that all have. schema_max: no exponential schema
    above it (the default sets no bound). checkpoint: called for each, before it is brought to them.

    Raises IncompatibleBucketsError for a mix of exponential and custom ones, and TooManySamples for
    more than ROWS_MAX counts.
    """
    parts, is_reconciled = _same_layout(histograms, schema_max, checkpoint)
    keys = parts[0].keys
    if not all(part.keys is keys or np.array_equal(part.keys, keys) for part in parts):
        keys = np.unique(np.concatenate([part.keys for part in parts]))
        if len(parts) * keys.size > ROWS_MAX:
            raise TooManySamples(needed=len(parts) * keys.size, limit=ROWS_MAX)
        rows = np.zeros((len(parts), 2 + keys.size))
        for row, part in zip(rows, parts, strict=True):
            checkpoint()
            row[:2] = part.numbers[:2]
            row[2 + np.searchsorted(keys, part.keys)] = part.numbers[BUCKETS]
    else:
        rows = np.stack([part.numbers for part in parts])
    return Aligned(parts[0].layout, keys, rows, is_reconciled)


def _same_layout(
    histograms: Sequence[Histogram], schema_max: int, checkpoint: Callable[[], None]
) -> tuple[Sequence[Histogram], bool]:
    layouts = {histogram.layout for histogram in histograms}
    is_custom = histograms[0].layout.is_custom
    if any(layout.is_custom != is_custom for layout in layouts):
        raise IncompatibleBucketsError
    if is_custom:
        if len(layouts) == 1:
            return histograms, False
        shared = set.intersection(*(set(layout.bounds) for layout in layouts))
        bounds = tuple(sorted(shared))
        return [one.rebound(bounds) for one in _stopping(histograms, checkpoint)], True
    schema = min(layout.schema for layout in layouts)
    if schema_max != CUSTOM:
        schema = min(schema, schema_max)
    if len(layouts) == 1 and schema == histograms[0].layout.schema:
        return histograms, False
    threshold = max(layout.zero_threshold for layout in layouts)
    while True:  # ends: each round raises it to the upper bound of another filled bucket
        parts = [one.widened(threshold) for one in _stopping(histograms, checkpoint)]
        widest = max(part.layout.zero_threshold for part in parts)
        if widest == threshold:
            return [part.coarser(schema) for part in _stopping(parts, checkpoint)], False
        threshold = widest


def _stopping(
    histograms: Sequence[Histogram], checkpoint: Callable[[], None]
) -> Iterator[Histogram]:
    for histogram in histograms:
        checkpoint()
        yield histogram


def joined_hint(histograms: Sequence[Histogram]) -> tuple[Hint, bool]:
    """The hint of their sum, and whether some say that a counter reset lies before them and others
    that none does. Source: `adjustCounterReset`.
    """
    hints = {histogram.hint for histogram in histograms}
    is_conflict = {Hint.RESET, Hint.NOT_RESET} <= hints
    if Hint.GAUGE in hints:
        return Hint.GAUGE, is_conflict
    return (hints.pop() if len(hints) == 1 else Hint.UNKNOWN), is_conflict
