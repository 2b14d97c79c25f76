"""A part of a result as an Arrow IPC stream, and as rows of analysis.series."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis_processing.analyses.block import Part

COLUMNS = "columns"


def encode(part: "Part") -> bytes:
    """One row a series: labels, what was found, and a list for each column."""
    import pyarrow as pa  # noqa: PLC0415  the web process reads rows without it

    names = sorted({name for one in part.series for name in one.columns})
    heads = [
        json.dumps({"labels": one.labels, **row["detail"], "score": one.score, "note": one.note})
        for one, row in zip(part.series, rows(part), strict=True)
    ]
    arrays = [pa.array(heads, pa.string())] + [
        pa.array([one.columns.get(name) for one in part.series], pa.list_(pa.float64()))
        for name in names
    ]
    batch = pa.record_batch(arrays, names=["head", *names])
    axis = {"start_ms": part.start_ms, "step_ms": part.step_ms, "steps": part.steps}
    schema = batch.schema.with_metadata({"axis": json.dumps(axis)})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_batch(batch.replace_schema_metadata(schema.metadata))
    return bytes(sink.getvalue())


def rows(part: "Part") -> list[dict[str, Any]]:
    """Rows of analysis.series without ids."""
    return [
        {
            "score": one.score,
            "findings": len(one.findings),
            "labels": one.labels,
            "detail": {"facts": one.facts, "findings": [asdict(each) for each in one.findings]},
            "note": one.note,
        }
        for one in part.series
    ]


def as_json(payload: bytes) -> Iterator[str]:
    """Each series of the part as a JSON object; gaps are null."""
    import pyarrow as pa  # noqa: PLC0415

    table = pa.ipc.open_stream(payload).read_all()
    for row in table.to_pylist():
        head = json.loads(row.pop("head"))
        columns = {
            name: [v if math.isfinite(v) else None for v in values]
            for name, values in row.items()
            if values is not None
        }
        yield json.dumps(head | {COLUMNS: columns})
