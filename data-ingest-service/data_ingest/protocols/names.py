"""Names as Prometheus first allowed them: what they could not hold becomes `_`."""

import re
from collections.abc import Callable
from typing import Final

from data_ingest.model import RawLabels

_NO_METRIC_NAME: Final = re.compile("[^a-zA-Z0-9_:]")
_NO_LABEL_NAME: Final = re.compile("[^a-zA-Z0-9_]")
_NAME: Final = re.compile(rb"[a-zA-Z_][a-zA-Z0-9_]*")


def metric_name(text: bytes) -> bytes:
    """A metric name; a digit does not stand first in it."""
    return _replaced(_NO_METRIC_NAME, text)


def label_name(text: bytes) -> bytes:
    """A label name; a digit does not stand first in it."""
    return _replaced(_NO_LABEL_NAME, text)


def joined(tags: RawLabels, name_of: Callable[[bytes], bytes] = label_name) -> dict[bytes, bytes]:
    """The labels of tags: those whose names become one have their values joined by `;`, in the
    order of the tags' keys, as OpenTelemetry's rules have it.
    """
    labels: dict[bytes, bytes] = {}
    for key, value in sorted(tags):
        name = name_of(key)
        labels[name] = labels[name] + b";" + value if name in labels else value
    return labels


def _replaced(unwanted: re.Pattern[str], name: bytes) -> bytes:
    if _NAME.fullmatch(name):
        return name
    text = unwanted.sub("_", name.decode(errors="replace"))
    return (f"_{text}" if text[:1].isdigit() else text).encode()
