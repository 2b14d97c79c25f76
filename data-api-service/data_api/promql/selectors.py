"""Which samples an expression needs.

    query steps ──▶ @ and offset ──▶ subquery steps ──▶ lookback or range ──▶ (start, end]

Computed from the tree alone, so that all samples can be read at once.
"""

from data_api.model import SelectorSpan
from data_api.promql.nodes import At, Expr, MatrixSelector, Subquery, VectorSelector, children


def resolve(at: At, start_ms: int, end_ms: int) -> int | None:
    """The time that `@` fixes, given the query's own ends."""
    match at:
        case "start":
            return start_ms
        case "end":
            return end_ms
        case _:
            return at


def subquery_times(
    first_ms: int, last_ms: int, expr: Subquery, default_step_ms: int
) -> tuple[int, int, int]:
    """First time, last time and step at which a subquery's expression is evaluated.

    No time at all if the first is after the last. first_ms, last_ms: of the outer expression, after
    `@`; the offset is applied here. Times are multiples of
    the step, whatever the query's own times: two queries share them. Source: Prometheus
    `evalSubquery`.
    """
    step_ms = expr.step_ms or default_step_ms
    after = first_ms - expr.offset_ms - expr.range_ms
    start_ms = after // step_ms * step_ms + step_ms
    last = last_ms - expr.offset_ms
    return start_ms, start_ms + (last - start_ms) // step_ms * step_ms, step_ms


def spans(
    expr: Expr, start_ms: int, end_ms: int, lookback_ms: int, subquery_step_ms: int
) -> dict[int, SelectorSpan]:
    """What each selector needs, by its place in the text (`span.start`)."""
    needed: dict[int, SelectorSpan] = {}
    stack: list[tuple[Expr, int, int]] = [(expr, start_ms, end_ms)]
    while stack:
        node, first_ms, last_ms = stack.pop()
        match node:
            case VectorSelector() | MatrixSelector():
                selector = node if isinstance(node, VectorSelector) else node.selector
                reach_ms = lookback_ms if isinstance(node, VectorSelector) else node.range_ms
                fixed = resolve(selector.at, start_ms, end_ms)
                if fixed is not None:
                    first_ms = last_ms = fixed
                after_ms = 0
                if selector.edges:  # samples beyond a window's edges tell what is at them
                    reach_ms += lookback_ms if isinstance(node, MatrixSelector) else 0
                    after_ms = lookback_ms if selector.edges == "smoothed" else 0
                needed[selector.span.start] = SelectorSpan(
                    selector.matchers,
                    first_ms - selector.offset_ms - reach_ms,
                    last_ms - selector.offset_ms + after_ms,
                )
            case Subquery():
                fixed = resolve(node.at, start_ms, end_ms)
                if fixed is not None:
                    first_ms = last_ms = fixed
                first_ms, last_ms, _ = subquery_times(first_ms, last_ms, node, subquery_step_ms)
                stack.append((node.expr, min(first_ms, last_ms), last_ms))
            case _:
                stack.extend((child, first_ms, last_ms) for child in reversed(children(node)))
    return needed
