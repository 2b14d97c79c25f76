"""Selectors and what follows them: `name{matchers}`, `[range]`, `[range:step]`, `offset`, `@`."""

import math
import operator
from collections.abc import Callable
from dataclasses import replace

import re2

from data_api.model import METRIC_NAME, Matcher, MatchOp, compile_regex
from data_api.promql.cursor import Cursor
from data_api.promql.functions import ValueType
from data_api.promql.lexer import Kind, Token, numeral_value
from data_api.promql.nodes import (
    At,
    Binary,
    Call,
    Edges,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    Subquery,
    Unary,
    VectorSelector,
    chain,
)

DURATION_FUNCTIONS = frozenset({"max_of", "min_of", "range", "step"})
"""In any case, as upstream's lexer has them."""
_AT_MS_MAX = 2**62  # leaves room for offsets and ranges in 64 bits
_DURATION_S_MAX = 2**53 / 1000
_DURATION_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": math.fmod,
    "^": math.pow,
}
_NODE_NAMES = {
    "NumberLiteral": "number literal",
    "StringLiteral": "string literal",
    "Paren": "parenthesized expression",
    "Unary": "unary expression",
    "Binary": "binary expression",
    "Aggregate": "aggregation",
    "Call": "function call",
}


def vector_selector(
    cursor: Cursor, name: Token | None, *, may_match_all: bool = False
) -> VectorSelector:
    """The selector whose name, if it has one, is behind; its braces may follow."""
    start = (name or cursor.token).start
    matchers = _matchers(cursor) if cursor.at_symbol("{") else []
    span = cursor.span_from(start)
    if name:
        for matcher in matchers:
            if matcher.name == METRIC_NAME:
                cursor.fail(
                    span,
                    f'metric name must not be set twice: "{name.text}" or "{matcher.value}"',
                )
        matchers.append(Matcher(METRIC_NAME, MatchOp.EQUAL, name.text))
    if not may_match_all and all(matcher.matches_absent() for matcher in matchers):
        cursor.fail(span, "vector selector must contain at least one non-empty matcher")
    return cursor.bounded(VectorSelector(name.text if name else "", tuple(matchers), span=span))


def _matchers(cursor: Cursor) -> list[Matcher]:
    cursor.advance()
    matchers: list[Matcher] = []
    while not cursor.at_symbol("}"):
        matchers.append(_matcher(cursor))
        if not cursor.take(",") and not cursor.at_symbol("}"):
            cursor.unexpected("label matching", '"," or "}"')
    cursor.advance()
    return matchers


def _matcher(cursor: Cursor) -> Matcher:
    label = cursor.token
    if label.kind not in {Kind.IDENTIFIER, Kind.STRING}:
        cursor.unexpected("label matching", 'identifier or "}"')
    cursor.advance()
    if label.kind is Kind.STRING and cursor.at_symbol(",", "}"):
        return Matcher(METRIC_NAME, MatchOp.EQUAL, label.text)
    if not cursor.at_symbol(*MatchOp):
        cursor.unexpected("label matching", "label matching operator")
    op = MatchOp(cursor.advance().text)
    value = cursor.token
    if value.kind is not Kind.STRING:
        cursor.unexpected("label matching", "string")
    cursor.advance()
    if op in {MatchOp.REGEX, MatchOp.NOT_REGEX}:
        try:
            compile_regex(value.text)
        except re2.error as exc:
            why = exc.args[0].decode() if isinstance(exc.args[0], bytes) else str(exc)
            cursor.fail(value, f"error parsing regexp: {why}")
    if not label.text:
        cursor.fail(label, "label name must not be empty")
    return Matcher(label.text, op, value.text)


def brackets(cursor: Cursor, expr: Expr) -> Expr:
    """`expr` with the range or the subquery that begins at the next token."""
    context = "subquery or range selector"
    cursor.advance()
    range_ms = _positive_duration_ms(cursor, context)
    if cursor.take(":"):
        step_ms = None if cursor.at_symbol("]") else _positive_duration_ms(cursor, context)
        cursor.expect("]", "subquery selector")
        if expr.value_type is not ValueType.VECTOR:
            cursor.fail(
                expr.span,
                f"subquery is only allowed on instant vector, got {expr.value_type} instead",
            )
        span = cursor.span_from(expr.span.start)
        return cursor.bounded(Subquery(expr, range_ms, step_ms, span=span))
    if not cursor.at_symbol("]"):
        cursor.unexpected(context, '":" or "]"')
    cursor.advance()
    if not isinstance(expr, VectorSelector):
        cursor.fail(expr.span, "ranges only allowed for vector selectors")
    if expr.offset_ms:
        cursor.fail(expr.span, "no offset modifiers allowed before range")
    if expr.at is not None:
        cursor.fail(expr.span, "no @ modifiers allowed before range")
    span = cursor.span_from(expr.span.start)
    return cursor.bounded(MatrixSelector(expr, range_ms, span=span))


def offset(cursor: Cursor, expr: Expr) -> Expr:
    """`expr` with the `offset` that is the next token."""
    keyword = cursor.advance()
    start = cursor.token
    # One term: `x offset -5m ^ 2` is the square of `x offset -5m`.
    sign = _sign(cursor)
    offset_ms = _duration_ms(cursor, start, sign * _seconds(cursor, cursor.primary(), "offset"))
    if _modifiable(cursor, expr, keyword, "offset").offset_ms:
        cursor.fail(expr.span, "offset may not be set multiple times")
    return _modified(cursor, expr, offset_ms=offset_ms)


def at(cursor: Cursor, expr: Expr) -> Expr:
    """`expr` with the `@` that is the next token."""
    keyword = cursor.advance()
    when: At
    if cursor.at_word("start", "end"):
        when = "start" if cursor.advance().text.lower() == "start" else "end"
        cursor.expect("(", "@")
        cursor.expect(")", "@")
    else:
        when = _timestamp_ms(cursor)
    if _modifiable(cursor, expr, keyword, "@").at is not None:
        cursor.fail(expr.span, "@ <timestamp> may not be set multiple times")
    return _modified(cursor, expr, at=when)


def edges(cursor: Cursor, expr: VectorSelector | MatrixSelector) -> Expr:
    """`expr` with the `anchored` or `smoothed` that is the next token."""
    token = cursor.advance()
    is_anchored = token.text.lower() == "anchored"
    selector = expr.selector if isinstance(expr, MatrixSelector) else expr
    if is_anchored and selector is expr:
        cursor.fail(token, "anchored modifier can only be used with range vector selectors")
    if selector.edges:
        cursor.fail(token, "anchored and smoothed modifiers may not be set multiple times")
    return _modified(cursor, expr, edges="anchored" if is_anchored else "smoothed")


def _timestamp_ms(cursor: Cursor) -> int:
    sign = _sign(cursor)
    number = cursor.token
    word = number.text.lower()
    if number.kind is Kind.IDENTIFIER and word in {"inf", "nan"}:
        seconds = float(word)
    elif number.kind in {Kind.NUMBER, Kind.DURATION}:
        seconds = numeral_value(number)
    else:
        cursor.unexpected("@", "timestamp")
    cursor.advance()
    if not math.isfinite(seconds) or abs(seconds * 1000) >= _AT_MS_MAX:
        cursor.fail(number, f"timestamp out of bounds for @ modifier: {seconds}")
    return sign * round(seconds * 1000)


def _modifiable(
    cursor: Cursor, expr: Expr, keyword: Token, modifier: str
) -> VectorSelector | Subquery:
    """The part of `expr` that `offset` and `@` belong to."""
    match expr:
        case VectorSelector() | Subquery():
            return expr
        case MatrixSelector():
            return expr.selector
        case _:
            return cursor.fail(
                keyword,
                f"{modifier} modifier must be preceded by an instant vector selector or range "
                "vector selector or a subquery, but follows a "
                f"{_NODE_NAMES[type(expr).__name__]} instead",
            )


def _modified(cursor: Cursor, expr: Expr, **changes: At | Edges) -> Expr:
    span = cursor.span_from(expr.span.start)
    if isinstance(expr, MatrixSelector):
        selector = replace(expr.selector, **changes)  # type: ignore[arg-type]
        return cursor.bounded(replace(expr, selector=selector, span=span))
    return cursor.bounded(replace(expr, **changes, span=span))  # type: ignore[arg-type]


def _positive_duration_ms(cursor: Cursor, context: str) -> int:
    """Milliseconds of a duration, a number of seconds, or arithmetic of those."""
    start = cursor.token
    duration_ms = _duration_ms(cursor, start, _seconds(cursor, cursor.expression(0), context))
    if duration_ms <= 0:
        cursor.fail(start, "duration must be greater than 0")
    return duration_ms


def _duration_ms(cursor: Cursor, start: Token, seconds: float) -> int:
    if not math.isfinite(seconds) or abs(seconds) > _DURATION_S_MAX:
        cursor.fail(start, "duration out of range")
    return round(seconds * 1000)


def _seconds(cursor: Cursor, expr: Expr, context: str) -> float:  # noqa: PLR0911 - a case a node
    """Seconds of `29s + 2 * step()`."""
    match expr:
        case NumberLiteral():
            return expr.value
        case Paren():
            return _seconds(cursor, expr.expr, context)
        case Unary():
            return (-1 if expr.op == "-" else 1) * _seconds(cursor, expr.expr, context)
        case Binary() if expr.op in _DURATION_ARITHMETIC:
            return _calculated(cursor, expr, context)
        case Call() if expr.name in DURATION_FUNCTIONS:
            values = [_seconds(cursor, arg, context) for arg in expr.args]
            if values:
                return min(values) if expr.name == "min_of" else max(values)
            if cursor.times is None:
                reason = f"{expr.name}() in a duration is known only to a query with times"
                cursor.fail(expr.span, reason)
            is_step = expr.name == "step"
            return (cursor.times.step_ms if is_step else cursor.times.range_ms) / 1000
    cursor.go_to(expr.span)
    return cursor.unexpected(context, "number or duration")


def _calculated(cursor: Cursor, expr: Binary, context: str) -> float:
    links = chain(expr)
    seconds = _seconds(cursor, links[0].lhs, context)
    for link in links:
        right = _seconds(cursor, link.rhs, context)
        try:
            seconds = _DURATION_ARITHMETIC[link.op](seconds, right)
        except (ArithmeticError, ValueError) as exc:
            cursor.go_to(link.rhs.span)
            reason = "duration out of range"
            if isinstance(exc, ZeroDivisionError):
                reason = f"{'modulo' if link.op == '%' else 'division'} by zero"
            cursor.fail(cursor.tokens[cursor.index - 1], reason)
    return seconds


def _sign(cursor: Cursor) -> int:
    """-1 or 1, by the sign that may be the next token."""
    if not cursor.at_symbol("-", "+"):
        return 1
    return -1 if cursor.advance().text == "-" else 1
