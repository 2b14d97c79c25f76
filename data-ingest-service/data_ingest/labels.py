"""Labels of a new series: checked, sorted, and identified by a strong hash.

Runs once for each series that the cache does not know.
Source: docs/contracts.md, section 3 (labels_hash); Prometheus data model.
"""

import hashlib
import json
from dataclasses import dataclass

from data_ingest.errors import InvalidLabels
from data_ingest.model import RawLabels

_SEPARATOR = b"\xff"
_QUOTED_MAX = 100
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class LabelRules:
    """The sizes a series may have (see `settings`); bytes are UTF-8 bytes."""

    labels_max: int
    name_bytes_max: int
    value_bytes_max: int


@dataclass(frozen=True, slots=True)
class NewSeries:
    """A series as `metrics.series` keeps it."""

    labels_json: str
    labels_hash: bytes


def canonical(raw: RawLabels, rules: LabelRules) -> NewSeries:
    """The one form of these labels, whatever order they came in; `InvalidLabels` for bad ones.

    A label with an empty value is the same as no label. Names are unique and not empty; names and
    values are UTF-8 without NUL (jsonb cannot hold it); at least one label must be left.
    """
    labels = sorted([label for label in raw if label[1]])
    if not labels:
        raise InvalidLabels(detail="a series has no labels")
    if len(labels) > rules.labels_max:
        raise InvalidLabels(detail="too many labels", labels=len(labels), limit=rules.labels_max)
    previous = b""
    for name, value in labels:
        if name == previous:
            text = "empty label name" if not name else f"duplicate label {_quoted(name)}"
            raise InvalidLabels(detail=text)
        if len(name) > rules.name_bytes_max:
            raise InvalidLabels(
                detail=f"label name too long: {_quoted(name)}",
                bytes=len(name),
                limit=rules.name_bytes_max,
            )
        if len(value) > rules.value_bytes_max:
            raise InvalidLabels(
                detail=f"value of {_quoted(name)} too long",
                bytes=len(value),
                limit=rules.value_bytes_max,
            )
        previous = name
    try:
        decoded = {name.decode(): value.decode() for name, value in labels}
    except UnicodeDecodeError as exc:
        raise InvalidLabels(detail=f"not UTF-8: {_quoted(exc.object)}") from exc
    text = _json(decoded)
    if "\\u0000" in text and any(b"\0" in name or b"\0" in value for name, value in labels):
        raise InvalidLabels(detail="a label holds a NUL byte")
    return NewSeries(text, labels_hash(labels))


def labels_hash(ordered: RawLabels) -> bytes:
    """16 bytes: the identity of labels that are sorted by name bytes and have no empty values."""
    joined = _SEPARATOR.join([part for label in ordered for part in label] + [b""])
    return hashlib.blake2b(joined, digest_size=16, person=b"coh-series").digest()


def _quoted(text: bytes) -> str:
    shown = text[:_QUOTED_MAX].decode(errors="replace")
    return repr(shown + ("…" if len(text) > _QUOTED_MAX else ""))
