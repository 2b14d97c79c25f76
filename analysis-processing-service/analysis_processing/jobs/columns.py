"""A chunk of a result as compressed columns, written by the worker and read by the web process.

    zstd( u32 length | header JSON | series 0: values expected lower upper score | series 1: … )

Columns are little-endian float64 of the header's `steps`, NaN = nothing. The header holds
`start_ms`, `step_ms`, `steps` and each series' `labels` and `anomalies`. Reading needs the standard
library and zstd alone, so that the web process stays small.
"""

import json
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import cramjam

COLUMNS = ("values", "expected", "lower", "upper", "score")
Floats: TypeAlias = "array[float]"  # a subscript only type checkers know before Python 3.12
LEVEL = 3


def encode(header: dict[str, Any], columns: Iterable[bytes]) -> bytes:
    """A payload; `columns` are the float64 columns, five for each of `header["series"]`."""
    text = json.dumps(header, separators=(",", ":")).encode()
    raw = b"".join((struct.pack("<I", len(text)), text, *columns))
    assert len(raw) == 4 + len(text) + 40 * header["steps"] * len(header["series"])
    return bytes(cramjam.zstd.compress(raw, level=LEVEL))


def decode(payload: bytes) -> tuple[dict[str, Any], Iterator[dict[str, Floats]]]:
    """The header, and the columns of one series after another by name."""
    raw = memoryview(cramjam.zstd.decompress(payload))
    (length,) = struct.unpack_from("<I", raw)
    header = json.loads(bytes(raw[4 : 4 + length]))
    return header, _columns(raw[4 + length :], header["steps"], len(header["series"]))


def _columns(raw: memoryview, steps: int, series: int) -> Iterator[dict[str, Floats]]:
    size = 8 * steps
    for row in range(series):
        named = {}
        for place, name in enumerate(COLUMNS):
            at = (row * len(COLUMNS) + place) * size
            column = array("d")
            column.frombytes(raw[at : at + size])
            if sys.byteorder == "big":
                column.byteswap()
            named[name] = column
        yield named


def as_json(payload: bytes) -> Iterator[str]:
    """Each series of the chunk as the JSON object of docs/contracts.md §5; gaps are null."""
    header, columns = decode(payload)
    first, step, steps = header["start_ms"], header["step_ms"], header["steps"]
    times = json.dumps(list(range(first, first + step * steps, step)), separators=(",", ":"))
    for series, of_series in zip(header["series"], columns, strict=True):
        parts = [
            f'"labels":{json.dumps(series["labels"])}',
            f'"timestamps_ms":{times}',
            *(f'"{name}":{numbers(column)}' for name, column in of_series.items()),
            f'"anomalies":{json.dumps(series["anomalies"])}',
        ]
        yield "{" + ",".join(parts) + "}"


def numbers(column: Floats) -> str:
    """A JSON array; what JSON has no number for is null."""
    text = json.dumps(column.tolist(), separators=(",", ":"))
    return text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
