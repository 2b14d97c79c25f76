"""Raw samples out: NDJSON, CSV or Arrow IPC, streamed series by series.

NDJSON is VictoriaMetrics's line form: `{"metric":{…},"values":[…],"timestamps":[ms,…]}`. What JSON
has no numbers for is null for a stale marker, "NaN", "Infinity" and "-Infinity"; dis imports it.
Arrow IPC keeps every bit, one row a series: `metric` (map), `timestamp_ms` (list), `value` (list).
A native histogram is the object of the query API in NDJSON, its text in CSV, null in Arrow.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
from fastapi import APIRouter, Response

from data_api.api.deps import PIECE_BYTES, Asked
from data_api.api.histogram_json import histogram_csv, histogram_json, named, natives
from data_api.api.params import TIME_MS_MAX
from data_api.api.rendering import labels_json, value_tokens
from data_api.api.routing import readable
from data_api.errors import InvalidParameter
from data_api.model import F64, I64, INDEX_MASK, STALE_BITS, Columns, histogram_bytes
from data_api.native_histogram import Histogram

RUN_SAMPLES: Final = 10_000
"""Written at once: text of a few hundred KB. A stored byte of a histogram is about as much text as
a sample."""

routes = APIRouter(tags=["export"])


@readable(routes, "/export", "match[]", "start", "end", "format")
async def export(ask: Asked) -> Response:
    """Samples of `match[]` with start ≤ time ≤ end (default: all); `format` json, csv or arrow."""
    kind = ask.params.get("format") or "json"
    if kind not in FORMATS:
        raise InvalidParameter(name="format", reason=f"it must be one of {', '.join(FORMATS)}")
    media_type, write = FORMATS[kind]
    span = ask.params.span() or (-TIME_MS_MAX, TIME_MS_MAX)
    spans = ask.params.selectors(required=True).spans(*span)
    opened = ask.engine.exported(*ask.who, spans, lambda parts, _: write(parts))
    return ask.held(opened, media_type)


def _runs(part: Columns, row: int) -> Iterator[tuple[int, int]]:
    """Start and end of runs of a series' samples, in order, each of about as much text."""
    first, last = int(part.offsets[row]), int(part.offsets[row + 1])
    values = part.values[first:last]
    is_native = natives(values, part.histograms)
    if is_native is None:
        edges = list(range(first + RUN_SAMPLES, last, RUN_SAMPLES))
    else:
        weights = np.ones(values.size, np.int64)
        places = values[is_native].view(np.int64) & INDEX_MASK
        weights[is_native] += [histogram_bytes(part.histograms[at]) for at in places.tolist()]
        before = np.cumsum(weights) - weights
        edges = (first + 1 + np.flatnonzero(np.diff(before // RUN_SAMPLES))).tolist()
    yield from pairwise([first, *edges, last])


def joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of at least PIECE_BYTES: each is computed in a turn of its own."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _ndjson(columns: list[Columns]) -> Iterator[bytes]:
    return joined(piece for part in columns for piece in _lines(part))


def _lines(part: Columns) -> Iterator[bytes]:
    for row, labels in enumerate(part.labels):
        begin, stop = int(part.offsets[row]), int(part.offsets[row + 1])
        yield b'{"metric":%b,"values":[' % labels_json(labels)
        for start, end in _runs(part, row):
            yield b"," * (start > begin) + b",".join(_json_tokens(part, slice(start, end)))
        yield b'],"timestamps":['
        for start in range(begin, stop, RUN_SAMPLES):
            times = part.timestamps_ms[start : min(start + RUN_SAMPLES, stop)]
            text = orjson.dumps(times, option=orjson.OPT_SERIALIZE_NUMPY)
            yield b"," * (start > begin) + text[1:-1]
        yield b"]}\n"


def _json_tokens(part: Columns, samples: slice) -> list[bytes]:
    values = part.values[samples]
    tokens = value_tokens(values)
    for at in np.flatnonzero(~np.isfinite(values)).tolist():
        value = values[at]
        if math.isnan(value):
            tokens[at] = b"null" if values.view(np.uint64)[at] == STALE_BITS else b'"NaN"'
        else:
            tokens[at] = b'"Infinity"' if value > 0 else b'"-Infinity"'
    return _with_histograms(tokens, values, part, histogram_json)


def _with_histograms(
    tokens: list[bytes], values: F64, part: Columns, render: Callable[[Histogram], bytes]
) -> list[bytes]:
    """`tokens`, of which those of native histograms are made by `render`."""
    is_native = natives(values, part.histograms)
    if is_native is not None:
        for at in np.flatnonzero(is_native).tolist():
            tokens[at] = render(named(values[at : at + 1], part.histograms))
    return tokens


def _csv(columns: list[Columns]) -> Iterator[bytes]:
    return joined(chain([b"metric,timestamp_ms,value\n"], *map(_csv_lines, columns)))


def _csv_lines(part: Columns) -> Iterator[bytes]:
    for row, labels in enumerate(part.labels):
        metric = b'"%b"' % labels_json(labels).replace(b'"', b'""')
        for start, end in _runs(part, row):
            times = part.timestamps_ms[start:end].tolist()
            values = part.values[start:end]
            tokens = _with_histograms(value_tokens(values), values, part, histogram_csv)
            yield b"".join(
                b"%b,%d,%b\n" % (metric, time_ms, token)
                for time_ms, token in zip(times, tokens, strict=True)
            )


SCHEMA: Final = pa.schema(
    [
        ("metric", pa.map_(pa.string(), pa.string())),
        ("timestamp_ms", pa.list_(pa.int64())),
        ("value", pa.list_(pa.float64())),
    ]
)


END_OF_STREAM: Final = b"\xff\xff\xff\xff\0\0\0\0"
"""Source: the IPC streaming format (arrow.apache.org/docs/format/Columnar.html)."""


def stream(schema: pa.Schema, batches: Iterable[Sequence[pa.Array]]) -> Iterator[bytes]:
    """An Arrow stream of record batches with these columns, a piece for each."""
    yield schema.serialize().to_pybytes()
    for arrays in batches:
        yield pa.record_batch(list(arrays), schema=schema).serialize().to_pybytes()
    yield END_OF_STREAM


def _arrow(columns: list[Columns]) -> Iterator[bytes]:
    """One row a series, as a stream of record batches of some RUN_SAMPLES samples each."""
    return stream(SCHEMA, (batch for part in columns for batch in _batches(part)))


def _batches(part: Columns) -> Iterator[Sequence[pa.Array]]:
    for first, last in _row_groups(part.offsets):
        offsets = part.offsets[first : last + 1]
        samples = slice(int(offsets[0]), int(offsets[-1]))
        values = part.values[samples]
        is_native = natives(values, part.histograms)
        lists = pa.array((offsets - offsets[0]).astype(np.int32))
        labels = [list(part.labels[row].items()) for row in range(first, last)]
        yield (
            pa.array(labels, SCHEMA[0].type),
            pa.ListArray.from_arrays(lists, pa.array(part.timestamps_ms[samples])),
            pa.ListArray.from_arrays(lists, pa.array(values, mask=is_native)),
        )


def _row_groups(offsets: I64) -> Iterator[tuple[int, int]]:
    """First row and end of neighbouring rows with about RUN_SAMPLES samples together."""
    edges = np.flatnonzero(np.diff(offsets[:-1] // RUN_SAMPLES)) + 1
    yield from pairwise([0, *edges.tolist(), offsets.size - 1])


Writer = Callable[[list[Columns]], Iterator[bytes]]
FORMATS: Final[Mapping[str, tuple[str, Writer]]] = {
    "json": ("application/x-ndjson", _ndjson),
    "csv": ("text/csv; charset=utf-8", _csv),
    "arrow": ("application/vnd.apache.arrow.stream", _arrow),
}
