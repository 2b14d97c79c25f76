"""Raw samples out: NDJSON, CSV or Arrow IPC, streamed series by series.

NDJSON is VictoriaMetrics's line form: `{"metric":{…},"values":[…],"timestamps":[ms,…]}`; NaN and
infinities, which JSON has no numbers for, are null and strings ("Infinity", "-Infinity") there.
Arrow IPC keeps every bit, one row a series: `metric` (map), `timestamp_ms` (list), `value` (list).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool
from starlette.types import Receive, Scope, Send

from data_api.api.deps import Caller, EngineDep, Query, while_connected
from data_api.api.params import TIME_MS_MAX
from data_api.api.rendering import labels_json, value_tokens
from data_api.api.routing import readable
from data_api.errors import InvalidParameter
from data_api.model import Columns, SelectorSpan

routes = APIRouter(tags=["export"])


@readable(routes, "/export", "match[]", "start", "end", "format")
async def export(request: Request, caller: Caller, params: Query, engine: EngineDep) -> Response:
    """Samples of `match[]` with start ≤ time ≤ end (default: all); `format` json, csv or arrow."""
    kind = params.get("format") or "json"
    if kind not in FORMATS:
        raise InvalidParameter(name="format", reason=f"it must be one of {', '.join(FORMATS)}")
    media_type, write = FORMATS[kind]
    start_ms, end_ms = params.span() or (-TIME_MS_MAX, TIME_MS_MAX)
    spans = [
        SelectorSpan(matchers, start_ms - 1, end_ms) for matchers in params.selectors(required=True)
    ]
    opened = engine.exported(caller.tenant, caller.limits, spans)
    return _Export(request, opened, write, media_type)


class _Export(StreamingResponse):
    """Loads, then streams.

    The query keeps its slot until the last byte is sent, because its samples are in memory until
    then: so clients that read slowly cannot fill it.
    """

    def __init__(
        self,
        request: Request,
        opened: AbstractAsyncContextManager[list[Columns]],
        write: "Writer",
        media_type: str,
    ) -> None:
        super().__init__(iter(()), media_type=media_type)
        self._request = request
        self._opened = opened
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What fails before the first byte is answered like any other failure."""
        async with AsyncExitStack() as stack:
            opening = stack.enter_async_context(self._opened)
            columns = await while_connected(self._request, opening)
            self.body_iterator = iterate_in_threadpool(self._write(columns))
            await super().__call__(scope, receive, send)


def _ndjson(columns: list[Columns]) -> Iterator[bytes]:
    for part in columns:
        for row, labels in enumerate(part.labels):
            start, end = int(part.offsets[row]), int(part.offsets[row + 1])
            tokens = value_tokens(part.values[start:end])
            for at in np.flatnonzero(~np.isfinite(part.values[start:end])).tolist():
                value = part.values[start + at]
                tokens[at] = (
                    b"null" if math.isnan(value) else b'"Infinity"' if value > 0 else b'"-Infinity"'
                )
            times = orjson.dumps(part.timestamps_ms[start:end], option=orjson.OPT_SERIALIZE_NUMPY)
            yield b'{"metric":%b,"values":[%b],"timestamps":%b}\n' % (
                labels_json(labels),
                b",".join(tokens),
                times,
            )


def _csv(columns: list[Columns]) -> Iterator[bytes]:
    yield b"metric,timestamp_ms,value\n"
    for part in columns:
        for row, labels in enumerate(part.labels):
            start, end = int(part.offsets[row]), int(part.offsets[row + 1])
            metric = b'"%b"' % labels_json(labels).replace(b'"', b'""')
            times = part.timestamps_ms[start:end].tolist()
            tokens = value_tokens(part.values[start:end])
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


def _arrow(columns: list[Columns]) -> Iterator[bytes]:
    """One row a series, as a stream of record batches."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        for part in columns:
            offsets = pa.array(part.offsets.astype(np.int32))
            writer.write_batch(
                pa.record_batch(
                    [
                        pa.array([list(labels.items()) for labels in part.labels], SCHEMA[0].type),
                        pa.ListArray.from_arrays(offsets, pa.array(part.timestamps_ms)),
                        pa.ListArray.from_arrays(offsets, pa.array(part.values)),
                    ],
                    schema=SCHEMA,
                )
            )
    yield sink.getvalue().to_pybytes()


Writer = Callable[[list[Columns]], Iterator[bytes]]
FORMATS: Final[Mapping[str, tuple[str, Writer]]] = {
    "json": ("application/x-ndjson", _ndjson),
    "csv": ("text/csv; charset=utf-8", _csv),
    "arrow": ("application/vnd.apache.arrow.stream", _arrow),
}
