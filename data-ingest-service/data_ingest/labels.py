"""Labels of a new series: checked, sorted, and identified by a strong hash.

Runs once for each series that the cache does not know.
Source: docs/contracts.md, section 3 (labels_hash); Prometheus data model.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from data_ingest.errors import InvalidLabels
from data_ingest.kernels import label_sets
from data_ingest.model import I64, LabelSets, RawLabels, SampleBatch

_SEPARATOR = b"\xff"
_QUOTED_MAX = 100
_ROWS_MIN, _ROWS_AT_ONCE = 8, 256
"""Labels that rows share are copied for each: of so many at once, at most 64 KiB a row."""
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class LabelRules:
    """The sizes a series may have (see `settings`); bytes are UTF-8 bytes."""

    labels_max: int
    name_bytes_max: int
    value_bytes_max: int


class NewSeries(NamedTuple):
    """A series as `metrics.series` keeps it."""

    labels_hash: bytes
    labels_json: str


def canonical(raw: RawLabels, rules: LabelRules) -> NewSeries:
    """The one form of these labels, whatever order they came in; `InvalidLabels` for bad ones.

    A label with an empty value is the same as no label. Names are unique and not empty; names and
    values are UTF-8 without NUL (jsonb cannot hold it); at least one label must be left.
    """
    labels = _sorted(raw)
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
    return NewSeries(labels_hash(labels), text)


def labels_hash(ordered: RawLabels) -> bytes:
    """16 bytes: the identity of labels that are sorted by name bytes and have no empty values."""
    return _hash(_SEPARATOR.join([part for label in ordered for part in label] + [b""]))


def _hash(joined: bytes) -> bytes:
    return hashlib.blake2b(joined, digest_size=16, person=b"coh-series").digest()


def plain_series(
    batch: SampleBatch, rows: I64, rules: LabelRules, other: bytes
) -> Iterator[NewSeries | None]:
    """Of these rows what `canonical` makes of them, in a third of the time.

    None for a row that `canonical` must look at: labels that are to be refused or sorted, have the
    name `other`, or hold characters that JSON escapes. Each, when there are few rows.
    """
    if rows.size < _ROWS_MIN:
        yield from [None] * rows.size
        return
    limits = np.array([rules.labels_max, rules.name_bytes_max, rules.value_bytes_max])
    sets_of, other_key = batch.label_sets or partial(_label_sets, batch), b'"%b":' % other
    for i in range(0, rows.size, _ROWS_AT_ONCE):
        buf, spans, ends = sets_of(rows[i : i + _ROWS_AT_ONCE])
        label_bytes = int((spans[:, 1] - spans[:, 0] + spans[:, 3] - spans[:, 2]).sum())
        out = np.empty(2 * (len(ends) + label_bytes) + 8 * len(spans), np.uint8)
        at = np.empty((len(ends), 3), np.int64)
        label_sets.write(buf, spans, ends, limits, out, at)
        written = out[: at[-1, 2]].tobytes()
        for start, middle, end in at.tolist():
            text, series = written[start:middle], None
            if text and other_key not in text:
                with contextlib.suppress(UnicodeDecodeError):
                    series = NewSeries(_hash(written[middle:end]), text.decode())
            yield series


def _label_sets(batch: SampleBatch, rows: I64) -> LabelSets:
    """The labels of these rows, one by one and sorted; none where they cannot be read."""
    parts: list[bytes] = []
    ends = []
    for row in rows.tolist():
        with contextlib.suppress(InvalidLabels):
            for label in _sorted(batch.labels_at(row)):
                parts += label
        ends.append(len(parts) // 2)
    edges = np.cumsum([0, *map(len, parts)])
    spans = np.stack((edges[:-1], edges[1:]), axis=1).reshape(-1, 4)
    return LabelSets(np.frombuffer(b"".join(parts), np.uint8), spans, np.array(ends))


def _sorted(raw: RawLabels) -> RawLabels:
    return sorted([label for label in raw if label[1]])


def _quoted(text: bytes) -> str:
    shown = text[:_QUOTED_MAX].decode(errors="replace")
    return repr(shown + ("…" if len(text) > _QUOTED_MAX else ""))
