"""Which samples an expression needs.

    query steps ──▶ @ and offset ──▶ subquery steps ──▶ lookback or range ──▶ (start, end]

Computed from the tree alone, so that all samples can be read at once.
"""

from collections.abc import Mapping
from typing import Final

from data_api.model import Rolled, SelectorSpan
from data_api.promql.context import SUBQUERY_STEP_MS
from data_api.promql.nodes import At, Call, Expr, MatrixSelector, Subquery, VectorSelector, children

RESOLUTIONS_MS: Final = (3_600_000, 300_000)
"""Of rollups, docs/formats/rollup.md."""
INSTANT: Final = ("last", "last_ms", "is_stale")
ROLLED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("first_over_time", "last_over_time"), ("first", "last")),
    **dict.fromkeys(
        ("rate", "increase", "delta"),
        ("count", "first", "first_ms", "last", "last_ms", "resets", "reset_sum"),
    ),
    **dict.fromkeys(
        (f"{name}_over_time" for name in ("min", "max", "avg", "sum", "count", "present")),
        ("count", "min", "max", "sum", "sum_rest", "lowest_bit"),
    ),
}
"""Functions that buckets answer, and the columns to load; those that are asked together share them,
as samples are shared.
"""


def resolve(at: At, start_ms: int, end_ms: int) -> int | None:
    """The time that `@` fixes, given the query's own ends."""
    match at:
        case "start":
            return start_ms
        case "end":
            return end_ms
        case _:
            return at


def subquery_times(first_ms: int, last_ms: int, expr: Subquery) -> tuple[int, int, int]:
    """First time, last time and step at which a subquery's expression is evaluated.

    No time at all if the first is after the last. first_ms, last_ms: of the outer expression, after
    `@`; the offset is applied here. Times are multiples of
    the step, whatever the query's own times: two queries share them. Source: Prometheus
    `evalSubquery`.
    """
    step_ms = expr.step_ms or SUBQUERY_STEP_MS
    after = first_ms - expr.offset_ms - expr.range_ms
    start_ms = after // step_ms * step_ms + step_ms
    last = last_ms - expr.offset_ms
    return start_ms, start_ms + (last - start_ms) // step_ms * step_ms, step_ms


def rolled_by(function: str, times: tuple[int, int, int], reach_ms: int) -> Rolled | None:
    """The longest buckets that make up `function`'s windows at `times` (first, last, step), or of
    which one has the newest sample that an instant selector looks for; None if there are none.

    function: its name, "" for an instant selector. reach_ms: length of the windows, or lookback.
    """
    first_ms, last_ms, step_ms = times
    step_ms = step_ms if first_ms < last_ms else 0
    columns = ROLLED.get(function, ()) if function else INSTANT
    for resolution_ms in RESOLUTIONS_MS if columns else ():
        is_on_grid = first_ms % resolution_ms == 0 and step_ms % resolution_ms == 0
        is_whole = (
            reach_ms % resolution_ms == 0 if function else 0 < reach_ms <= resolution_ms <= step_ms
        )
        if is_on_grid and is_whole:
            return Rolled(resolution_ms, columns)
    return None


def spans(
    expr: Expr, start_ms: int, end_ms: int, step_ms: int, lookback_ms: int
) -> dict[int, SelectorSpan]:
    """What each selector needs, by its place in the text (`span.start`)."""
    needed: dict[int, SelectorSpan] = {}
    stack: list[tuple[Expr, int, int, int, str]] = [(expr, start_ms, end_ms, step_ms, "")]
    while stack:
        node, first_ms, last_ms, step_ms, function = stack.pop()
        match node:
            case VectorSelector() | MatrixSelector():
                is_instant = isinstance(node, VectorSelector)
                selector = node if isinstance(node, VectorSelector) else node.selector
                reach_ms = lookback_ms if isinstance(node, VectorSelector) else node.range_ms
                fixed = resolve(selector.at, start_ms, end_ms)
                if fixed is not None:
                    first_ms = last_ms = fixed
                after_ms = 0
                if selector.edges:  # samples beyond a window's edges tell what is at them
                    reach_ms += 0 if is_instant else lookback_ms
                    after_ms = lookback_ms if selector.edges == "smoothed" else 0
                first_ms, last_ms = first_ms - selector.offset_ms, last_ms - selector.offset_ms
                rolled = None
                if not selector.edges and (is_instant or function):
                    of = "" if is_instant else function
                    rolled = rolled_by(of, (first_ms, last_ms, step_ms), reach_ms)
                needed[selector.span.start] = SelectorSpan(
                    selector.matchers, first_ms - reach_ms, last_ms + after_ms, rolled
                )
            case Subquery():
                fixed = resolve(node.at, start_ms, end_ms)
                if fixed is not None:
                    first_ms = last_ms = fixed
                first_ms, last_ms, step_ms = subquery_times(first_ms, last_ms, node)
                stack.append((node.expr, min(first_ms, last_ms), last_ms, step_ms, ""))
            case _:
                function = node.name if isinstance(node, Call) else ""
                stack.extend(
                    (child, first_ms, last_ms, step_ms, function)
                    for child in reversed(children(node))
                )
    return needed
