"""Lines of text to samples: NDJSON as das and VictoriaMetrics export it, and OpenMetrics.

    {"metric":{"__name__":"up"},"values":[1,null,"NaN"],"timestamps":[1700000000000,…]}

`null` is a stale marker and "NaN" the number, so what das exports comes back bit for bit. Numbers
are read by Arrow, all lines of a piece at once and without the GIL.
OpenMetrics is what `promtool tsdb dump-openmetrics` writes of TSDB blocks.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv

from data_ingest.errors import BadBody, InvalidLabels
from data_ingest.imports.options import Options, with_extra
from data_ingest.imports.pieces import Decoded, Fault, Piece, decoded, keys_of, refusals
from data_ingest.kernels import prometheus_text as kernel
from data_ingest.model import F64, NAN_BITS, STALE_MARKER_BITS, RawLabels, SampleBatch
from data_ingest.protocols import prometheus_text
from data_ingest.protocols.prometheus_text import BadExposition, Exposition

NAMES: Final = (b"metric", b"timestamps", b"values")
_OBJECT: Final = rb'\{(?:[^"{}]++|"(?:[^"\\]++|\\.)*+")*+\}'
_MEMBER: Final = re.compile(rb'\s*"(\w+)"\s*:\s*(' + _OBJECT + rb"|\[[^\]]*+\])\s*([,}])")
_OPEN: Final = re.compile(rb"\s*\{")
_COMMA: Final = re.compile(rb"\s*,\s*")
_WORD: Final = re.compile(rb'"(NaN|-?Infinity)"')
_END_OF_FILE: Final = re.compile(rb"^# EOF\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Line:
    """One series: its labels, and the texts between the brackets of its two lists."""

    row: int
    labels: RawLabels
    values: bytes
    timestamps: bytes
    samples: int


def decode_ndjson(piece: Piece, options: Options) -> Decoded:
    """The samples of each line; a line that cannot be read is a fault."""
    faults, series = list(piece.faults), []
    for row, line in enumerate(piece.data.split(b"\n"), piece.first_row):
        if line.strip():
            try:
                series.append(_line(row, line, options))
            except ValueError as error:
                faults.append(Fault(row, str(error), line[:200].decode(errors="replace")))
    series = [line for line in series if line.samples]
    try:
        values, timestamps = _columns(series)
    except pa.ArrowInvalid:
        series = list(_readable(series, faults))
        values, timestamps = _columns(series)
    series_of = np.repeat(np.arange(len(series)), [line.samples for line in series])
    return decoded([line.labels for line in series], series_of, timestamps, values, faults)


def labels_of(text: bytes, options: Options) -> RawLabels:
    """The labels of a JSON object, with the import's own; ValueError for what has no such."""
    labels = json.loads(text)
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ValueError("labels are an object of texts")
    return with_extra([(name.encode(), value.encode()) for name, value in labels.items()], options)


def _line(row: int, line: bytes, options: Options) -> _Line:
    members: dict[bytes, bytes] = {}
    opened = _OPEN.match(line)
    at, is_open = (opened.end(), True) if opened else (0, False)
    while is_open and (member := _MEMBER.match(line, at)):
        members[member[1]] = member[2]
        at, is_open = member.end(), member[3] == b","
    if is_open or not opened or line[at:].strip() or (*sorted(members),) != NAMES:
        raise ValueError("not an object of metric, values and timestamps")
    values, timestamps = members[b"values"][1:-1], members[b"timestamps"][1:-1]
    counts = [text.count(b",") + 1 if text.strip() else 0 for text in (values, timestamps)]
    if counts[0] != counts[1]:
        raise ValueError(f"{counts[0]} values and {counts[1]} timestamps")
    return _Line(row, labels_of(members[b"metric"], options), values, timestamps, counts[0])


def _readable(series: Sequence[_Line], faults: list[Fault]) -> Iterator[_Line]:
    for line in series:
        try:
            _columns([line])
        except pa.ArrowInvalid as error:
            faults.append(Fault(line.row, str(error).rpartition(": ")[2], str(line.labels)[:200]))
            continue
        yield line


def _columns(series: Sequence[_Line]) -> tuple[F64, Any]:
    """Values, with their stale markers, and times of all lines; ArrowInvalid for no numbers."""
    count = sum(line.samples for line in series)
    numbers = _numbers([line.values for line in series], count, pa.float64(), ["null"])
    times = _numbers([line.timestamps for line in series], count, pa.int64(), [])
    is_stale = numbers.is_null().to_numpy(zero_copy_only=False)
    values = numbers.fill_null(0.0).to_numpy(zero_copy_only=False).copy()
    bits = values.view(np.uint64)
    bits[np.isnan(values)] = NAN_BITS
    bits[is_stale] = STALE_MARKER_BITS
    return values, times.to_numpy()


def _numbers(texts: Sequence[bytes], count: int, kind: pa.DataType, nulls: list[str]) -> Any:
    if not count:
        return pa.array([], kind)
    rows = _WORD.sub(rb"\1", _COMMA.sub(b"\n", b",".join(texts)).strip())
    column = pv.read_csv(
        pa.BufferReader(rows),
        pv.ReadOptions(column_names=["number"], use_threads=False),
        pv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        pv.ConvertOptions(column_types={"number": kind}, null_values=nulls),
    )["number"].combine_chunks()
    if len(column) != count:
        raise pa.ArrowInvalid("a number is missing")
    return column


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
