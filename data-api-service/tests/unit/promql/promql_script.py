"""Scripts in Prometheus's test language: read, and run against the engine.

    load 1m
      up{job="a"} 1+0x5 _ stale 1      # 6 samples, a gap, a stale marker, one more
    eval instant at 5m sum(up)
      {} 1
    eval range from 0 to 5m step 1m up
      expect no_warn
      up{job="a"} 1 1 1 1 1 1

Blocks end at a blank line. `1+2x3` is four values. An instant eval is run again as a range query
around its time, as upstream does. An eval that touches a native histogram is of the class "native".
Source: Prometheus `promql/promqltest/test.go`.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from script_histograms import Literal, same
from script_series import (
    MemoryStore,
    Series,
    duration_ms,
    load_block,
    number,
    parse_labels,
    parse_values,
)

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
from data_api.promql.functions import FUNCTIONS
from data_api.promql.lexer import tokens
from data_api.promql.nodes import Aggregate, Call, Expr, children

TOLERANCE = 1e-6
OPTIONS = promql.Options(delayed_name_removal=True)
EXPERIMENTAL_FILES = frozenset(
    {
        "duration_expression",
        "extended_vectors",
        "fill-modifier",
        "info",
        "limit",
        "start_timestamps",
    }
)

_EVAL = re.compile(
    r"eval(?:_(?P<old>fail|warn|ordered|info))? (?:instant at (?P<at>\S+)|"
    r"range from (?P<start>\S+) to (?P<end>\S+) step (?P<step>\S+))\s+(?P<query>.*)"
)


@dataclass
class Eval:
    """One `eval` with what it expects."""

    line: int
    query: str
    start_ms: int
    end_ms: int
    step_ms: int
    instant: bool
    fails: bool = False
    message: str | None = None
    pattern: str | None = None
    warn: bool | None = None
    info: bool | None = None
    messages: list[tuple[str, str, str]] = field(default_factory=list)
    ordered: bool = False
    series: list[Series] = field(default_factory=list)
    scalar: float | None = None
    string: str | None = None
    matrix: tuple[int, int, int] | None = None


@dataclass
class Outcome:
    """How an eval went. kind: core, native or experimental. problem: None when it passed."""

    file: str
    line: int
    query: str
    kind: str
    problem: str | None


def blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Runs of lines without a blank one between, no comments, with the first line's number."""
    block: list[str] = []
    first = 0
    for index, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("#"):
            continue
        if not line:
            if block:
                yield first, block
            block = []
            continue
        starts = re.match(r"(load|eval|clear)", line) and not raw[:1].isspace()
        if starts and block:
            yield first, block
            block = []
        if not block:
            first = index
        block.append(line)
    if block:
        yield first, block


def parse_eval(line: int, block: list[str]) -> Eval:
    """An eval block."""
    head = _EVAL.match(block[0])
    assert head is not None, block[0]
    if head["at"] is not None:
        at = duration_ms(head["at"])
        ev = Eval(line, head["query"], at, at, 60_000, instant=True)
    else:
        ev = Eval(
            line,
            head["query"],
            duration_ms(head["start"]),
            duration_ms(head["end"]),
            duration_ms(head["step"]),
            instant=False,
        )
    ev.fails = head["old"] == "fail"
    ev.ordered = head["old"] == "ordered"
    ev.warn = True if head["old"] == "warn" else None
    ev.info = True if head["old"] == "info" else None
    for item in block[1:]:
        if item.startswith("expect "):
            _expectation(ev, item.removeprefix("expect ").strip())
        elif item.startswith("expected_fail"):
            _expectation(ev, item.replace("expected_fail_message", "fail msg:"))
        elif re.match(r"[+-]?(?:[0-9.]|inf|nan)", item, re.IGNORECASE) and " " not in item:
            ev.scalar = number(item)
        else:
            labels, rest = parse_labels(item)
            ev.series.append(Series(labels, parse_values(rest)))
    return ev


def _expectation(ev: Eval, text: str) -> None:  # noqa: C901 - a case a keyword
    what, _, rest = text.partition(" ")
    rest = rest.strip()
    if what == "fail":
        ev.fails = True
        if rest.startswith("msg:"):
            ev.message = rest[4:].strip()
        elif rest.startswith("regex:"):
            ev.pattern = rest[6:].strip()
    elif what in {"warn", "info"}:
        setattr(ev, what, True)
        if ":" in rest:
            how, _, wanted = rest.partition(":")
            ev.messages.append((what, how, wanted.strip()))
    elif what == "no_warn":
        ev.warn = False
    elif what == "no_info":
        ev.info = False
    elif what == "ordered":
        ev.ordered = True
    elif what == "string":
        ev.string = next(tokens(rest)).text
    elif what == "range":
        m = re.match(r"vector from (\S+) to (\S+) step (\S+)", rest)
        assert m is not None
        ev.matrix = (duration_ms(m[1]), duration_ms(m[2]), duration_ms(m[3]))
    else:
        raise AssertionError(text)


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
    expr = promql.parse(query)
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


def _rows(
    value: InstantVector | RangeMatrix | Columns,
) -> list[tuple[dict[str, str], dict[int, Point]]]:
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
    got = _rows(value)
    if not ev.ordered:
        wanted.sort(key=lambda row: sorted(row[0].items()))
        got.sort(key=lambda row: sorted(row[0].items()))
    if [labels for labels, _ in wanted] != [labels for labels, _ in got]:
        return f"gave series {[r[0] for r in got]}, wanted {[r[0] for r in wanted]}"
    for (labels, points), (_, found) in zip(wanted, got, strict=True):
        same = points.keys() == found.keys() and all(agree(v, found[t]) for t, v in points.items())
        if not same:
            return f"{labels}: gave {found}, wanted {points}"
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
    kept = value.present[:, middle]
    if ev.scalar is not None:
        ok = close(float(value.values[0, middle]), ev.scalar)
        return None if ok else f"as range: gave {value.values[0, middle]}"
    single = InstantVector(
        [labels for labels, keep in zip(value.labels, kept, strict=True) if keep],
        ev.start_ms,
        value.values[kept, middle],
        value.histograms,
    )
    problem = _check_value(ev, single)
    return f"as range: {problem}" if problem else None


def _nodes(expr: Expr) -> Iterator[Expr]:
    yield expr
    for child in children(expr):
        yield from _nodes(child)


def is_experimental(file: str, query: str) -> bool:
    """Whether an eval needs what upstream hides behind a feature flag."""
    if file in EXPERIMENTAL_FILES:
        return True
    try:
        expr = promql.parse(query)
    except promql.ParseError:
        return True
    return any(
        (isinstance(node, Call) and FUNCTIONS[node.name].experimental)
        or (isinstance(node, Aggregate) and node.op in {"limitk", "limit_ratio"})
        for node in _nodes(expr)
    )


def run_script(path: Path, options: promql.Options = OPTIONS) -> list[Outcome]:
    """Every eval of a script, in order, with its outcome."""
    store = MemoryStore()
    outcomes: list[Outcome] = []
    for line, block in blocks(path.read_text()):
        head = block[0]
        if head == "clear":
            store = MemoryStore()
        elif head.startswith("load"):
            load_block(store, block)
        else:
            ev = parse_eval(line, block)
            store.touched_native = False
            problem = check(store, ev, options) or check_middle(store, ev, options)
            expects_native = any(isinstance(v, Literal) for s in ev.series for v in s.values)
            kind = "native" if store.touched_native or expects_native else "core"
            if kind == "core" and is_experimental(path.stem, ev.query) and not ev.fails:
                kind = "experimental"
            if kind == "core" and path.stem in EXPERIMENTAL_FILES:
                kind = "experimental"
            outcomes.append(Outcome(path.stem, line, ev.query, kind, problem))
    return outcomes


def shared_scripts() -> list[Path]:
    """Prometheus's own scripts, kept beside the checkout where they are; none elsewhere."""
    root = Path(__file__).resolve().parents[4]
    return sorted((root / ".." / "shared" / "promql").resolve().glob("*.test"))


def require_scripts() -> list[Path]:
    """Prometheus's own scripts; skips the test where they are not kept."""
    scripts = shared_scripts()
    if not scripts:
        pytest.skip("Prometheus's own test scripts are not beside this checkout (shared/promql)")
    return scripts
