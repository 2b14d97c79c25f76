"""Exemplars as they are stored, or None for those that are not.

Source: OpenMetrics 1.0, "Exemplars"; Prometheus `tsdb/exemplar.go`.
"""

import json
from collections.abc import Iterable
from typing import Final

from data_ingest.model import Exemplar

LABEL_CHARACTERS_MAX: Final = 128
"""Of all names and values of one exemplar."""
EXEMPLAR_BYTES_MAX: Final = 4096
"""Of the message that an exemplar is."""
EXEMPLARS_MAX: Final = 10_000
"""Of one request."""


def exemplar(
    series: int, timestamp_ms: int, value: float, pairs: Iterable[tuple[bytes, bytes]]
) -> Exemplar | None:
    """None where the labels are too long, not text, or given twice; an empty one is no label."""
    labels: dict[str, str] = {}
    left = LABEL_CHARACTERS_MAX
    try:
        for name, text in pairs:
            key, label = name.decode(), text.decode()
            left -= len(key) + len(label)
            if left < 0 or not key or key in labels or "\0" in key + label:
                return None
            labels[key] = label
    except UnicodeDecodeError:
        return None
    given = {key: label for key, label in sorted(labels.items()) if label}
    return Exemplar(series, timestamp_ms, value, json.dumps(given, ensure_ascii=False))
