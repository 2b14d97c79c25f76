"""Attributes of OpenTelemetry as text, and as labels.

Source: opentelemetry-proto `common/v1/common.proto`; OpenTelemetry specification, "AnyValue" of
common/README.md and compatibility/prometheus_and_openmetrics.md.
"""

import base64
import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from google.protobuf.message import DecodeError

from data_ingest.errors import InvalidLabels
from data_ingest.protocols.otlp.names import label_name

Attributes = dict[str, str]
_DEPTH_MAX: Final = 16


def parsed(kind: Any, message: bytes) -> Any:
    """The message, of a class of `messages`; `InvalidLabels` where it is malformed."""
    try:
        return kind.FromString(message)
    except DecodeError as exc:
        raise InvalidLabels(detail="malformed protobuf") from exc


def attributes(pairs: Iterable[Any]) -> Attributes:
    """The attributes by key, values as text, of KeyValue messages.

    Of a key given twice the values are joined with `;`. Raises `InvalidLabels`.
    """
    try:
        return joined((pair.key.decode(), _text(plain(pair.value, 0))) for pair in pairs)
    except ValueError as exc:  # not UTF-8, or too deep
        raise InvalidLabels(detail=f"attributes: {exc}") from exc


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


def plain(value: Any, depth: int) -> Any:
    """What an AnyValue is in JSON's terms; None when it is empty. Raises ValueError."""
    if depth > _DEPTH_MAX:
        raise ValueError(f"values inside values, deeper than {_DEPTH_MAX}")
    match kind := value.WhichOneof("value"):
        case None:
            return None
        case "arrayValue":
            return [plain(one, depth + 1) for one in value.arrayValue.values]
        case "kvlistValue":
            return {
                one.key.decode(): plain(one.value, depth + 1) for one in value.kvlistValue.values
            }
        case "stringValue":
            return value.stringValue.decode()
        case "bytesValue":
            return base64.b64encode(value.bytesValue).decode()
    return getattr(value, kind)


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
