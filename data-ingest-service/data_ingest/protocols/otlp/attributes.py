"""Attributes of OpenTelemetry as text, and as labels.

Source: opentelemetry-proto `common/v1/common.proto`; OpenTelemetry specification, "AnyValue" of
common/README.md and compatibility/prometheus_and_openmetrics.md.
"""

import base64
import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from data_ingest.errors import InvalidLabels
from data_ingest.protocols.otlp.names import label_name
from data_ingest.protocols.protobuf import BYTES, FIXED64, VARINT, fields

Attributes = dict[str, str]

# Tags of KeyValue and of AnyValue.
_KEY: Final = 1 << 3 | BYTES
_VALUE: Final = 2 << 3 | BYTES
_STRING: Final = 1 << 3 | BYTES
_BOOLEAN: Final = 2 << 3 | VARINT
_INTEGER: Final = 3 << 3 | VARINT
_DOUBLE: Final = 4 << 3 | FIXED64
_ARRAY: Final = 5 << 3 | BYTES
_MAP: Final = 6 << 3 | BYTES
_RAW: Final = 7 << 3 | BYTES
_ELEMENT: Final = 1 << 3 | BYTES
_SCALARS: Final[dict[int, Callable[[Any], Any]]] = {
    _STRING: lambda text: text.decode(),
    _BOOLEAN: bool,
    _INTEGER: lambda bits: bits - (1 << 64) if bits >> 63 else bits,
    _DOUBLE: lambda bits: struct.unpack("<d", bits)[0],
    _RAW: lambda data: base64.b64encode(data).decode(),
}
_DEPTH_MAX: Final = 16


def attributes(message: bytes, tag: int) -> Attributes:
    """The attributes that are fields `tag` of the message, by key, values as text.

    Of a key given twice the values are joined with `;`. Raises `InvalidLabels`.
    """
    try:
        pairs = [_pair(value, 0) for at, value in fields(message) if at == tag]
    except ValueError as exc:  # malformed, or not UTF-8
        raise InvalidLabels(detail=f"attributes: {exc}") from exc
    return joined((key, _text(value)) for key, value in pairs)


def labels(pairs: Mapping[str, str], *, escape: bool, prefix: str = "") -> Attributes:
    """The attributes as labels: keys that become one label have their values joined by `;`."""
    ordered = sorted(pairs.items())
    return joined((label_name(prefix + key, escape=escape), value) for key, value in ordered)


def joined(pairs: Iterable[tuple[str, str]]) -> Attributes:
    """A dictionary of the pairs; the values of equal names are joined with `;`."""
    by_name: dict[str, list[str]] = {}
    for name, value in pairs:
        by_name.setdefault(name, []).append(value)
    return {name: ";".join(values) for name, values in by_name.items()}


def _pair(message: int | bytes, depth: int) -> tuple[str, Any]:
    assert isinstance(message, bytes)
    key, value = "", None
    for tag, part in fields(message):
        if tag == _KEY and isinstance(part, bytes):
            key = part.decode()
        elif tag == _VALUE and isinstance(part, bytes):
            value = _any_value(part, depth)
    return key, value


def _any_value(message: bytes, depth: int) -> Any:
    """What an AnyValue is in JSON's terms; None when it is empty. Raises ValueError."""
    if depth > _DEPTH_MAX:
        raise ValueError(f"values inside values, deeper than {_DEPTH_MAX}")
    value: Any = None
    for tag, part in fields(message):
        if tag in _SCALARS:
            value = _SCALARS[tag](part)
        elif tag == _ARRAY:
            value = [_any_value(one, depth + 1) for one in _elements(part)]
        elif tag == _MAP:
            value = dict(_pair(one, depth + 1) for one in _elements(part))
    return value


def _elements(message: int | bytes) -> list[bytes]:
    assert isinstance(message, bytes)
    return [one for tag, one in fields(message) if tag == _ELEMENT and isinstance(one, bytes)]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _number(value: float) -> str:
    """The shortest decimal that is this number, as JavaScript writes it: 1.0 is `1`."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        text = f"{Decimal(repr(value)):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}" if exponent else mantissa
