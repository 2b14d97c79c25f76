"""What the engine answers to an `eval`, beside what the script expects."""

import re
from itertools import pairwise

import numpy as np

from data_api import promql
from data_api.chassis.kinds import ServiceError
from data_api.errors import BadRequest, QueryError
from data_api.model import (
    F64,
    INDEX_MASK,
    Columns,
    InstantVector,
    Labels,
    QueryLimits,
    RangeMatrix,
    Result,
    Scalar,
    String,
    is_histogram,
)
from data_api.native_histogram import Histogram
from data_api.promqltest.literals import Literal, near, same
from data_api.promqltest.memory_store import MemoryStore
from data_api.promqltest.script import Eval

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
    spans = promql.needed(expr, start_ms, end_ms, step_ms)
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


def check(store: MemoryStore, ev: Eval, options: promql.Options = OPTIONS) -> str | None:
    """What is wrong with the engine's answer to one eval, None when nothing is."""
    times = ev.start_ms, ev.end_ms, ev.step_ms
    try:
        result = run_query(store, ev.query, *times, instant=ev.instant, options=options)
    except (BadRequest, QueryError) as exc:
        return _check_failure(ev, exc)
    if ev.fails:
        return f"should fail, gave {result.value}"
    problem = _check_notes(ev, result) or _check_value(ev, result.value)
    return problem or _check_as_range(store, ev, options)


def _check_as_range(store: MemoryStore, ev: Eval, options: promql.Options) -> str | None:
    """An instant eval run as a range query around its time: the middle step is the same answer."""
    changes = re.search(r"\b(?:start|end|range|step|sort\w*|topk|bottomk)\b", ev.query)
    is_of_one_time = ev.matrix or ev.string is not None
    if not ev.instant or changes or is_of_one_time or not ev.warn is ev.info is None:
        return None
    times = ev.start_ms - 60_000, ev.start_ms + 60_000, 60_000
    try:
        value = run_query(store, ev.query, *times, instant=False, options=options).value
    except (BadRequest, QueryError) as exc:
        return f"as range: failed: {exc.describe()}"
    assert isinstance(value, RangeMatrix)
    middle = [
        (labels, {ev.start_ms: points[ev.start_ms]})
        for labels, points in rows_of(value)
        if ev.start_ms in points
    ]
    if ev.scalar is not None:
        is_same = agree(ev.scalar, middle[0][1][ev.start_ms])
        return None if is_same else f"as range: gave {middle}"
    problem = _check_rows(ev, middle)
    return f"as range: {problem}" if problem else None


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
Row = tuple[dict[str, str], dict[int, Point]]


def rows_of(value: InstantVector | RangeMatrix | Columns) -> list[Row]:
    """Labels of each series, and its samples by time."""
    parts: zip[tuple[Labels, list[int], F64]]
    match value:
        case InstantVector():
            columns = value.values.reshape(-1, 1)
            parts = zip(value.labels, [[value.timestamp_ms]] * len(columns), columns, strict=True)
        case RangeMatrix():
            times = [value.steps_ms[present].tolist() for present in value.present]
            shown = [row[present] for row, present in zip(value.values, value.present, strict=True)]
            parts = zip(value.labels, times, shown, strict=True)
        case _:
            slices = [slice(first, last) for first, last in pairwise(value.offsets)]
            times = [value.timestamps_ms[one].tolist() for one in slices]
            parts = zip(value.labels, times, [value.values[one] for one in slices], strict=True)
    return [
        (dict(labels), dict(zip(times, _points(value, values), strict=True)))
        for labels, times, values in parts
    ]


def _points(value: InstantVector | RangeMatrix | Columns, values: F64) -> list[Point]:
    places = (values.view(np.int64) & INDEX_MASK).tolist()
    return [
        value.histograms[place] if native else float(v)
        for v, native, place in zip(values, is_histogram(values), places, strict=True)
    ]


def agree(wanted: float | Literal, got: Point) -> bool:
    """Whether two samples are of one kind and agree."""
    if isinstance(wanted, Literal):
        return isinstance(got, Histogram) and same(wanted, got)
    return isinstance(got, float) and near(wanted, got)


def _check_value(ev: Eval, value: object) -> str | None:
    match value:
        case String():
            return None if value.value == ev.string else f"gave {value.value!r}"
        case Scalar():
            is_same = ev.scalar is not None and near(value.value, ev.scalar)
            return None if is_same else f"gave the scalar {value.value}, not {ev.scalar}"
        case InstantVector() | RangeMatrix() | Columns() if ev.scalar is None:
            return _check_rows(ev, rows_of(value))
        case _:
            return f"expected the scalar {ev.scalar}, got {value}"


def _check_rows(ev: Eval, got: list[Row]) -> str | None:
    start, _, step = ev.matrix or (ev.start_ms, ev.end_ms, ev.step_ms)
    wanted = [
        (s.labels, {start + i * step: v for i, v in enumerate(s.values) if v is not None})
        for s in ev.series
    ]
    wanted = [(labels, points) for labels, points in wanted if points]
    if not ev.ordered:
        wanted.sort(key=lambda row: sorted(row[0].items()))
        got.sort(key=lambda row: sorted(row[0].items()))
    if [labels for labels, _ in wanted] != [labels for labels, _ in got]:
        return f"gave series {[r[0] for r in got]}, wanted {[r[0] for r in wanted]}"
    for (labels, points), (_, given) in zip(wanted, got, strict=True):
        if points.keys() != given.keys() or not all(agree(v, given[t]) for t, v in points.items()):
            return f"{labels}: gave {given}, wanted {points}"
    return None
