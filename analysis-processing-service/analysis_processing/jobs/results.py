"""A chunk of a result as Arrow: written by the worker's child, served by the web process.

    head: schema, axis, where each batch ends │ batch: a few series │ batch … │ end of stream
    a series: labels │ score │ facts, findings (JSON) │ note │ columns {name: list of float}

One IPC stream, zstd. A batch holds about BATCH_POINTS steps, and the head stands within the first
HEAD_BYTES, so that one series of a large chunk is read for the price of its batch. NaN = nothing.
The web process imports this module, and with it numpy, with the first result it serves.
"""

import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from analysis_processing.analyses.block import F64, Part, SeriesResult
from analysis_processing.jobs.repository import HEAD_BYTES
from analysis_processing.model import Finding

BATCH_POINTS = 4_096
ROUNDED = frozenset({"expected", "lower", "upper", "lower_80", "upper_80", "score"})
"""Estimates: stored within 1/256 of their own usual range, which makes them half as large."""
LABELS = pa.map_(pa.string(), pa.string())
NO_COLUMNS = pa.schema(
    {
        "labels": LABELS,
        "score": pa.float64(),
        "facts": pa.string(),
        "findings": pa.string(),
        "note": pa.string(),
        "columns": pa.struct([]),
    }
)
AXIS = ("start_ms", "step_ms", "steps")
END = b"\xff\xff\xff\xff\0\0\0\0"


def rows(part: Part) -> list[dict[str, Any]]:
    """The rows of analysis.series without job, tenant and chunk: what a series is ranked by."""
    return [
        {
            "row_no": number,
            "score": -1.0 if result.note else ranked(result.score),  # last
            "findings": len(result.findings),
            "labels": plain(result.labels),
            "detail": {
                "facts": plain(result.facts),
                "findings": [plain(asdict(finding)) for finding in result.findings],
            },
            "note": plain(result.note),
        }
        for number, result in enumerate(part.series)
    ]


def series_of(row: Mapping[str, Any]) -> SeriesResult:
    """The result, without columns, of a row of analysis.series, whether it is stored yet or not."""
    detail = row["detail"]
    findings = [Finding(**finding) for finding in detail["findings"]]
    return SeriesResult(row["labels"], row["score"], detail["facts"], findings, note=row["note"])


def ranked(score: float) -> float:
    """A score that can be compared: NaN ranks last, infinity first."""
    return 0.0 if math.isnan(score) else min(float(score), sys.float_info.max)


def plain(value: Any) -> Any:
    """What JSON and Postgres hold: null for NaN and infinity, U+FFFD for NUL, no numpy."""
    match value:
        case dict():
            return {plain(name): plain(one) for name, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case str():
            return value.replace("\0", "\ufffd").encode(errors="replace").decode()
        case float():
            return float(value) if math.isfinite(value) else None
        case _:
            return plain(value.item()) if hasattr(value, "item") else value


def encode(part: Part) -> bytes:
    """The chunk's payload; columns are float32 where that shows what there is, else float64."""
    described = rows(part)
    names = list(dict.fromkeys(name for result in part.series for name in result.columns))
    columns = [_column(part, name) for name in names]
    table = pa.table(
        [
            pa.array([list(row["labels"].items()) for row in described], LABELS),
            pa.array([row["score"] for row in described], pa.float64()),
            pa.array([json.dumps(row["detail"]["facts"]) for row in described], pa.string()),
            pa.array([json.dumps(row["detail"]["findings"]) for row in described], pa.string()),
            pa.array([row["note"] for row in described], pa.string()),
            pa.StructArray.from_arrays(columns, names=names)
            if names
            else pa.array([{}] * len(described), pa.struct([])),
        ],
        NO_COLUMNS.names,
    )
    batch_rows = max(1, BATCH_POINTS // max(part.steps, 1))
    sink, ends = pa.BufferOutputStream(), []
    with pa.ipc.new_stream(sink, table.schema, options=_options()) as writer:
        for batch in table.to_batches(max_chunksize=batch_rows):
            writer.write_batch(batch)
            ends.append(sink.tell())
    first = table.schema.serialize().size
    facts = {name: str(getattr(part, name)) for name in AXIS}
    facts |= {"batch_rows": str(batch_rows), "ends": json.dumps([end - first for end in ends])}
    head = table.schema.with_metadata(facts).serialize().to_pybytes()
    assert len(head) <= HEAD_BYTES
    return bytes(head + memoryview(sink.getvalue())[first:])


def _options() -> Any:
    # level 3 and 6 are 0-3 % smaller for up to thrice the time, lz4 is a third larger
    return pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))


def _column(part: Part, name: str) -> Any:
    """A list array with a row a series; null where the series has no such column."""
    present = [result.columns[name] for result in part.series if name in result.columns]
    block = np.array(present, dtype=np.float64)
    assert block.shape == (len(present), part.steps)
    spreads = spread(block)
    if name in ROUNDED:
        block = rounded(block, spreads)
    with np.errstate(over="ignore", invalid="ignore"):
        single = block.astype(np.float32)
        lost = np.abs(single - block)
        matters = (spreads > 0.0) | (np.abs(block) >= 2.0**24)
        is_lossy = bool((matters & np.isfinite(block) & (lost > spreads / 1024)).any())
    place, offsets = 0, []
    for result in part.series:
        offsets.append(place if name in result.columns else None)
        place += part.steps if name in result.columns else 0
    values = pa.array((block if is_lossy else single).ravel())
    return pa.ListArray.from_arrays(pa.array([*offsets, place], pa.int32()), values)


def spread(block: F64) -> F64:
    """(series, 1) from the 5 % to the 95 % quantile of about 1,000 finite samples; 0 of none."""
    sample = block[:, :: max(1, block.shape[1] // 1000)]
    ordered = np.sort(np.where(np.isfinite(sample), sample, np.nan), axis=1)
    last = np.maximum(np.isfinite(ordered).sum(axis=1, keepdims=True) - 1, 0)
    low, high = (
        np.take_along_axis(ordered, place.astype(np.int64), axis=1)
        for place in (np.floor(last * 0.05), np.ceil(last * 0.95))
    )
    with np.errstate(over="ignore"):
        spreads: F64 = np.nan_to_num(high - low)
    return spreads


def rounded(block: F64, spreads: F64) -> F64:
    """The numbers to a power of two that is at most 1/128 of the spread; so they pack."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        quantum = 2.0 ** np.floor(np.log2(spreads / 128))
        coarse = np.rint(block / quantum) * quantum
    return np.where(np.isfinite(coarse), coarse, block)


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before a chunk's batches; size: in bytes; ends: of the batches, after it."""

    schema: Any
    start_ms: int
    step_ms: int
    steps: int
    size: int
    batch_rows: int
    ends: list[int]

    @classmethod
    def read(cls, payload: bytes) -> "Head":
        """The head of a payload, of which the first HEAD_BYTES are enough."""
        schema = pa.ipc.read_schema(pa.py_buffer(payload))
        facts = {name.decode(): json.loads(text) for name, text in schema.metadata.items()}
        axis = {name: str(facts[name]) for name in AXIS}
        size = 8 + int.from_bytes(payload[4:8], "little")
        return cls(schema.with_metadata(axis), size=size, **facts)

    def span(self, row: int) -> tuple[int, int]:
        """Where in the payload the batch of this series begins, and its length in bytes."""
        first, end = ([0, *self.ends][row // self.batch_rows + i] for i in (0, 1))
        return self.size + first, end - first

    def columns(self, batch: bytes, row: int) -> str:
        """The columns of a series as a JSON object, from its batch; no finite number is null."""
        read = pa.ipc.read_record_batch(pa.py_buffer(batch), self.schema)
        columns = _columns(read, row % self.batch_rows).items()
        return f"{{{','.join(f'{json.dumps(name)}:{_json_array(one)}' for name, one in columns)}}}"


def _columns(batch: Any, row: int) -> dict[str, Any]:
    """The columns that a series has, NaN as null."""
    columns = {name: one.values for name, one in batch["columns"][row].items() if one.is_valid}
    return {
        name: pc.if_else(pc.is_nan(numbers), pa.scalar(None, numbers.type), numbers)
        for name, numbers in columns.items()
    }


def _json_array(numbers: Any) -> str:
    is_number = pc.fill_null(pc.is_finite(numbers), fill_value=False)
    texts = pc.if_else(is_number, numbers.cast(pa.string()), "null")
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], texts), ",")
    return f"[{joined[0].as_py()}]"


Chunk = tuple[Head, bytes, Sequence[int] | None]
"""A head, its payload and the series wanted of it, ascending; None: all."""


def joined_schema(heads: Sequence[Head]) -> Any:
    """One schema that holds the columns of all these chunks, and their axis."""
    schemas = [head.schema for head in heads] or [NO_COLUMNS]
    return pa.unify_schemas(schemas, promote_options="permissive")


def as_arrow(schema: Any, chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """One IPC stream; a chunk that is wanted as it is stored passes through unread."""
    yield schema.serialize().to_pybytes()
    for head, payload, wanted in chunks:
        if wanted is None and head.schema.equals(schema):
            yield payload[head.size : -len(END)]
            continue
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema, options=_options()) as writer:
            for batch in batches(schema, payload, wanted):
                writer.write_batch(batch)
        yield sink.getvalue().to_pybytes()[schema.serialize().size : -len(END)]
    yield END


def as_parquet(schema: Any, chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """One Parquet file, a row group a chunk."""
    place = schema.get_field_index("columns")  # Parquet has no struct of nothing
    file = schema if schema.field("columns").type.num_fields else schema.remove(place)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, file, compression="zstd") as writer:
        for _, payload, wanted in chunks:
            group = pa.Table.from_batches(batches(schema, payload, wanted), schema)
            writer.write_table(group.select(file.names))
            yield _emptied(sink)
    yield _emptied(sink)


def as_csv(schema: Any, labels: Sequence[str], chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """A line a step of each series that has columns: labels, timestamp_ms, columns.

    A label that is called like another column is preceded by `exported_`, as in Prometheus.
    """
    types = {field.name: field.type.value_type for field in schema.field("columns").type}
    own = {"timestamp_ms", *types}
    texts = [(f"exported_{name}" if name in own else name, pa.string()) for name in labels]
    long = pa.schema([*texts, ("timestamp_ms", pa.int64()), *types.items()])
    sink = io.BytesIO()
    with pa.csv.CSVWriter(sink, long) as writer:
        for head, payload, wanted in chunks:
            end_ms = head.start_ms + head.steps * head.step_ms
            times = pa.array(range(head.start_ms, end_ms, head.step_ms), pa.int64())
            for batch in batches(schema, payload, wanted):
                for row in range(batch.num_rows):
                    if columns := _columns(batch, row):
                        own_labels = dict(batch["labels"][row].as_py())
                        values = [pa.scalar(own_labels.get(name), pa.string()) for name in labels]
                        nothing = {name: pa.nulls(len(times), kind) for name, kind in types.items()}
                        arrays = [pa.repeat(value, len(times)) for value in values]
                        arrays += [times, *(nothing | columns).values()]
                        writer.write_batch(pa.record_batch(arrays, schema=long))
                yield _emptied(sink)
    yield _emptied(sink)


def batches(schema: Any, payload: bytes, wanted: Sequence[int] | None) -> Iterator[Any]:
    """The wanted series of a chunk in the form of `schema`, a batch in memory at a time."""
    first = 0
    for batch in pa.ipc.open_stream(pa.py_buffer(payload)):
        last = first + batch.num_rows
        if wanted is None:
            yield batch.cast(schema)
        elif here := [row - first for row in wanted if first <= row < last]:
            yield batch.take(pa.array(here)).cast(schema)
        first = last


def _emptied(sink: io.BytesIO) -> bytes:
    written = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return written
