"""Native histograms beside the samples that they are.

    values    2.5   H|0   7.0   H|1        H: HISTOGRAM_BITS, a NaN that no sender's sample keeps
    messages  m0, m1                       one protobuf message each

In memory the lower half of such a value is the number of its message, so that samples are sorted,
chosen and thrown away as all others; in batches and blocks it is 0, and the order says which.
Source: docs/formats/histogram.md; docs/adr/0020-native-histograms-and-exemplars.md.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_ingest.model import F64, I64, NAN_BITS, STALE_MARKER_BITS, U64

HISTOGRAM_BITS: Final = 0x7FFC_0C0B_0000_0000
ENDED: Final = HISTOGRAM_BITS | 0xFFFF_FFFF
"""Until it is packed, the stale marker that came as a histogram: it is counted as one."""
BYTES_OF_A_SAMPLE: Final = 64
"""So many bytes of messages weigh as one sample where memory is bounded by samples."""

Messages: TypeAlias = pa.LargeBinaryArray
NO_MESSAGES: Final[Messages] = pa.array([], pa.large_binary())


def are_histograms(values: F64) -> npt.NDArray[np.bool_]:
    """Which values stand for a histogram, by their upper half."""
    marks: npt.NDArray[np.bool_] = _bits(values).view(np.uint32)[1::2] == HISTOGRAM_BITS >> 32
    return marks


def places(values: F64) -> I64:
    """Where the histograms are, ascending."""
    return np.flatnonzero(are_histograms(values))


def marked(values: F64, at: I64, messages: Sequence[bytes]) -> tuple[F64, Messages]:
    """Samples of a request: those at `at` are `messages`, an empty one is a stale marker.

    A sender's own NaN that would read as a histogram is the ordinary NaN.
    """
    marks = are_histograms(values)
    if not (marks.any() or messages):
        return values, NO_MESSAGES
    bits = _bits(values).copy()
    bits[marks] = NAN_BITS
    bits[at] = [
        HISTOGRAM_BITS | number if message else ENDED for number, message in enumerate(messages)
    ]
    return bits.view(np.float64), pa.array(messages, pa.large_binary())


def joined(parts: Sequence[tuple[F64, Messages]]) -> tuple[F64, Messages]:
    """One after another."""
    values = [part[0] for part in parts]
    if not any(len(messages) for _, messages in parts):
        return np.concatenate(values), NO_MESSAGES
    before = 0
    for i, (_, messages) in enumerate(parts):
        values[i] = shifted(values[i], before)
        before += len(messages)
    return np.concatenate(values), pa.concat_arrays([messages for _, messages in parts])


def shifted(values: F64, before: int) -> F64:
    """The numbers count on after `before` messages."""
    if not before:
        return values
    bits = _bits(values)
    counts_on = are_histograms(values) & (bits != np.uint64(ENDED))
    later: U64 = bits + counts_on * np.uint64(before)
    return later.view(np.float64)


def in_order(values: F64, messages: Messages) -> tuple[F64, Messages]:
    """As they are stored: all histograms have the same bits, and messages the samples' order."""
    if not len(messages):
        return values, messages
    bits = _bits(values).copy()
    bits[bits == np.uint64(ENDED)] = STALE_MARKER_BITS
    marks = are_histograms(bits.view(np.float64))
    numbers = bits[marks] & np.uint64(0xFFFF_FFFF)
    bits[marks] = HISTOGRAM_BITS
    return bits.view(np.float64), messages.take(pa.array(numbers))


def numbered(values: F64) -> F64:
    """What `in_order` stored, with the numbers again."""
    marks = are_histograms(values)
    bits = _bits(values).copy()
    bits[marks] = HISTOGRAM_BITS + np.arange(marks.sum(), dtype=np.uint64)
    return bits.view(np.float64)


def compact(values: F64, messages: Messages) -> tuple[F64, Messages]:
    """The same without the messages that none of `values` has the number of."""
    if not len(messages):
        return values, messages
    ordered, chosen = in_order(values, messages)
    return numbered(ordered), chosen


def lengths(messages: Messages) -> I64:
    """The bytes of each message, (h,)."""
    sizes: I64 = pc.binary_length(messages).to_numpy()
    return sizes


def _bits(values: F64) -> U64:
    return np.ascontiguousarray(values).view(np.uint64)
