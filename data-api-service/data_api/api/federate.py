"""`/federate`: the newest samples as text that another Prometheus scrapes.

    # TYPE up untyped
    up{instance="a",job="x"} 1 1700000000000

Stale series and native histograms are left out. `instance` is always there, empty where a series
has none: with `honor_labels` the reader would else put its own in. Source: Prometheus
`web/federate.go`; a name that is no classic one stands quoted in the braces, for who accepts that.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final

import numpy as np
from fastapi import APIRouter, Response

from data_api.api.deps import Asked
from data_api.api.export import joined
from data_api.api.rendering import value_tokens
from data_api.api.routing import readable
from data_api.model import (
    METRIC_NAME,
    SAMPLE_BYTES,
    STALE_BITS,
    Columns,
    Labels,
    QueryLimits,
    is_histogram,
)
from data_api.promql.values import ordered, sort_key

PREFIXES: Final = ("", "/prometheus")
SERIES_BYTES: Final = 768  # what a line is made and ordered from: measured with eleven labels
UTF8: Final = "escaping=allow-utf-8"
MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MEDIA_TYPE_UTF8: Final = f"text/plain; version=1.0.0; charset=utf-8; {UTF8}"
CLASSIC: Final = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*\Z")
OTHERS: Final = re.compile(r"[^A-Za-z0-9_:]")
ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

routes = APIRouter(tags=["prometheus"])


@readable(routes, "/federate", "match[]", post=False)
async def federate(ask: Asked) -> Response:
    """The newest sample within the lookback of each series that any `match[]` selects, by name."""
    is_utf8 = UTF8 in ask.request.headers.get("accept", "")
    spans = ask.params.selectors().spans(ask.now_ms - ask.engine.limits.lookback_ms + 1, ask.now_ms)
    write = partial(_exposition, is_utf8=is_utf8)
    opened = ask.engine.exported(*ask.who, spans, write)
    return ask.held(opened, MEDIA_TYPE_UTF8 if is_utf8 else MEDIA_TYPE)


def _exposition(parts: Sequence[Columns], limits: QueryLimits, *, is_utf8: bool) -> Iterator[bytes]:
    return joined(_lines(parts, limits, is_utf8=is_utf8))


def _lines(parts: Sequence[Columns], limits: QueryLimits, *, is_utf8: bool) -> Iterator[bytes]:
    series = sum(len(part.labels) for part in parts)
    limits.reserve(sum(part.cost for part in parts) + series * SERIES_BYTES // SAMPLE_BYTES)
    samples: dict[str, tuple[Labels, bytes, int]] = {}  # by labels: several may select a series
    for part in parts:
        newest = part.offsets[1:] - 1  # no series without a sample
        values = part.values[newest]
        is_left_out = (values.view(np.int64) == STALE_BITS) | is_histogram(values)
        tokens, times_ms = value_tokens(values), part.timestamps_ms[newest].tolist()
        for row in np.flatnonzero(~is_left_out).tolist():
            limits.checkpoint()
            labels = part.labels[row]
            if METRIC_NAME in labels:
                # One text, as in `by_labels`, with the name first.
                key = "\0".join(chain((labels[METRIC_NAME],), *sort_key(labels)))
                samples[key] = labels, tokens[row], times_ms[row]
    keys = list(samples)
    before = ""
    for place in ordered(keys, limits.checkpoint, descending=False).tolist():
        limits.checkpoint()
        labels, token, time_ms = samples[keys[place]]
        if (name := labels[METRIC_NAME]) != before:
            yield f"# TYPE {_name(name, is_utf8)} untyped\n".encode()
            before = name
        yield b"%b %b %d\n" % (_series(labels, is_utf8), token, time_ms)


def _series(labels: Labels, is_utf8: bool) -> bytes:
    pairs = {"instance": "", **labels}
    name = _name(pairs.pop(METRIC_NAME), is_utf8)
    texts = [
        f'{_name(one, is_utf8)}="{value.translate(ESCAPES)}"'
        for one, value in sorted(pairs.items())
    ]
    if name.startswith('"'):
        return f"{{{','.join((name, *texts))}}}".encode()
    return f"{name}{{{','.join(texts)}}}".encode()


def _name(name: str, is_utf8: bool) -> str:
    if CLASSIC.match(name):
        return name
    if is_utf8:
        return f'"{name.translate(ESCAPES)}"'
    return re.sub(r"^(?=\d)", "_", OTHERS.sub("_", name))
