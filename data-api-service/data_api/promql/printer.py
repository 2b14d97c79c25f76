"""Tree → text, in Prometheus's own form: `sum by (job) (rate(x[5m]))`.

Parsing what is printed gives the same tree: parentheses are nodes, so none has to be invented.
"""

import re

from data_api.model import METRIC_NAME, Matcher
from data_api.promql.nodes import (
    Aggregate,
    Binary,
    Call,
    Cardinality,
    Expr,
    Matching,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
    chain,
    children,
)
from data_api.promql.numerals import format_value

_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_METRIC = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*\Z")
_UNITS = (
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
)


def to_text(expr: Expr) -> str:  # noqa: C901, PLR0911 - a case a node
    """The query that parses to `expr`."""
    match expr:
        case NumberLiteral():
            return format_value(expr.value)
        case StringLiteral():
            return quote(expr.value)
        case Paren():
            return f"({to_text(expr.expr)})"
        case Unary():
            return f"{expr.op}{to_text(expr.expr)}"
        case Binary():
            links = chain(expr)
            rest = (f" {_operator(link)} {to_text(link.rhs)}" for link in links)
            return to_text(links[0].lhs) + "".join(rest)
        case Aggregate():
            args = ", ".join(to_text(arg) for arg in children(expr))
            return f"{expr.op}{_grouping(expr)}({args})"
        case Call():
            return f"{expr.name}({', '.join(to_text(arg) for arg in expr.args)})"
        case VectorSelector():
            return _selector(expr) + _modifiers(expr)
        case MatrixSelector():
            inner = expr.selector
            range_text = format_duration(expr.range_ms)
            return f"{_selector(inner)}[{range_text}]{_modifiers(inner)}"
        case Subquery():
            step = "" if expr.step_ms is None else format_duration(expr.step_ms)
            range_text = format_duration(expr.range_ms)
            return f"{to_text(expr.expr)}[{range_text}:{step}]{_modifiers(expr)}"


def quote(text: str) -> str:
    """A double-quoted string literal of `text`."""
    out = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + out.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def format_duration(duration_ms: int) -> str:
    """`1h30m` for 5,400,000; `0s` for nothing."""
    if duration_ms == 0:
        return "0s"
    parts: list[str] = []
    rest = abs(duration_ms)
    for unit, unit_ms in _UNITS:
        count, rest = divmod(rest, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if duration_ms < 0 else "") + "".join(parts)


def _selector(expr: VectorSelector) -> str:
    matchers = expr.matchers
    bare = expr.name if _METRIC.match(expr.name) else ""
    if bare:
        matchers = tuple(m for m in matchers if m.name != METRIC_NAME)
        if not matchers:
            return bare
    return f"{bare}{{{','.join(_matcher(m) for m in matchers)}}}"


def _matcher(matcher: Matcher) -> str:
    return f"{_label(matcher.name)}{matcher.op}{quote(matcher.value)}"


def _label(name: str) -> str:
    return name if _LABEL.match(name) else quote(name)


def _labels(names: tuple[str, ...]) -> str:
    return f"({', '.join(_label(name) for name in names)})"


def _modifiers(expr: VectorSelector | Subquery) -> str:
    text = f" {expr.edges}" if isinstance(expr, VectorSelector) and expr.edges else ""
    if expr.at is not None:
        text += f" @ {expr.at}()" if isinstance(expr.at, str) else f" @ {expr.at / 1000:.3f}"
    return text + (f" offset {format_duration(expr.offset_ms)}" if expr.offset_ms else "")


def _grouping(expr: Aggregate) -> str:
    if not (expr.without or expr.grouping):
        return ""
    return f" {'without' if expr.without else 'by'} {_labels(expr.grouping)} "


def _operator(expr: Binary) -> str:
    op = expr.op + (" bool" if expr.return_bool else "")
    return op + (_matching(expr.matching) if expr.matching else "")


def _matching(matching: Matching) -> str:
    grouped = matching.cardinality in {Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY}
    fill = "".join(
        f" {word} ({format_value(value)})"
        for word, value in (("fill_left", matching.fill_left), ("fill_right", matching.fill_right))
        if value is not None
    )
    if not (matching.on or matching.labels or grouped):
        return fill
    text = f" {'on' if matching.on else 'ignoring'} {_labels(matching.labels)}"
    if grouped:
        left = matching.cardinality is Cardinality.MANY_TO_ONE
        text += f" {'group_left' if left else 'group_right'} {_labels(matching.include)}"
    return text + fill
