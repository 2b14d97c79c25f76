"""OTLP's JSON becomes the protobuf message it stands for, so that one walker reads both.

    JSON ─ known keys, values checked ─▶ dictionaries ─ protobuf's library ─▶ message

Keys are lowerCamelCase, others are ignored; enums are integers; 64-bit integers are strings or
numbers; ids of traces are hexadecimal.
Source: OTLP specification, "JSON Protobuf Encoding"; protobuf's ProtoJSON for what it leaves open.
"""

import base64
import json
import math
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Final, NoReturn

from google.protobuf.message import EncodeError

from data_ingest.errors import BadBody
from data_ingest.protocols import messages

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|-?Infinity|NaN")
_QUOTED_MAX: Final = 60
_REMEMBERED_MAX: Final = 256
"""Characters: longer text would fill the memory of all requests after it."""


def to_protobuf(body: bytes | bytearray) -> bytes:
    """The request as protobuf; `BadBody` when it is not JSON, or not of OTLP's form."""
    try:
        fields = _message("Request", json.loads(body.decode(), parse_constant=_refused))
        message: bytes = messages.OTLP["Request"](**fields).SerializeToString()
    except (RecursionError, EncodeError) as exc:
        raise BadBody(detail="JSON: values inside values, too deep") from exc
    except ValueError as exc:
        raise BadBody(detail=f"JSON: {exc}") from exc
    return message


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; it is written as a string")


def _wrong(expected: str, value: Any) -> ValueError:
    return ValueError(f"expected {expected}, not {json.dumps(value)[:_QUOTED_MAX]}")


def _integer(smallest: int, bits: int, value: Any) -> int:
    """A number, or a string of one, from `smallest` on."""
    largest = (1 << bits) - 1
    if (isinstance(value, str) and _INTEGER.fullmatch(value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
        raise _wrong(f"an integer in {smallest}..{largest}", value)
    return value


def _double(value: Any) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
        raise _wrong("a number", value)
    return float(value)


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


def _enum(value: Any) -> int:
    """An enum or flags: a number, and no string."""
    if isinstance(value, str):
        raise _wrong("an integer", value)
    return _integer(0, 32, value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong("true or false", value)
    return value


def _array(one: "_Reader", value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong("an array", value)
    return [one(item) for item in value]


_Reader = Callable[[Any], Any]
_SCALARS: Final[dict[str, _Reader]] = {
    **dict.fromkeys(("fixed64", "uint64"), partial(_integer, 0, 64)),
    **dict.fromkeys(("sfixed64", "int64"), partial(_integer, -(1 << 63), 63)),
    "sint32": partial(_integer, -(1 << 31), 31),
    "double": _double,
    "bool": _boolean,
    "enum": _enum,
    "text": _text,
    "base64": _base64,
    "hex": _hex,
}


def _reader(kind: str) -> _Reader:
    """What makes of a field's value in JSON what its class takes."""
    one = kind.removesuffix("*")
    read = _attribute if one == "KeyValue" else _SCALARS.get(one) or partial(_message, one)
    return partial(_array, read) if kind.endswith("*") else read


def _message(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(f"an object ({name})", value)
    readers, fields = _READERS[name], {}
    for key, one in value.items():
        if one is not None and (read := readers.get(key)):
            try:
                fields[key] = read(one)
            except _AtField:
                raise
            except (ValueError, OverflowError) as exc:  # a number that no double can be overflows
                raise _AtField(f"{key}: {exc}") from exc
    return fields


def _attribute(value: Any) -> Any:
    """Short text, as nearly all are, is remembered: it is most of a request."""
    if type(value) is dict and value.keys() == {"key", "value"} and type(value["value"]) is dict:
        key, text = value["key"], value["value"].get("stringValue")
        is_text = isinstance(key, str) and isinstance(text, str) and len(value["value"]) == 1
        if is_text and len(key + text) <= _REMEMBERED_MAX:
            return _text_attribute(key, text)
    return _message("KeyValue", value)


@lru_cache(4096)
def _text_attribute(key: str, text: str) -> Any:
    return messages.OTLP["KeyValue"](key=key.encode(), value={"stringValue": text.encode()})


class _AtField(ValueError):
    """Says already which field it is about."""


_READERS: Final = {
    message: {name: _reader(kind) for name, kind, _ in map(str.split, listed.split(","))}
    for message, listed in messages.OTLP_FIELDS.items()
}
