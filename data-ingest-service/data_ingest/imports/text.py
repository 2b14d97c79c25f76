"""Lines of text to samples: NDJSON as das and VictoriaMetrics export it, and OpenMetrics.

    {"metric":{"__name__":"up"},"values":[1,null,"NaN"],"timestamps":[1700000000000,…]}

`null` is a stale marker and "NaN" the number, so what das exports comes back bit for bit.
OpenMetrics is what `promtool tsdb dump-openmetrics` writes of TSDB blocks.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, NoReturn

import numpy as np

from data_ingest.errors import BadBody, InvalidLabels
from data_ingest.imports.options import Options, with_extra
from data_ingest.imports.pieces import Decoded, Fault, Piece, decoded, keys_of, refusals
from data_ingest.kernels import prometheus_text as kernel
from data_ingest.model import F64, I64, NAN_BITS, STALE_MARKER_BITS, RawLabels, SampleBatch
from data_ingest.protocols import prometheus_text
from data_ingest.protocols.prometheus_text import BadExposition, Exposition

NAMES: Final = {"metric", "timestamps", "values"}
_BITS: Final = {
    None: STALE_MARKER_BITS,
    "NaN": NAN_BITS,
    "Infinity": 0x7FF0_0000_0000_0000,
    "-Infinity": 0xFFF0_0000_0000_0000,
}
_TIME_MAX: Final = 2.0**53
_END_OF_FILE: Final = re.compile(rb"^# EOF\r?$", re.MULTILINE)


def decode_ndjson(piece: Piece, options: Options) -> Decoded:
    """The samples of each line; a line that cannot be read is a fault."""
    faults, series = list(piece.faults), list[tuple[RawLabels, F64, I64]]()
    for row, line in enumerate(piece.data.split(b"\n"), piece.first_row):
        try:
            if line.strip():
                series.append(_line(line, options))
        except (ValueError, RecursionError) as error:
            faults.append(Fault(row, str(error), line[:200].decode(errors="replace")))
    series_of = np.repeat(np.arange(len(series)), [values.size for _, values, _ in series])
    values = np.concatenate([np.empty(0), *(one for _, one, _ in series)])
    times = np.concatenate([np.empty(0, np.int64), *(one for _, _, one in series)])
    return decoded([labels for labels, _, _ in series], series_of, times, values, faults)


def labels_of(labels: Any, options: Options) -> RawLabels:
    """The labels that JSON has, with the import's own; ValueError for what has no such."""
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ValueError("labels are an object of texts")
    return with_extra([(name.encode(), value.encode()) for name, value in labels.items()], options)


def _line(line: bytes, options: Options) -> tuple[RawLabels, F64, I64]:
    """Labels, values and times of one series; ValueError says why it is none."""
    members = json.loads(line.decode(), parse_int=float, parse_constant=_no_constant)
    if not isinstance(members, dict) or members.keys() != NAMES:
        raise ValueError("not an object of metric, values and timestamps")
    values, times = members["values"], members["timestamps"]
    if not (isinstance(values, list) and isinstance(times, list) and len(values) == len(times)):
        raise ValueError("values and timestamps are not lists of one length")
    labels = labels_of(members["metric"], options)
    if {*map(type, times)} - {float} or not all(map(float.is_integer, times)):
        raise ValueError("timestamps are whole numbers")
    times_ms = np.array(times, np.float64)
    if times and np.abs(times_ms).max() > _TIME_MAX:
        raise ValueError("a timestamp is too large")
    return labels, _values(values), times_ms.astype(np.int64)


def _values(listed: list[Any]) -> F64:
    """Numbers, the words for those that JSON has not, and null for a stale marker."""
    others = {at: one for at, one in enumerate(listed) if type(one) is not float}
    for at in others:
        listed[at] = 0.0
    values = np.array(listed, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a value is too large")
    bits = values.view(np.uint64)
    for at, one in others.items():
        if not (one is None or (isinstance(one, str) and one in _BITS)):
            raise ValueError(f"{json.dumps(one)[:50]} is no value")
        bits[at] = _BITS[one]
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; it is written as a string")


def decode_openmetrics(piece: Piece, options: Options) -> Decoded:
    """Each sample of the lines; a line that cannot be read, or has no time, is a fault.

    Labels are stored as the lines have them. TYPE and HELP count where they stand.
    """
    faults = list(piece.faults)
    text = _END_OF_FILE.sub(b"#", piece.data)  # dumps one after another are one upload
    parts = list(_expositions(text, piece.first_row, faults))
    first_at: dict[bytes, tuple[int, Exposition, int]] = {}
    series_of: list[int] = []
    for row, exposition in parts:
        for i, series in enumerate(exposition.keys()):
            first = first_at.setdefault(series, (len(first_at), exposition, i))
            series_of.append(first[0])
            if not exposition.has_timestamp[i]:
                offset = int(exposition.rows[i, kernel.KEY_START])
                at = row + exposition.body.count(b"\n", 0, offset)
                faults.append(Fault(at, "no timestamp", series[:200].decode(errors="replace")))
    owners = list(first_at.values())

    def labels_at(index: int) -> RawLabels:
        _, exposition, i = owners[index]
        try:
            return with_extra(exposition.labels(i), options)
        except BadBody as exc:
            raise InvalidLabels(detail=str(exc)) from exc

    own = b"\xff" + repr(options.extra_labels).encode()
    empty = np.empty(0)
    has_time = np.concatenate([*(part.has_timestamp for _, part in parts), empty]).astype(bool)
    times = np.concatenate([*(part.timestamps_ms for _, part in parts), empty.astype(np.int64)])
    values = np.concatenate([*(part.values for _, part in parts), empty])
    batch = SampleBatch(
        keys_of([series + own for series in first_at]),
        np.array(series_of, np.int64)[has_time],
        times[has_time],
        values[has_time],
        labels_at,
        tuple(metric for _, part in parts for metric in part.metadata),
        **refusals(faults),
    )
    return Decoded(batch, faults)


def _expositions(
    text: bytes, first_row: int, faults: list[Fault]
) -> Iterator[tuple[int, Exposition]]:
    """The lines in as few expositions as can be read, each with the row of its first line.

    A text with a fault is cut in two until its line stands alone.
    """
    left = [(first_row, text)]
    while left:
        row, text = left.pop()
        try:
            exposition = prometheus_text.decode(_ended(text), openmetrics=True)
        except BadExposition as error:
            middle = text.rfind(b"\n", 0, len(text) // 2) + 1 or text.find(b"\n") + 1
            if 0 < middle < len(text):
                left.append((row + text.count(b"\n", 0, middle), text[middle:]))
                left.append((row, text[:middle]))
            else:
                faults.append(Fault(row, error.facts["detail"], error.facts["text"]))
            continue
        yield row, replace(exposition, types={})


def _ended(text: bytes) -> bytes:
    return text + (b"# EOF\n" if text.endswith(b"\n") else b"\n# EOF\n")
