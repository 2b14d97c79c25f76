"""Which samples an expression needs, known before any of them is read.

query steps ──▶ @ and offset ──▶ subquery steps ──▶ lookback or range ──▶ (start, end]
"""

from __future__ import annotations

import numpy as np

from ..model import I64, SelectorSpan
from .nodes import At, Expr, MatrixSelector, Subquery, VectorSelector, children


def resolve(at: At, start_ms: int, end_ms: int) -> int | None:
    """The time that `@` fixes, given the query's own ends."""
    match at:
        case "start":
            return start_ms
        case "end":
            return end_ms
        case _:
            return at


def subquery_steps(first_ms: int, last_ms: int, expr: Subquery, default_step_ms: int) -> I64:
    """Times at which a subquery evaluates its inside, for outer times `first_ms`…`last_ms`.

    They are multiples of the step, whatever the query's own times: two queries share them. Both
    ends are after `@`; the offset is applied here. Source: Prometheus `evalSubquery`.
    """
    step_ms = expr.step_ms or default_step_ms
    after = first_ms - expr.offset_ms - expr.range_ms
    start_ms = after // step_ms * step_ms + step_ms
    return np.arange(start_ms, last_ms - expr.offset_ms + 1, step_ms, dtype=np.int64)


def spans(
    expr: Expr, start_ms: int, end_ms: int, lookback_ms: int, subquery_step_ms: int
) -> dict[int, SelectorSpan]:
    """What each selector needs, by its place in the text (`span.start`)."""
    found: dict[int, SelectorSpan] = {}
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
                found[selector.span.start] = SelectorSpan(
                    selector.matchers,
                    first_ms - selector.offset_ms - reach_ms,
                    last_ms - selector.offset_ms,
                )
            case Subquery():
                fixed = resolve(node.at, start_ms, end_ms)
                if fixed is not None:
                    first_ms = last_ms = fixed
                steps = subquery_steps(first_ms, last_ms, node, subquery_step_ms)
                if steps.size:
                    stack.append((node.expr, int(steps[0]), int(steps[-1])))
                else:
                    inner = last_ms - node.offset_ms
                    stack.append((node.expr, inner, inner))
            case _:
                stack.extend((child, first_ms, last_ms) for child in reversed(children(node)))
    return found
