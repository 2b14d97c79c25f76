"""What the engine answers to an `eval`, beside what the script expects."""

import math
import re

import numpy as np

from data_api import promql
from data_api.chassis.kinds import ServiceError
from data_api.errors import BadRequest, QueryError
from data_api.model import (
    INDEX_MASK,
    Columns,
    InstantVector,
    QueryLimits,
    RangeMatrix,
    Result,
    Scalar,
    String,
    is_histogram,
)
from data_api.native_histogram import Histogram
from data_api.promqltest.literals import Literal, same
from data_api.promqltest.memory_store import MemoryStore
from data_api.promqltest.script import Eval

TOLERANCE = 1e-6
OPTIONS = promql.Options(delayed_name_removal=True)


def run_query(
    store: MemoryStore,
    query: str,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    *,
    instant: bool,
    options: promql.Options = OPTIONS,
) -> Result:
    """Parse, load and evaluate, the way the engine does."""
    expr = promql.parse(query, promql.QueryTimes(0 if instant else step_ms, end_ms - start_ms))
    spans = promql.needed(expr, start_ms, end_ms, step_ms, options=options)
    loaded = {span: store.load(span) for span in spans}
    return promql.evaluate(
        expr,
        loaded,
        start_ms,
        end_ms,
        step_ms,
        limits=QueryLimits(),
        options=options,
        text=query,
        instant=instant,
    )


def close(a: float, b: float) -> bool:
    """Whether two values agree, as upstream's `almost.Equal` decides it."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if a == b:
        return True
    if a == 0 or b == 0 or math.isinf(a) or math.isinf(b):
        return False
    return abs(a - b) / (abs(a) + abs(b)) < TOLERANCE


def check(store: MemoryStore, ev: Eval, options: promql.Options = OPTIONS) -> str | None:
    """What is wrong with the engine's answer to one eval, None when nothing is."""
    try:
        result = run_query(
            store, ev.query, ev.start_ms, ev.end_ms, ev.step_ms, instant=ev.instant, options=options
        )
    except (BadRequest, QueryError) as exc:
        return _check_failure(ev, exc)
    if ev.fails:
        return f"should fail, gave {result.value}"
    return _check_notes(ev, result) or _check_value(ev, result.value)


def _check_failure(ev: Eval, exc: ServiceError) -> str | None:
    text = exc.describe()
    if not ev.fails:
        return f"failed: {text}"
    if ev.message is not None and ev.message not in text:
        return f"failed with {text!r} instead of {ev.message!r}"
    if ev.pattern is not None and not re.search(ev.pattern, text):
        return f"failed with {text!r} instead of /{ev.pattern}/"
    return None


def _check_notes(ev: Eval, result: Result) -> str | None:
    notes = {"warn": result.warnings, "info": result.infos}
    for kind, wanted in (("warn", ev.warn), ("info", ev.info)):
        if wanted is not None and bool(notes[kind]) != wanted:
            return f"{kind} wanted: {wanted}, got {notes[kind]}"
    for kind, how, wanted_text in ev.messages:
        bare = [re.sub(r" \(\d+:\d+\)\Z", "", note) for note in notes[kind]]
        match = re.compile(wanted_text if how == "regex" else re.escape(wanted_text)).fullmatch
        if not any(match(note) for note in bare):
            return f"no {kind} {wanted_text!r} in {bare}"
    return None


Point = float | Histogram


def _points(value: InstantVector | RangeMatrix | Columns, values: np.ndarray) -> list[Point]:
    natives = is_histogram(values)
    places = (values.view(np.int64) & INDEX_MASK).tolist()
    return [
        value.histograms[place] if native else float(v)
        for v, native, place in zip(values, natives, places, strict=True)
    ]


def rows_of(
    value: InstantVector | RangeMatrix | Columns,
) -> list[tuple[dict[str, str], dict[int, Point]]]:
    """Labels of each series, and its samples by time."""
    match value:
        case InstantVector():
            points = _points(value, value.values)
            return [
                (dict(labels), {value.timestamp_ms: point})
                for labels, point in zip(value.labels, points, strict=True)
            ]
        case RangeMatrix():
            rows = []
            for labels, values, present in zip(
                value.labels, value.values, value.present, strict=True
            ):
                points = _points(value, values[present])
                rows.append(
                    (dict(labels), dict(zip(value.steps_ms[present].tolist(), points, strict=True)))
                )
            return rows
        case _:
            points = _points(value, value.values)
            times = value.timestamps_ms.tolist()
            return [
                (dict(labels), dict(zip(times[a:b], points[a:b], strict=True)))
                for labels, a, b in zip(
                    value.labels, value.offsets[:-1], value.offsets[1:], strict=True
                )
            ]


def agree(wanted: float | Literal, got: Point) -> bool:
    """Whether two samples are of one kind and agree."""
    if isinstance(wanted, Literal):
        return isinstance(got, Histogram) and same(wanted, got)
    return isinstance(got, float) and close(wanted, got)


def _check_value(ev: Eval, value: object) -> str | None:  # noqa: PLR0911 - a case a type
    if isinstance(value, String):
        return None if value.value == ev.string else f"gave {value.value!r}"
    if isinstance(value, Scalar):
        if ev.scalar is None:
            return f"scalar {value.value} was not expected"
        return None if close(value.value, ev.scalar) else f"gave {value.value}, not {ev.scalar}"
    assert isinstance(value, InstantVector | RangeMatrix | Columns)
    if ev.scalar is not None:
        return f"expected the scalar {ev.scalar}, got {value}"
    start, _, step = ev.matrix or (ev.start_ms, ev.end_ms, ev.step_ms)
    wanted = [
        (s.labels, {start + i * step: v for i, v in enumerate(s.values) if v is not None})
        for s in ev.series
    ]
    wanted = [(labels, points) for labels, points in wanted if points]
    got = rows_of(value)
    if not ev.ordered:
        wanted.sort(key=lambda row: sorted(row[0].items()))
        got.sort(key=lambda row: sorted(row[0].items()))
    if [labels for labels, _ in wanted] != [labels for labels, _ in got]:
        return f"gave series {[r[0] for r in got]}, wanted {[r[0] for r in wanted]}"
    for (labels, points), (_, given) in zip(wanted, got, strict=True):
        same = points.keys() == given.keys() and all(agree(v, given[t]) for t, v in points.items())
        if not same:
            return f"{labels}: gave {given}, wanted {points}"
    return None


def as_range(ev: Eval) -> Eval | None:
    """The same eval as the middle step of a range query, None where that would change it."""
    changes = re.search(r"\b(?:start|end|range|step|sort\w*|topk|bottomk)\b", ev.query)
    if not ev.instant or ev.fails or changes or ev.matrix or ev.string is not None:
        return None
    if ev.warn is not None or ev.info is not None:
        return None
    return Eval(
        ev.line, ev.query, ev.start_ms - 60_000, ev.start_ms + 60_000, 60_000, instant=False
    )


def check_middle(store: MemoryStore, ev: Eval, options: promql.Options = OPTIONS) -> str | None:
    """The eval run as a range query around its time: the middle step must be the instant answer."""
    around = as_range(ev)
    if around is None:
        return None
    try:
        value = run_query(
            store,
            around.query,
            around.start_ms,
            around.end_ms,
            around.step_ms,
            instant=False,
            options=options,
        ).value
    except (BadRequest, QueryError) as exc:
        return f"as range: failed: {exc.describe()}"
    if not isinstance(value, RangeMatrix):
        return "as range: not a matrix"
    middle = int(np.flatnonzero(value.steps_ms == ev.start_ms)[0])
    is_shown = value.present[:, middle]
    if ev.scalar is not None:
        ok = close(float(value.values[0, middle]), ev.scalar)
        return None if ok else f"as range: gave {value.values[0, middle]}"
    single = InstantVector(
        [labels for labels, keep in zip(value.labels, is_shown, strict=True) if keep],
        ev.start_ms,
        value.values[is_shown, middle],
        value.histograms,
    )
    problem = _check_value(ev, single)
    return f"as range: {problem}" if problem else None
