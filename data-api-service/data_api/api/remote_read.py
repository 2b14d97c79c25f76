"""remote_read: raw samples for another Prometheus, as one message of samples or a stream of chunks.

    snappy(ReadRequest) ─▶ queries, accepted types ─▶ SAMPLES: snappy(ReadResponse)
                                                   └▶ STREAMED_XOR_CHUNKS: frame frame …
    frame: size (uvarint)  CRC32-Castagnoli (4 bytes, big-endian)  ChunkedReadResponse

Samples with native histograms go out as SAMPLES, whichever type is accepted first.
Source: Prometheus `prompb/remote.proto`, `storage/remote/{read_handler,codec,chunked}.go`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import cramjam
import numpy as np
import re2
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from data_api.api.deps import BODY_BYTES_MAX, Asked, body_of
from data_api.api.export import joined
from data_api.api.histogram_json import natives
from data_api.errors import AnswerTooLarge, BadRequest, BodyTooLarge
from data_api.model import (
    INDEX_MASK,
    Columns,
    Labels,
    Matcher,
    MatchOp,
    QueryLimits,
    SelectorSpan,
    compile_regex,
)
from data_api.promql.values import by_labels
from data_api.protobuf import (
    bytes_field,
    fields_of,
    int64,
    last,
    messages,
    number_field,
    read_varint,
    varint,
)
from data_api.questions import Text

QUERIES_MAX: Final = 64  # of one request
MATCHERS_MAX: Final = 256  # of one query
FRAME_BYTES: Final = 1024 * 1024
MESSAGE_COST: Final = 5  # times the samples' memory: they, their messages, joined, compressed
SAMPLE_BYTES_MIN: Final = 13  # of a sample's message
SAMPLES, STREAMED_XOR_CHUNKS = 0, 1
XOR: Final = 1  # the encoding of a chunk
OPS: Final = (MatchOp.EQUAL, MatchOp.NOT_EQUAL, MatchOp.REGEX, MatchOp.NOT_REGEX)
MEDIA_TYPES: Final[Mapping[int, str]] = {
    SAMPLES: "application/x-protobuf",
    STREAMED_XOR_CHUNKS: "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
}

HEADERS: Final = ("retry-after", "www-authenticate")
Handler = Callable[[Request, Any], Any]

routes = APIRouter(tags=["prometheus"])


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What is asked. accepted: types of an answer that both sides know, the best first."""

    spans: Sequence[SelectorSpan]
    accepted: Sequence[int]

    def type_of(self, parts: Sequence[Columns]) -> int:
        """The type of the answer that has these samples. Raises BadRequest without one."""
        if not any(part.histograms for part in parts):
            return self.accepted[0]
        if SAMPLES not in self.accepted:
            raise BadRequest(detail="native histograms are answered as SAMPLES, not accepted here")
        return SAMPLES


@routes.post("/read")
async def remote_read(ask: Asked) -> Response:
    """Samples with start ≤ time ≤ end of each query's matchers, every one, series by labels."""
    body = await body_of(ask.request)
    wanted: list[ReadRequest] = []

    def parse() -> Sequence[SelectorSpan]:
        wanted.append(parse_request(body))
        return wanted[0].spans

    def write(parts: list[Columns], limits: QueryLimits) -> Iterator[bytes]:
        kind = wanted[0].type_of(parts)
        response.headers["content-type"] = MEDIA_TYPES[kind]
        if kind == STREAMED_XOR_CHUNKS:
            return joined(frames(parts, limits))
        response.headers["content-encoding"] = "snappy"
        return one_message(parts, limits)

    spans = Text(BODY_BYTES_MAX, parse)  # in a thread: 2 KB unpack to twenty times as much
    response = ask.held(ask.engine.exported(*ask.who, spans, write))
    return response


def as_text(render: Handler) -> Handler:
    """`render`, whose answers for `/read` are a line of text, which is what its clients show."""

    async def rendered(request: Request, exc: Exception) -> Response:
        answer: Response = await render(request, exc)
        if not request.url.path.endswith("/api/v1/read"):
            return answer
        headers = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
        return PlainTextResponse(f"{exc}\n", answer.status_code, headers)

    return rendered


def parse_request(body: bytes) -> ReadRequest:
    """The request in a body. Raises BadRequest and BodyTooLarge."""
    try:
        if (size := read_varint(body, 0)[0]) > BODY_BYTES_MAX:
            raise BodyTooLarge(limit_bytes=BODY_BYTES_MAX, uncompressed=size)
        fields = fields_of(bytes(cramjam.snappy.decompress_raw(body)))
        queries = messages(fields, 1)
        types = [kind for value in fields.get(2, ()) for kind in _numbers(value)]
        if len(queries) > QUERIES_MAX:
            raise BadRequest(detail=f"{len(queries)} queries in a request", limit=QUERIES_MAX)
        spans = [_span(query) for query in queries]
    except (ValueError, IndexError, TypeError, OverflowError, cramjam.DecompressionError) as exc:
        raise BadRequest(detail=f"no snappy-compressed ReadRequest: {exc}") from exc
    accepted = [kind for kind in types or [SAMPLES] if kind in MEDIA_TYPES]
    if not accepted:
        raise BadRequest(
            detail="server does not support any of the requested response types: "
            f"{types[:10]}; supported: {list(MEDIA_TYPES)}"
        )
    return ReadRequest(spans, accepted)


def _numbers(value: float | bytes) -> list[int]:
    """The numbers of a repeated field's value, which may be packed."""
    if not isinstance(value, bytes):
        return [int(value)]
    numbers, at = [], 0
    while at < len(value):
        number, at = read_varint(value, at)
        numbers.append(number)
    return numbers


def _span(message: bytes) -> SelectorSpan:
    fields = fields_of(message)
    matchers = messages(fields, 3)
    if len(matchers) > MATCHERS_MAX:
        raise BadRequest(detail=f"{len(matchers)} matchers in a query", limit=MATCHERS_MAX)
    start_ms, end_ms = int64(last(fields, 1)), int64(last(fields, 2))
    return SelectorSpan(tuple(map(_matcher, matchers)), max(start_ms - 1, -(2**62)), end_ms)


def _matcher(message: bytes) -> Matcher:
    fields = fields_of(message)
    kind = int(last(fields, 1))
    name, value = ((messages(fields, number) or [b""])[-1].decode() for number in (2, 3))
    if kind >= len(OPS):
        raise BadRequest(detail=f"a matcher of type {kind}")
    if OPS[kind] in {MatchOp.REGEX, MatchOp.NOT_REGEX}:
        try:
            compile_regex(value)
        except re2.error as exc:
            raise BadRequest(detail=f"the regex of a matcher on {name!r}: {exc}") from exc
    return Matcher(name, OPS[kind], value)


def one_message(parts: Sequence[Columns], limits: QueryLimits) -> Iterator[bytes]:
    """A ReadResponse, compressed, in one piece. Raises AnswerTooLarge."""
    least = SAMPLE_BYTES_MIN * sum(part.samples for part in parts)
    if least > limits.answer_bytes_max:
        raise AnswerTooLarge(bytes=least, limit=limits.answer_bytes_max)
    limits.reserve(MESSAGE_COST * sum(part.cost for part in parts))
    size, results = 0, []
    for part in parts:
        series = []
        for row in _by_labels(part, limits):
            limits.checkpoint()
            series.append(bytes_field(1, _labels(part.labels[row]) + _samples(part, row)))
            size += len(series[-1])
            if size > limits.answer_bytes_max:
                raise AnswerTooLarge(bytes=size, limit=limits.answer_bytes_max)
        results.append(bytes_field(1, b"".join(series)))
    yield bytes(cramjam.snappy.compress_raw(b"".join(results)))


def frames(parts: Sequence[Columns], limits: QueryLimits) -> Iterator[bytes]:
    """A frame for each series, or several where it has more than FRAME_BYTES."""
    for query, part in enumerate(parts):
        for row in _by_labels(part, limits):
            limits.checkpoint()
            labels = _labels(part.labels[row])
            chunks: list[bytes] = []
            size = 0
            for chunk in _chunks(part, row):
                if size + len(chunk) > FRAME_BYTES:
                    yield _frame(labels, chunks, query)
                    chunks, size = [], 0
                chunks.append(chunk)
                size += len(chunk)
            yield _frame(labels, chunks, query)


def _frame(labels: bytes, chunks: list[bytes], query: int) -> bytes:
    data = bytes_field(1, labels + b"".join(chunks))
    data += number_field(2, query) if query else b""
    checksum: int = _kernels().crc32c(np.frombuffer(data, np.uint8))
    return varint(len(data)) + checksum.to_bytes(4, "big") + data


def _kernels() -> ModuleType:
    from data_api.promql.kernels import chunks  # noqa: PLC0415 - numba, as in promql

    return chunks


def _by_labels(part: Columns, limits: QueryLimits) -> list[int]:
    """Rows in the order of their labels, which a reader merges by."""
    rows: list[int] = by_labels(part.labels, limits.checkpoint).tolist()
    return rows


def _labels(labels: Labels) -> bytes:
    pairs = (
        bytes_field(1, name.encode()) + bytes_field(2, value.encode())
        for name, value in sorted(labels.items())
    )
    return b"".join(bytes_field(1, pair) for pair in pairs)


def _samples(part: Columns, row: int) -> bytes:
    """The samples of a TimeSeries; a stored histogram only lacks its time."""
    kernels = _kernels()
    samples = slice(int(part.offsets[row]), int(part.offsets[row + 1]))
    times, values = part.timestamps_ms[samples], part.values[samples]
    is_native = natives(values, part.histograms)
    pieces = []
    if is_native is not None:
        bits = values[is_native].view(np.int64) & INDEX_MASK
        for time_ms, place in zip(times[is_native].tolist(), bits.tolist(), strict=True):
            stored = part.histograms[place]
            assert isinstance(stored, bytes)
            pieces.append(bytes_field(4, stored + number_field(15, time_ms)))
        times, values = times[~is_native], values[~is_native]
    out = np.zeros(kernels.SAMPLE_BYTES_MAX * values.size, np.uint8)
    contiguous = np.ascontiguousarray(times), np.ascontiguousarray(values).view(np.int64)
    return b"".join((out[: kernels.sample_messages(*contiguous, out)].tobytes(), *pieces))


def _chunks(part: Columns, row: int) -> Iterator[bytes]:
    """The chunks of a ChunkedSeries, each a field of it."""
    kernels = _kernels()
    first, end = int(part.offsets[row]), int(part.offsets[row + 1])
    bits = part.values.view(np.int64)
    for start in range(first, end, kernels.CHUNK_SAMPLES):
        samples = slice(start, min(start + kernels.CHUNK_SAMPLES, end))
        times = np.ascontiguousarray(part.timestamps_ms[samples])
        out = np.zeros(kernels.CHUNK_BYTES_MAX, np.uint8)
        size = kernels.xor_chunk(times, np.ascontiguousarray(bits[samples]), out)
        yield bytes_field(
            2,
            number_field(1, int(times[0]))
            + number_field(2, int(times[-1]))
            + number_field(3, XOR)
            + bytes_field(4, out[:size].tobytes()),
        )
