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
from data_ingest.protocols.protobuf import BYTES, FIXED64, VARINT, field, write_varint

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|-?Infinity|NaN")
_QUOTED_MAX: Final = 60
_REMEMBERED_MAX: Final = 256
"""Characters: longer text would fill the memory of all requests after it."""
_USUAL_ATTRIBUTE: Final = {"key", "value"}
_U64_MAX: Final = (1 << 64) - 1
_I64: Final = -(1 << 63), (1 << 63) - 1


def to_protobuf(body: bytes | bytearray) -> bytes:
    """The request as protobuf; `BadBody` when it is not JSON, or not of OTLP's form."""
    try:
        return _message("Request", json.loads(body.decode(), parse_constant=_refused))
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
    return _integer(value, 0, _U64_MAX).to_bytes(8, "little")


def _i64(value: Any) -> bytes:
    return struct.pack("<q", _integer(value, *_I64))


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


def _hex(value: Any) -> bytes:
    """The id of a trace or span; none where it is not hexadecimal."""
    try:
        return bytes.fromhex(_text(value).decode())
    except ValueError:
        return b""


def _zigzag(value: Any) -> bytes:
    whole = _integer(value, -(1 << 31), (1 << 31) - 1)
    return write_varint(whole << 1 ^ whole >> 31)


def _whole(value: Any) -> bytes:
    """An enum or flags: a number, and no string."""
    if isinstance(value, str):
        raise _wrong("an integer", value)
    return write_varint(_integer(value, 0, (1 << 32) - 1))


def _boolean(value: Any) -> bytes:
    if not isinstance(value, bool):
        raise _wrong("true or false", value)
    return write_varint(value)


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong("an array", value)
    return value


def _attribute(number: int, one: Any) -> bytes:
    """Short text, as nearly all are, is remembered: it is most of a request."""
    if type(one) is dict and one.keys() == _USUAL_ATTRIBUTE and type(one["value"]) is dict:
        key, text = one["key"], one["value"].get("stringValue")
        is_text = isinstance(key, str) and isinstance(text, str) and len(one["value"]) == 1
        if is_text and len(key + text) <= _REMEMBERED_MAX:
            return _text_attribute(number, key, text)
    return field(number, _message("Attribute", one))


@functools.lru_cache(4096)
def _text_attribute(number: int, key: str, text: str) -> bytes:
    return field(number, field(1, key.encode()) + field(2, field(1, text.encode())))


_Writer = Callable[[Any], bytes]
_SCALARS: Final[dict[str, tuple[int, _Writer]]] = {
    "u64": (FIXED64, _u64),
    "i64": (FIXED64, _i64),
    "double": (FIXED64, _double),
    "bool": (VARINT, _boolean),
    "enum": (VARINT, _whole),
    "int64": (VARINT, lambda value: write_varint(_integer(value, *_I64))),
    "uint64": (VARINT, lambda value: write_varint(_integer(value, 0, _U64_MAX))),
    "sint32": (VARINT, _zigzag),
    "string": (BYTES, _text),
    "base64": (BYTES, _base64),
    "hex": (BYTES, _hex),
}
_TIMES: Final = "startTimeUnixNano u64 2, timeUnixNano u64 3"
_FIELDS: Final = {
    "Request": "resourceMetrics ResourceMetrics* 1",
    "ResourceMetrics": "resource Resource 1, scopeMetrics ScopeMetrics* 2",
    "Resource": "attributes Attribute* 1",
    "Attribute": "key string 1, value Value 2",
    "Value": """stringValue string 1, boolValue bool 2, intValue int64 3, doubleValue double 4,
        arrayValue Array 5, kvlistValue Map 6, bytesValue base64 7""",
    "Array": "values Value* 1",
    "Map": "values Attribute* 1",
    "ScopeMetrics": "scope Scope 1, metrics Metric* 2, schemaUrl string 3",
    "Scope": "name string 1, version string 2, attributes Attribute* 3",
    "Metric": """name string 1, description string 2, unit string 3, gauge Numbers 5, sum Numbers 7,
        histogram Histogram 9, exponentialHistogram Exponential 10, summary Summary 11""",
    "Numbers": "dataPoints Number* 1, aggregationTemporality enum 2, isMonotonic bool 3",
    "Number": f"""{_TIMES}, asDouble double 4, asInt i64 6, exemplars Exemplar* 5,
        attributes Attribute* 7, flags enum 8""",
    "Histogram": "dataPoints Buckets* 1, aggregationTemporality enum 2",
    "Buckets": f"""{_TIMES}, count u64 4, sum double 5, bucketCounts u64* 6,
        explicitBounds double* 7, exemplars Exemplar* 8, attributes Attribute* 9, flags enum 10""",
    "Exponential": "dataPoints ExponentialBuckets* 1, aggregationTemporality enum 2",
    "ExponentialBuckets": f"""{_TIMES}, attributes Attribute* 1, count u64 4, sum double 5,
        scale sint32 6, zeroCount u64 7, positive Side 8, negative Side 9, flags enum 10,
        exemplars Exemplar* 11, zeroThreshold double 14""",
    "Side": "offset sint32 1, bucketCounts uint64* 2",
    "Summary": "dataPoints Quantiles* 1",
    "Quantiles": f"""{_TIMES}, count u64 4, sum double 5, quantileValues Quantile* 6,
        attributes Attribute* 7, flags enum 8""",
    "Quantile": "quantile double 1, value double 2",
    "Exemplar": """timeUnixNano u64 2, asDouble double 3, spanId hex 4, traceId hex 5, asInt i64 6,
        filteredAttributes Attribute* 7""",
}
"""By message: name, type and number of each field; `*`: an array, packed where it has numbers."""


def _writer(kind: str, number: int) -> _Writer:
    """What makes the bytes of a field, its tag too, of its value in JSON."""
    one, is_array = kind.rstrip("*"), kind.endswith("*")
    if one == "Attribute":
        return lambda value: b"".join([_attribute(number, item) for item in _array(value)])
    if one in _FIELDS and is_array:
        return lambda value: b"".join(
            [field(number, _message(one, item)) for item in _array(value)]
        )
    if one in _FIELDS:
        return lambda value: field(number, _message(one, value))
    wire, write = _SCALARS[one]
    if is_array:
        return lambda value: field(number, b"".join(map(write, _array(value))))
    if wire == BYTES:
        return lambda value: field(number, write(value))
    tag = write_varint(number << 3 | wire)
    return lambda value: tag + write(value)


_WRITERS: Final = {
    message: {
        name: _writer(kind, int(number)) for name, kind, number in map(str.split, listed.split(","))
    }
    for message, listed in _FIELDS.items()
}


def _message(name: str, value: Any) -> bytes:
    if not isinstance(value, dict):
        raise _wrong(f"an object ({name})", value)
    writers, parts = _WRITERS[name], []
    for key, one in value.items():
        if one is not None and key in writers:
            try:
                parts.append(writers[key](one))
            except _AtField:
                raise
            except (ValueError, OverflowError) as exc:
                raise _AtField(f"{key}: {exc}") from exc
    return b"".join(parts)


class _AtField(ValueError):
    """Says already which field it is about."""
