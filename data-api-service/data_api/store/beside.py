"""Native histograms beside columns of values; pure.

    values       1.0   NaN(0)   2.5   NaN(1)       the lower half of such a NaN is a place in
    histograms   [bytes, bytes]                    the array beside it

Stored columns number them all 0, since the order says enough; here columns are cut, joined and
sorted, so each value carries its place. Columns without histograms pay one look at an empty array.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from data_api.model import F64, I64, INDEX_MASK, OBJECT_BYTES, is_histogram

Histograms = npt.NDArray[np.object_]
"""(h,) of bytes, each as docs/formats/histogram.md says."""
NONE: Final[Histograms] = np.empty(0, np.object_)


def none() -> Histograms:
    """No histograms: what most columns have."""
    return NONE


def of(stored: Sequence[bytes]) -> Histograms:
    """An array of histograms."""
    histograms = np.empty(len(stored), np.object_)
    histograms[:] = stored
    return histograms


def nbytes(histograms: Histograms) -> int:
    """Memory of them."""
    return sum(map(len, histograms)) + OBJECT_BYTES * histograms.size


def number(values: F64) -> int:
    """Give the histograms among `values`, in place, their places in order; how many there are."""
    places = np.flatnonzero(is_histogram(values))
    bits: I64 = values.view(np.int64)
    bits[places] = (bits[places] & ~INDEX_MASK) | np.arange(places.size)
    return int(places.size)


def pick(values: F64, histograms: Histograms) -> tuple[F64, Histograms]:
    """`values`, numbered anew, and the histograms that they name."""
    if not histograms.size:
        return values, NONE
    named = histograms[values.view(np.int64)[is_histogram(values)] & INDEX_MASK]
    if named.size:
        values = values.copy()
        number(values)
    return values, named


def join(parts: Sequence[Any]) -> tuple[F64, Histograms]:
    """`values` of all parts, one after another, and their `histograms`."""
    if not any(part.histograms.size for part in parts):
        return np.concatenate([part.values for part in parts]), NONE
    before = [0, *accumulate(part.histograms.size for part in parts)]
    values = [shifted(part.values, start) for part, start in zip(parts, before, strict=False)]
    return np.concatenate(values), np.concatenate([part.histograms for part in parts])


def shifted(values: F64, before: int) -> F64:
    """`values` whose histograms stand `before` places later."""
    bits: I64 = values.view(np.int64)
    return np.where(is_histogram(values), bits + before, bits).view(np.float64)
