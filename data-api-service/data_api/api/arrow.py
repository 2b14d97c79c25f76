"""What query_range answers as Arrow: aligned series, for programs that compute with them.

    metric  map<string, string>          one row a series, in the order of query_range
    values  fixed_size_list<double>[m]   its value at each step; null, over a NaN, where it has none

The schema's metadata: `start_ms`, `step_ms`, `steps` (m), and `warnings` and `infos` as JSON lists.
A batch has BATCH_VALUES values or one series, and at most ROWS_MAX series. Native histograms are
null, and a warning says so.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
from fastapi import APIRouter, Response

from data_api.api.deps import Asked
from data_api.api.export import FORMATS, SCHEMA, stream
from data_api.api.histogram_json import natives
from data_api.api.prometheus import query_text
from data_api.api.routing import readable
from data_api.errors import AnswerTooLarge
from data_api.model import QueryLimits, RangeMatrix, Result

STEPS_MAX: Final = 1_000_000
BATCH_VALUES: Final = 131_072  # 1 MiB
ROWS_MAX: Final = 1024  # whose labels are objects at once, between two checkpoints
WITHOUT_HISTOGRAMS: Final = "PromQL warning: native histograms have no number here and are left out"

routes = APIRouter(tags=["export"])


@readable(
    routes, "/query_range_arrow", "query", "start", "end", "step", "timeout", "lookback_delta"
)
async def range_query(ask: Asked) -> Response:
    """What query_range answers, up to 1,000,000 steps, as an Arrow IPC stream."""
    opened = ask.engine.query(
        *ask.who,
        query_text(ask.params),
        ask.params.steps(STEPS_MAX),
        arrow_answer,
        timeout_s=ask.params.timeout_s(),
        lookback_ms=ask.params.lookback_ms(),
    )
    return ask.held(opened, FORMATS["arrow"][0])


def arrow_answer(result: Result, limits: QueryLimits) -> list[bytes]:
    """The stream in pieces, a batch each. Raises AnswerTooLarge."""
    pieces: list[bytes] = []
    size = 0
    for piece in _stream(result):
        limits.checkpoint()
        size += len(piece)
        if size > limits.answer_bytes_max:
            raise AnswerTooLarge(bytes=size, limit=limits.answer_bytes_max)
        pieces.append(piece)
    return pieces


def _stream(result: Result) -> Iterator[bytes]:
    matrix = result.value
    assert isinstance(matrix, RangeMatrix)
    steps = matrix.steps_ms.size
    is_native = natives(matrix.values, matrix.histograms)
    warnings = [*result.warnings, *([] if is_native is None else [WITHOUT_HISTOGRAMS])]
    step_ms = int(matrix.steps_ms[1] - matrix.steps_ms[0]) if steps > 1 else 0
    schema = pa.schema(
        [SCHEMA.field("metric"), ("values", pa.list_(pa.float64(), steps))],
        {
            "start_ms": str(matrix.steps_ms[0]),
            "step_ms": str(step_ms),
            "steps": str(steps),
            "warnings": orjson.dumps(warnings),
            "infos": orjson.dumps(result.infos),
        },
    )
    rows = max(1, min(ROWS_MAX, BATCH_VALUES // steps))

    def batch(first: int) -> Sequence[pa.Array]:
        some = slice(first, first + rows)
        absent = ~matrix.present[some]
        if is_native is not None:
            absent |= is_native[some]
        values = np.where(absent, np.nan, matrix.values[some]).ravel()
        labels = [list(one.items()) for one in matrix.labels[some]]
        return (
            pa.array(labels, schema.field("metric").type),
            pa.FixedSizeListArray.from_arrays(pa.array(values, mask=absent.ravel()), steps),
        )

    return stream(schema, map(batch, range(0, len(matrix.labels), rows)))
