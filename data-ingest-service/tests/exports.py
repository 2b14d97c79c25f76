"""Exports as das writes them, slow and obvious: NDJSON and CSV."""

import json
import math
import struct
from collections.abc import Sequence

from tests.stored_values import STALE_BITS

Labels = dict[str, str]
Series = tuple[Labels, Sequence[tuple[int, int]]]
"""Labels, and (timestamp in ms, bits of the value) of each sample."""


def value_of(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def _json_value(bits: int) -> str | float | None:
    value = value_of(bits)
    if bits == STALE_BITS:
        return None
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def ndjson(series: Sequence[Series]) -> bytes:
    lines = (
        json.dumps(
            {
                "metric": labels,
                "values": [_json_value(bits) for _, bits in samples],
                "timestamps": [at for at, _ in samples],
            },
            ensure_ascii=False,
        )
        for labels, samples in series
    )
    return "".join(line + "\n" for line in lines).encode()


def csv(series: Sequence[Series]) -> bytes:
    lines = ["metric,timestamp_ms,value"]
    for labels, samples in series:
        metric = json.dumps(labels, ensure_ascii=False).replace('"', '""')
        lines += [f'"{metric}",{at},{value_of(bits)!r}' for at, bits in samples]
    return ("\n".join(lines) + "\n").encode()
