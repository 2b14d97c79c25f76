"""OTLP's JSON becomes the protobuf message it stands for, so that one walker reads both.

Keys are lowerCamelCase, others are ignored; enums are integers; 64-bit integers are strings or
numbers; ids of traces are hexadecimal.
Source: OTLP specification, "JSON Protobuf Encoding"; protobuf's ProtoJSON for what it leaves open.
"""

import base64
import functools
import json
import math
import re
import struct
from collections.abc import Callable
from typing import Any, Final, NoReturn

from data_ingest.errors import BadBody
from data_ingest.protocols.protobuf import FIXED64, VARINT, field, write_varint

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|-?Infinity|NaN")
_QUOTED_MAX: Final = 60
_REMEMBERED_MAX: Final = 256
"""Characters: longer text would fill the memory of all requests after it."""
_USUAL_ATTRIBUTE: Final = {"key", "value"}


def to_protobuf(body: bytes | bytearray) -> bytes:
    """The request as protobuf; `BadBody` when it is not JSON, or not of OTLP's form."""
    try:
        return _message("request", json.loads(body.decode(), parse_constant=_refused))
    except RecursionError as exc:
        raise BadBody(detail="JSON: values inside values, too deep") from exc
    except (ValueError, OverflowError) as exc:  # a number that no double can be overflows
        raise BadBody(detail=f"JSON: {exc}") from exc


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; it is written as a string")


def _wrong(expected: str, value: Any) -> ValueError:
    return ValueError(f"expected {expected}, not {json.dumps(value)[:_QUOTED_MAX]}")


def _integer(value: Any, smallest: int, largest: int) -> int:
    if (isinstance(value, str) and _INTEGER.fullmatch(value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
        raise _wrong(f"an integer in {smallest}..{largest}", value)
    return value


def _u64(value: Any) -> bytes:
    return struct.pack("<Q", _integer(value, 0, (1 << 64) - 1))


def _i64(value: Any) -> bytes:
    return struct.pack("<q", _integer(value, -(1 << 63), (1 << 63) - 1))


def _double(value: Any) -> bytes:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return struct.pack("<d", float(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
        raise _wrong("a number", value)
    return struct.pack("<d", value)


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _wrong("a string", value)
    return value.encode()


def _base64(value: Any) -> bytes:
    return base64.b64decode(_text(value).translate(bytes.maketrans(b"-_", b"+/")), validate=True)


def _fixed(pack: Callable[[Any], bytes]) -> "_Writer":
    return lambda number, value: write_varint(number << 3 | FIXED64) + pack(value)


def _delimited(pack: Callable[[Any], bytes]) -> "_Writer":
    return lambda number, value: field(number, pack(value))


def _hex(value: Any) -> bytes:
    """The id of a trace or span; none where it is not hexadecimal."""
    try:
        return bytes.fromhex(_text(value).decode())
    except ValueError:
        return b""


def _varint_u64(value: Any) -> bytes:
    return write_varint(_integer(value, 0, (1 << 64) - 1))


def _zigzag(number: int, value: Any) -> bytes:
    whole = _integer(value, -(1 << 31), (1 << 31) - 1)
    return write_varint(number << 3 | VARINT) + write_varint(whole << 1 ^ whole >> 31)


def _packed(pack: Callable[[Any], bytes]) -> "_Writer":
    return lambda number, value: field(number, b"".join(map(pack, _array(value))))


def _one(name: str) -> "_Writer":
    return lambda number, value: field(number, _message(name, value))


def _many(name: str) -> "_Writer":
    return lambda number, value: b"".join(
        field(number, _message(name, one)) for one in _array(value)
    )


def _attributes(number: int, value: Any) -> bytes:
    return b"".join(_attribute(number, one) for one in _array(value))


def _attribute(number: int, one: Any) -> bytes:
    """Short text, as nearly all are, is remembered: it is most of a request."""
    if type(one) is dict and one.keys() == _USUAL_ATTRIBUTE and type(one["value"]) is dict:
        key, text = one["key"], one["value"].get("stringValue")
        is_text = isinstance(key, str) and isinstance(text, str) and len(one["value"]) == 1
        if is_text and len(key + text) <= _REMEMBERED_MAX:
            return _text_attribute(number, key, text)
    return field(number, _message("attribute", one))


@functools.lru_cache(4096)
def _text_attribute(number: int, key: str, text: str) -> bytes:
    return field(number, field(1, key.encode()) + field(2, field(1, text.encode())))


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong("an array", value)
    return value


def _whole(number: int, value: Any) -> bytes:
    """An enum or flags: a number, and no string."""
    if isinstance(value, str):
        raise _wrong("an integer", value)
    return write_varint(number << 3 | VARINT) + write_varint(_integer(value, 0, (1 << 32) - 1))


def _int64(number: int, value: Any) -> bytes:
    return write_varint(number << 3 | VARINT) + write_varint(
        _integer(value, -(1 << 63), (1 << 63) - 1)
    )


def _boolean(number: int, value: Any) -> bytes:
    if not isinstance(value, bool):
        raise _wrong("true or false", value)
    return write_varint(number << 3 | VARINT) + write_varint(int(value))


_Writer = Callable[[int, Any], bytes]
_STRING: Final = _delimited(_text)
_TIMES: Final[dict[str, tuple[int, _Writer]]] = {
    "startTimeUnixNano": (2, _fixed(_u64)),
    "timeUnixNano": (3, _fixed(_u64)),
}
_MESSAGES: Final[dict[str, dict[str, tuple[int, _Writer]]]] = {
    "request": {"resourceMetrics": (1, _many("resource metrics"))},
    "resource metrics": {
        "resource": (1, _one("resource")),
        "scopeMetrics": (2, _many("scope metrics")),
    },
    "resource": {"attributes": (1, _attributes)},
    "attribute": {"key": (1, _STRING), "value": (2, _one("value"))},
    "value": {
        "stringValue": (1, _STRING),
        "boolValue": (2, _boolean),
        "intValue": (3, _int64),
        "doubleValue": (4, _fixed(_double)),
        "arrayValue": (5, _one("array")),
        "kvlistValue": (6, _one("map")),
        "bytesValue": (7, _delimited(_base64)),
    },
    "array": {"values": (1, _many("value"))},
    "map": {"values": (1, _many("attribute"))},
    "scope metrics": {
        "scope": (1, _one("scope")),
        "metrics": (2, _many("metric")),
        "schemaUrl": (3, _STRING),
    },
    "scope": {
        "name": (1, _STRING),
        "version": (2, _STRING),
        "attributes": (3, _attributes),
    },
    "metric": {
        "name": (1, _STRING),
        "description": (2, _STRING),
        "unit": (3, _STRING),
        "gauge": (5, _one("numbers")),
        "sum": (7, _one("numbers")),
        "histogram": (9, _one("histogram")),
        "exponentialHistogram": (10, _one("exponential histogram")),
        "summary": (11, _one("summary")),
    },
    "numbers": {
        "dataPoints": (1, _many("number")),
        "aggregationTemporality": (2, _whole),
        "isMonotonic": (3, _boolean),
    },
    "number": {
        **_TIMES,
        "asDouble": (4, _fixed(_double)),
        "asInt": (6, _fixed(_i64)),
        "exemplars": (5, _many("exemplar")),
        "attributes": (7, _attributes),
        "flags": (8, _whole),
    },
    "histogram": {
        "dataPoints": (1, _many("buckets")),
        "aggregationTemporality": (2, _whole),
    },
    "buckets": {
        **_TIMES,
        "count": (4, _fixed(_u64)),
        "sum": (5, _fixed(_double)),
        "bucketCounts": (6, _packed(_u64)),
        "explicitBounds": (7, _packed(_double)),
        "exemplars": (8, _many("exemplar")),
        "attributes": (9, _attributes),
        "flags": (10, _whole),
    },
    "exponential histogram": {
        "dataPoints": (1, _many("exponential buckets")),
        "aggregationTemporality": (2, _whole),
    },
    "summary": {"dataPoints": (1, _many("quantiles"))},
    "quantiles": {
        **_TIMES,
        "count": (4, _fixed(_u64)),
        "sum": (5, _fixed(_double)),
        "quantileValues": (6, _many("quantile")),
        "attributes": (7, _attributes),
        "flags": (8, _whole),
    },
    "quantile": {"quantile": (1, _fixed(_double)), "value": (2, _fixed(_double))},
    "exponential buckets": {
        **_TIMES,
        "attributes": (1, _attributes),
        "count": (4, _fixed(_u64)),
        "sum": (5, _fixed(_double)),
        "scale": (6, _zigzag),
        "zeroCount": (7, _fixed(_u64)),
        "positive": (8, _one("side")),
        "negative": (9, _one("side")),
        "flags": (10, _whole),
        "exemplars": (11, _many("exemplar")),
        "zeroThreshold": (14, _fixed(_double)),
    },
    "side": {"offset": (1, _zigzag), "bucketCounts": (2, _packed(_varint_u64))},
    "exemplar": {
        "timeUnixNano": (2, _fixed(_u64)),
        "asDouble": (3, _fixed(_double)),
        "spanId": (4, _delimited(_hex)),
        "traceId": (5, _delimited(_hex)),
        "asInt": (6, _fixed(_i64)),
        "filteredAttributes": (7, _attributes),
    },
}


def _message(name: str, value: Any) -> bytes:
    if not isinstance(value, dict):
        raise _wrong(f"an object ({name})", value)
    written, parts = _MESSAGES[name], []
    for key, one in value.items():
        if one is not None and key in written:
            number, write = written[key]
            try:
                parts.append(write(number, one))
            except _AtField:
                raise
            except (ValueError, OverflowError) as exc:
                raise _AtField(f"{key}: {exc}") from exc
    return b"".join(parts)


class _AtField(ValueError):
    """Says already which field it is about."""
