"""Answers as Prometheus JSON, without a Python object for each sample; pure.

orjson writes a whole column of floats at once; its tokens are joined between step texts that are
made once for the answer. About 0.2 µs a sample, see benchmarks/bench_query.py.

Numbers: times are JSON numbers in seconds, values are strings, the shortest decimal that reads back
as the same float, without an exponent (Go's strconv 'f', -1), NaN, +Inf, -Inf by those names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import orjson

from data_api.api.histogram_json import histogram_json, named, natives
from data_api.chassis.kinds import ServiceError
from data_api.errors import AnswerTooLarge
from data_api.model import (
    F64,
    I64,
    Columns,
    InstantVector,
    Labels,
    QueryLimits,
    RangeMatrix,
    Result,
    Scalar,
    Stats,
    String,
    is_histogram,
)
from data_api.native_histogram import Histogram
from data_api.promql.numerals import format_sample

# Outside of these bounds orjson writes an exponent, which Prometheus does elsewhere.
PLAIN_MIN: Final = 1e-5
PLAIN_MAX: Final = 1e16
TRUNCATED: Final = "results truncated due to limit"


def envelope(data: bytes, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> bytes:
    """`{"status":"success","data":…}` around JSON; `warnings` and `infos` where there are some."""
    return b"".join(enveloped([data], warnings, infos))


def enveloped(
    data: list[bytes], warnings: Sequence[str] = (), infos: Sequence[str] = ()
) -> list[bytes]:
    """`envelope` around JSON in pieces, in pieces."""
    notes = b""
    if warnings:
        notes += b',"warnings":' + orjson.dumps(list(warnings))
    if infos:
        notes += b',"infos":' + orjson.dumps(list(infos))
    return [b'{"status":"success","data":', *data, notes + b"}"]


def query_answer(
    limit: int,
    result: Result,
    limits: QueryLimits = QueryLimits(),  # noqa: B008 - frozen
    *,
    show_stats: Callable[[Stats], bytes] | None = None,
) -> list[bytes]:
    """The body of query and query_range; `limit` > 0 keeps that many series and says so.

    In pieces that are never joined: copying a large answer would hold up every other thread.
    Raises AnswerTooLarge.
    """
    value, warnings = result.value, list(result.warnings)
    if limit and not isinstance(value, Scalar | String) and len(value.labels) > limit:
        value = first_series(value, limit)
        warnings.append(TRUNCATED)
    match value:
        case Scalar():
            kind, items = b"scalar", [_point(value.timestamp_ms, format_sample(value.value))]
        case String():
            kind, items = b"string", [_point(value.timestamp_ms, value.value)]
        case InstantVector():
            kind, items = b"vector", list_pieces(_vector(value), limits)
        case RangeMatrix():
            kind, items = b"matrix", list_pieces(_matrix(value), limits)
        case Columns():
            kind, items = b"matrix", list_pieces(_columns(value), limits)
    stats = b""
    if show_stats is not None and result.stats is not None:
        stats = b',"stats":' + show_stats(result.stats)
    data = [b'{"resultType":"%b","result":' % kind, *items, stats + b"}"]
    return enveloped(data, warnings, result.infos)


def ranges_answer(results: Iterable[Result | ServiceError], limits: QueryLimits) -> list[bytes]:
    """The body of query_ranges: what query_range answers to each, or its error.

    Raises AnswerTooLarge for all of them together.
    """
    pieces: list[bytes] = []
    size = 0
    for result in results:
        answer = _one_answer(result, limits)
        size += sum(map(len, answer))
        if size > limits.answer_bytes_max:
            raise AnswerTooLarge(bytes=size, limit=limits.answer_bytes_max)
        pieces += [b"," if pieces else b"[", *answer]
    return enveloped([*pieces, b"]"])


def _one_answer(result: Result | ServiceError, limits: QueryLimits) -> list[bytes]:
    if not isinstance(result, ServiceError):
        try:
            return query_answer(0, result, limits)
        except AnswerTooLarge as exc:
            result = exc
    failure = {"status": "error", "errorType": str(result.kind), "error": result.describe()}
    return [orjson.dumps(failure)]


def list_answer(
    limit: int,
    items: Sequence[str] | Sequence[Labels],
    limits: QueryLimits = QueryLimits(),  # noqa: B008 - frozen
) -> list[bytes]:
    """The body of labels, label values and series; `limit` as in `query_answer`.

    1,000 at a time: each text that orjson returns keeps the buffer it began with, which took 6 GB
    for a million label sets one by one; and one text of all would hold up every other thread.
    Raises AnswerTooLarge.
    """
    shown = items[:limit] if limit else items
    runs = (
        orjson.dumps(list(shown[i : i + 1000]), option=orjson.OPT_SORT_KEYS)[1:-1]
        for i in range(0, len(shown), 1000)
    )
    return enveloped(list_pieces(runs, limits), [TRUNCATED] if len(shown) < len(items) else ())


def metadata_answer(
    rows: Sequence[tuple[str, str, str, str]], limits: QueryLimits, *, is_cut: bool = False
) -> list[bytes]:
    """The body of metadata: (metric name, type, help, unit) by name. Raises AnswerTooLarge."""
    runs = (
        orjson.dumps(
            {
                name: [{"type": kind, "help": text, "unit": unit}]
                for name, kind, text, unit in rows[i : i + 1000]
            }
        )[1:-1]
        for i in range(0, len(rows), 1000)
    )
    _, *pieces, _ = list_pieces(runs, limits)
    return enveloped([b"{", *pieces, b"}"], [TRUNCATED] if is_cut else ())


def list_pieces(items: Iterable[bytes | Iterator[bytes]], limits: QueryLimits) -> list[bytes]:
    """A JSON array of items, which may come in pieces; raises AnswerTooLarge as soon as it has too
    many bytes.
    """
    pieces = [b"["]
    size = 0
    for item in items:
        size += 1
        if len(pieces) > 1:
            pieces.append(b",")
        for piece in (item,) if isinstance(item, bytes) else item:
            limits.checkpoint()
            size += len(piece)
            if size > limits.answer_bytes_max:
                raise AnswerTooLarge(bytes=size, limit=limits.answer_bytes_max)
            pieces.append(piece)
    pieces.append(b"]")
    return pieces


def first_series(
    value: InstantVector | RangeMatrix | Columns, limit: int
) -> InstantVector | RangeMatrix | Columns:
    """The same value with its first `limit` series only."""
    labels = value.labels[:limit]
    match value:
        case InstantVector():
            return replace(value, labels=labels, values=value.values[:limit])
        case RangeMatrix():
            present = value.present[:limit]
            return replace(value, labels=labels, values=value.values[:limit], present=present)
        case Columns():
            return replace(value, labels=labels, offsets=value.offsets[: limit + 1])


def labels_json(labels: Labels) -> bytes:
    """A label set as a JSON object, names in order."""
    return orjson.dumps(dict(labels), option=orjson.OPT_SORT_KEYS)


def value_tokens(values: F64) -> list[bytes]:
    """Each value as text, unquoted."""
    if not values.size:
        return []
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    # A shortest decimal ends in ".0" only when the value is whole.
    tokens = text[1:-1].replace(b".0,", b",").removesuffix(b".0").split(b",")
    size = np.abs(values)
    plain = (size >= PLAIN_MIN) & (size < PLAIN_MAX) | (values == 0)
    if not plain.all():
        for at in np.flatnonzero(~plain).tolist():
            tokens[at] = format_sample(float(values[at])).encode()
    return tokens


def time_tokens(timestamps_ms: I64) -> list[bytes]:
    """Each time as a JSON number of seconds: three decimals, or none for whole seconds."""
    if not (timestamps_ms % 1000).any():
        return [b"%d" % second for second in (timestamps_ms // 1000).tolist()]
    return [time_token(timestamp_ms) for timestamp_ms in timestamps_ms.tolist()]


def time_token(timestamp_ms: int) -> bytes:
    """One time as a JSON number of seconds."""
    seconds, thousandths = divmod(abs(timestamp_ms), 1000)
    sign = b"-" if timestamp_ms < 0 else b""
    return sign + (b"%d.%03d" % (seconds, thousandths) if thousandths else b"%d" % seconds)


def _point(timestamp_ms: int, text: str) -> bytes:
    return b"[%b,%b]" % (time_token(timestamp_ms), orjson.dumps(text))


def _vector(vector: InstantVector) -> Iterable[bytes]:
    at = time_token(vector.timestamp_ms)
    is_native = natives(vector.values, vector.histograms)
    for row, (labels, token) in enumerate(
        zip(vector.labels, value_tokens(vector.values), strict=True)
    ):
        metric = labels_json(labels)
        if is_native is not None and is_native[row]:
            body = histogram_json(named(vector.values[row : row + 1], vector.histograms))
            yield b'{"metric":%b,"histogram":[%b,%b]}' % (metric, at, body)
        else:
            yield b'{"metric":%b,"value":[%b,"%b"]}' % (metric, at, token)


def _matrix(matrix: RangeMatrix) -> Iterable[bytes | Iterator[bytes]]:
    tokens = time_tokens(matrix.steps_ms)
    lefts = [b'"],[%b,"' % token for token in tokens]
    whole = np.atleast_1d(matrix.present.all(axis=1))
    is_native = natives(matrix.values, matrix.histograms)
    for row, labels in enumerate(matrix.labels):
        values = matrix.values[row]
        there = np.flatnonzero(matrix.present[row])
        if is_native is not None and is_native[row][there].any():
            times = [tokens[at] for at in there.tolist()]
            yield _mixed_series(labels, times, values[there], matrix.histograms)
        elif whole[row]:
            yield _series(labels, lefts, values)
        else:
            yield _series(labels, [lefts[at] for at in there.tolist()], values[there])


def _columns(columns: Columns) -> Iterable[bytes | Iterator[bytes]]:
    for row, labels in enumerate(columns.labels):
        samples = slice(int(columns.offsets[row]), int(columns.offsets[row + 1]))
        times, values = time_tokens(columns.timestamps_ms[samples]), columns.values[samples]
        if natives(values, columns.histograms) is not None:
            yield _mixed_series(labels, times, values, columns.histograms)
        else:
            yield _series(labels, [b'"],[%b,"' % token for token in times], values)


def _mixed_series(
    labels: Labels, times: list[bytes], values: F64, histograms: Sequence[Histogram | bytes]
) -> Iterator[bytes]:
    """A series with native histograms, which stand behind its floats; a piece for each."""
    is_native = is_histogram(values)
    places = np.flatnonzero(~is_native)
    tokens = zip(places.tolist(), value_tokens(values[places]), strict=True)
    floats = b",".join(b'[%b,"%b"]' % (times[at], token) for at, token in tokens)
    yield b'{"metric":%b,' % labels_json(labels)
    yield b'"values":[%b],' % floats if floats else b""
    left = b'"histograms":['
    for at in np.flatnonzero(is_native).tolist():
        body = histogram_json(named(values[at : at + 1], histograms))
        yield b"%b[%b,%b]" % (left, times[at], body)
        left = b","
    yield b"]}"


def _series(labels: Mapping[str, str], lefts: list[bytes], values: F64) -> bytes:
    """One series; `lefts` hold the end of the sample before and the time of this one."""
    if not lefts:
        return b'{"metric":%b,"values":[]}' % labels_json(labels)
    pieces = [b""] * (2 * len(lefts))
    pieces[0::2] = lefts
    pieces[1::2] = value_tokens(values)
    samples = b"".join(pieces)
    # The first left begins with the end of a sample that is not there: '"],'.
    return b'{"metric":%b,"values":[%b"]]}' % (labels_json(labels), samples[3:])
