"""What a series is: labels checked, sorted, and named by a strong hash. The slow path, once a
series.

Source: docs/contracts.md, section 3 (labels_hash); Prometheus data model.
"""

import hashlib
import json
from dataclasses import dataclass

from data_ingest.errors import InvalidLabels
from data_ingest.model import RawLabels

_SEPARATOR = b"\xff"
_QUOTED_MAX = 100


@dataclass(frozen=True, slots=True)
class LabelRules:
    """The sizes a series may have; bytes are UTF-8 bytes."""

    labels_max: int = 128
    name_bytes_max: int = 1024
    value_bytes_max: int = 8192


@dataclass(frozen=True, slots=True)
class NewSeries:
    """A series as `metrics.series` keeps it."""

    labels_json: str
    labels_hash: bytes


def canonical(raw: RawLabels, rules: LabelRules) -> NewSeries:
    """The one form of these labels, whatever order they came in; `InvalidLabels` says what is wrong
    where.

    A label with an empty value is the same as no label. Names are unique and not empty; names and
    values are UTF-8 without NUL (jsonb cannot hold it); at least one label is left.
    """
    kept = sorted((name, value) for name, value in raw if value)
    if not kept:
        raise InvalidLabels(detail="a series has no labels")
    if len(kept) > rules.labels_max:
        raise InvalidLabels(detail="too many labels", labels=len(kept), limit=rules.labels_max)
    previous = b""
    for name, value in kept:
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
        labels = {name.decode(): value.decode() for name, value in kept}
    except UnicodeDecodeError as exc:
        raise InvalidLabels(detail=f"not UTF-8: {_quoted(exc.object)}") from exc
    text = json.dumps(labels, ensure_ascii=False, separators=(",", ":"))
    if "\\u0000" in text and any(b"\0" in name or b"\0" in value for name, value in kept):
        raise InvalidLabels(detail="a label holds a NUL byte")
    return NewSeries(text, labels_hash(kept))


def labels_hash(ordered: RawLabels) -> bytes:
    """16 bytes: the identity of labels that are sorted by name bytes and have no empty values."""
    joined = b"".join(
        part for name, value in ordered for part in (name, _SEPARATOR, value, _SEPARATOR)
    )
    return hashlib.blake2b(joined, digest_size=16, person=b"coh-series").digest()


def _quoted(text: bytes) -> str:
    shown = text[:_QUOTED_MAX].decode(errors="replace")
    return repr(shown + ("…" if len(text) > _QUOTED_MAX else ""))
