"""Native histograms as docs/formats/histogram.md writes them, without a line of the reader."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HISTOGRAM_BITS = 0x7FFC_0C0B_0000_0000
CUSTOM = -53


@dataclass(frozen=True)
class Written:
    """positive, negative: (index, count) of buckets, ascending. is_float: of their counts."""

    schema: int = 0
    positive: tuple[tuple[int, int], ...] = ()
    negative: tuple[tuple[int, int], ...] = ()
    zero: int = 0
    zero_threshold: float = 0.0
    total: float = 0.0
    hint: int = 0
    bounds: tuple[float, ...] = ()
    is_float: bool = False

    @property
    def count(self) -> int:
        """All observations."""
        return self.zero + sum(n for _, n in (*self.positive, *self.negative))

    def encoded(self) -> bytes:
        """The message, numbers packed where they repeat."""
        kind = self.is_float
        parts = [
            _double(2, self.count) if kind else _number(1, self.count),
            _double(3, self.total),
            _number(4, _zigzag(self.schema)),
            _double(5, self.zero_threshold),
            _double(7, self.zero) if kind else _number(6, self.zero),
            *_side(self.negative, 8, kind),
            *_side(self.positive, 11, kind),
            _number(14, self.hint),
            _packed(16, self.bounds),
        ]
        return b"".join(parts)


def stored_batch(values: Iterable[float | bytes]) -> tuple[list[float], bytes]:
    """The value column and what follows the columns of a batch, docs/formats/batch.md."""
    marked, histograms = marked_values(values)
    sizes = struct.pack(f"<{len(histograms)}I", *map(len, histograms))
    return marked, sizes + b"".join(histograms)


def marked_values(values: Iterable[float | bytes]) -> tuple[list[float], list[bytes]]:
    """Values in which each histogram is its NaN, and the histograms in order."""
    (marker,) = struct.unpack("<d", struct.pack("<Q", HISTOGRAM_BITS))
    items = list(values)
    histograms = [item for item in items if isinstance(item, bytes)]
    return [marker if isinstance(item, bytes) else item for item in items], histograms


def _side(buckets: Sequence[tuple[int, int]], first: int, is_float: bool) -> list[bytes]:
    spans: list[tuple[int, int]] = []
    following = 0
    for index, _ in buckets:
        if spans and index == following:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((index - following, 1))
        following = index + 1
    counts = [count for _, count in buckets]
    deltas = [now - before for now, before in zip(counts, [0, *counts], strict=False)]
    messages = [_bytes(first, _number(1, _zigzag(at)) + _number(2, size)) for at, size in spans]
    if is_float:
        return [*messages, _packed(first + 2, counts)]
    return [*messages, _bytes(first + 1, b"".join(_varint(_zigzag(one)) for one in deltas))]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content if content else b""


def _packed(field: int, numbers: Sequence[float]) -> bytes:
    return _bytes(field, struct.pack(f"<{len(numbers)}d", *numbers))
