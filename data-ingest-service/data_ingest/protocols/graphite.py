"""Graphite's plaintext protocol: a sample a line.

    servers.web-1.load;dc=eu 0.5 1700000000  ─▶  servers_web_1_load{dc="eu"} 0.5

A time of -1, or none, is the time at which the line came.
Source: Graphite documentation, "Feeding In Your Data", "Graphite Tag Support".
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from data_ingest.errors import InvalidLabels
from data_ingest.kernels.hashing import hash_texts, seed_for
from data_ingest.model import RawLabels, SampleBatch
from data_ingest.protocols.names import joined, metric_name
from data_ingest.protocols.text_lines import MALFORMED_LINE, Received, RefusedLines, whole_lines

_S_MAX: Final = 2**53 / 1000
_NOW: Final = -1.0
_SEED: Final = seed_for(b"graphite")


def decode(received: Sequence[Received]) -> SampleBatch:
    """The sample of each line that can be read; the others are refused, one each."""
    refused = RefusedLines()
    paths: list[bytes] = []
    numbers: list[float] = []
    times_s: list[float] = []
    arrived_ms: list[int] = []
    for text, at_ms in received:
        for line in whole_lines(text, refused):
            path, *rest = line.split() or (b"",)
            if not path:
                continue
            try:
                number, time_s = float(rest[0]), float(rest[1]) if len(rest) > 1 else _NOW
            except (ValueError, IndexError):
                number = time_s = np.nan
            paths.append(path)
            # Python's numbers may have a `_` between digits.
            numbers.append(np.nan if len(rest) > 2 or b"_" in b"".join(rest) else number)
            times_s.append(time_s)
        arrived_ms += [at_ms] * (len(paths) - len(arrived_ms))
    values, seconds = np.array(numbers, np.float64), np.array(times_s, np.float64)
    is_storable = np.isfinite(values) & (np.abs(seconds) <= _S_MAX)
    for row in np.flatnonzero(~is_storable).tolist():
        refused.add(MALFORMED_LINE, paths[row], "no number and seconds after the path")
    with np.errstate(invalid="ignore"):
        own_ms = np.rint(seconds * 1000).astype(np.int64)
    return SampleBatch(
        keys=hash_texts(paths, _SEED),
        series_of=np.flatnonzero(is_storable),
        timestamps_ms=np.where(seconds == _NOW, np.array(arrived_ms, np.int64), own_ms)[
            is_storable
        ],
        values=values[is_storable],
        labels_at=lambda row: _labels(paths[row]),
        refused=refused.counts,
        first_error=refused.first_error,
    )


def _labels(path: bytes) -> RawLabels:
    """The path with `_` for what no name holds, and the tags."""
    name, *tags = path.split(b";")
    pairs = [(key, value) for key, _, value in (tag.partition(b"=") for tag in tags)]
    if not (name and all(key and value for key, value in pairs)):
        raise InvalidLabels(detail=f"it is path;tag=value…, not {path[:100]!r}")
    return [(b"__name__", metric_name(name)), *joined(pairs).items()]
