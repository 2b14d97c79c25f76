"""Whether a function or aggregation can take its arguments, in Prometheus's words."""

from collections.abc import Sequence
from typing import Final

from data_api.promql.cursor import Cursor
from data_api.promql.functions import Function, ValueType
from data_api.promql.nodes import Expr, MatrixSelector, Span

EDGE_FUNCTIONS: Final = {
    "anchored": frozenset({"changes", "delta", "increase", "rate", "resets"}),
    "smoothed": frozenset({"delta", "increase", "rate"}),
}


def of_call(
    cursor: Cursor, name: str, function: Function, args: Sequence[Expr], span: Span
) -> None:
    """Fails for a wrong number of arguments, a wrong type, or a window that it cannot use."""
    _check_count(cursor, name, function, len(args), span)
    for position, arg in enumerate(args):
        wanted = function.args[min(position, len(function.args) - 1)]
        expect_type(cursor, arg, wanted, f'call to function "{name}"')
        edges = arg.selector.edges if isinstance(arg, MatrixSelector) else None
        if edges and name not in (able := EDGE_FUNCTIONS[edges]):
            names = ", ".join(sorted(able))
            cursor.fail(
                arg.span, f"{edges} modifier can only be used with: {names} - not with {name}"
            )


def expect_type(cursor: Cursor, expr: Expr, wanted: ValueType, context: str) -> None:
    """Fails where `expr` is of another type."""
    if expr.value_type is not wanted:
        cursor.fail(expr.span, f"expected type {wanted} in {context}, got {expr.value_type}")


def _check_count(cursor: Cursor, name: str, function: Function, got: int, span: Span) -> None:
    declared = len(function.args)
    if function.variadic == 0:
        if got != declared:
            cursor.fail(span, f'expected {declared} argument(s) in call to "{name}", got {got}')
        return
    least = declared - 1
    if got < least:
        cursor.fail(span, f'expected at least {least} argument(s) in call to "{name}", got {got}')
    most = declared - 1 + function.variadic
    if function.variadic > 0 and got > most:
        cursor.fail(span, f'expected at most {most} argument(s) in call to "{name}", got {got}')
