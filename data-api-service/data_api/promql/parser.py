"""Query text → typed tree: a Pratt parser, bounded in length and depth.

    or < and unless < == != < <= > >= < + - < * / % atan2 (and unary sign) < ^ (right)

A tenant writes the text, so nothing here may recurse or take time beyond fixed bounds: the text is
at most `QUERY_CHARS_MAX` long, expressions nest at most `NESTING_MAX` deep and no tree is deeper
than `DEPTH_MAX`, which later walks over it rely on. Messages follow Prometheus, whose users search
for them. Source: Prometheus `promql/parser/generated_parser.y`, `parse.go`.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import re2

from data_api.model import METRIC_NAME, Matcher, MatchOp, compile_regex
from data_api.promql import lexer
from data_api.promql.errors import UnsupportedSyntax
from data_api.promql.functions import FUNCTIONS, Function
from data_api.promql.lexer import Kind, Token
from data_api.promql.nodes import (
    AGGREGATORS,
    COMPARISONS,
    PARAMETRIC,
    SET_OPERATORS,
    Aggregate,
    At,
    Binary,
    Call,
    Cardinality,
    Expr,
    Matching,
    MatrixSelector,
    NumberLiteral,
    Paren,
    Span,
    StringLiteral,
    Subquery,
    Unary,
    ValueType,
    VectorSelector,
    children,
)

QUERY_CHARS_MAX = 16 * 1024
NESTING_MAX = 100
DEPTH_MAX = 200
TOKENS_MAX = 8192

_PRECEDENCE = {
    "or": 1,
    "and": 2,
    "unless": 2,
    **dict.fromkeys(COMPARISONS, 3),
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
    "atan2": 5,
    "^": 6,
}
_WORD_OPERATORS = frozenset({"and", "or", "unless", "atan2"})
_DURATION_MAX_S = 2**53 / 1000
_DURATION_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": math.fmod,
    "^": math.pow,
}
_NEVER_NAMES = _WORD_OPERATORS | {"bool", "on", "ignoring", "group_left", "group_right"}
_UNARY_OPERAND = 6
_AT_MAX_MS = 2**62  # leaves room for offsets and ranges in 64 bits


def parse(text: str) -> Expr:
    """The typed tree of a query. Raises ParseError that says where and what."""
    if len(text) > QUERY_CHARS_MAX:
        lexer.fail(text, 0, f"query is {len(text)} characters long, the limit is {QUERY_CHARS_MAX}")
    parser = _Parser(text)
    expr = parser.expression(0)
    parser.finish()
    return expr


def value_type(expr: Expr) -> ValueType:  # noqa: PLR0911 - a case a node
    """The type of what an expression gives."""
    match expr:
        case NumberLiteral():
            return ValueType.SCALAR
        case StringLiteral():
            return ValueType.STRING
        case Paren() | Unary():
            return value_type(expr.expr)
        case Binary():
            both = {value_type(expr.lhs), value_type(expr.rhs)}
            return ValueType.SCALAR if both == {ValueType.SCALAR} else ValueType.VECTOR
        case Call():
            return FUNCTIONS[expr.name].returns
        case Aggregate() | VectorSelector():
            return ValueType.VECTOR
        case MatrixSelector() | Subquery():
            return ValueType.MATRIX


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[Token] = []
        for token in lexer.tokens(text):
            self.tokens.append(token)
            if len(self.tokens) > TOKENS_MAX:
                lexer.fail(text, token.start, f"query has more than {TOKENS_MAX} tokens")
        self.index = 0
        self.nesting = 0
        self.depths: dict[int, int] = {}
        self.types: dict[int, ValueType] = {}
        self.kept: list[Expr] = []

    # --- tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def advance(self) -> Token:
        token = self.tokens[self.index]
        self.index += token.kind is not Kind.END
        return token

    def peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.index + ahead, len(self.tokens) - 1)]

    def at_symbol(self, symbol: str) -> bool:
        return self.token.kind is Kind.SYMBOL and self.token.text == symbol

    def at_word(self, *words: str) -> bool:
        return self.token.kind is Kind.IDENTIFIER and self.token.text.lower() in words

    def take(self, symbol: str) -> bool:
        if self.at_symbol(symbol):
            self.index += 1
            return True
        return False

    def expect(self, symbol: str, context: str) -> Token:
        if not self.at_symbol(symbol):
            self.unexpected(context, f'"{symbol}"')
        return self.advance()

    def unexpected(self, context: str, expected: str = "") -> NoReturn:
        reason = f"unexpected {_describe(self.token)}"
        if context:
            reason += f" in {context}"
        if expected:
            reason += f", expected {expected}"
        lexer.fail(self.text, self.token.start, reason)

    def fail(self, span: Span, reason: str) -> NoReturn:
        lexer.fail(self.text, span.start, reason)

    def unsupported(self, position: int, what: str) -> NoReturn:
        raise UnsupportedSyntax(
            reason=f"{what} is experimental and not supported",
            where=lexer.where(self.text, position),
            position=position,
        )

    def span_from(self, start: int) -> Span:
        return Span(start, self.tokens[self.index - 1].end)

    # --- bounds: each finished node is entered once, with its depth and its type

    def made(self, expr: Expr) -> Expr:
        depth = 1 + max((self.depths[id(child)] for child in children(expr)), default=0)
        if depth > DEPTH_MAX:
            self.fail(expr.span, f"query is nested more than {DEPTH_MAX} levels deep")
        self.depths[id(expr)] = depth
        self.types[id(expr)] = self._type_of(expr)
        self.kept.append(expr)  # ids stay unique while the nodes live
        return expr

    def _type_of(self, expr: Expr) -> ValueType:
        match expr:
            case Paren() | Unary():
                return self.types[id(expr.expr)]
            case Binary():
                both = {self.types[id(expr.lhs)], self.types[id(expr.rhs)]}
                return ValueType.SCALAR if both == {ValueType.SCALAR} else ValueType.VECTOR
            case _:
                return value_type(expr)

    def type_of(self, expr: Expr) -> ValueType:
        return self.types[id(expr)]

    def enter(self) -> None:
        self.nesting += 1
        if self.nesting > NESTING_MAX:
            lexer.fail(
                self.text,
                self.token.start,
                f"query is nested more than {NESTING_MAX} levels deep",
            )

    def leave(self) -> None:
        self.nesting -= 1

    # --- expressions

    def finish(self) -> None:
        if self.at_symbol(")"):
            lexer.fail(self.text, self.token.start, 'unexpected right parenthesis ")"')
        if self.token.kind is not Kind.END:
            self.unexpected("")

    def expression(self, floor: int) -> Expr:
        """The longest expression whose operators all bind tighter than `floor`."""
        self.enter()
        lhs = self.unary()
        while (op := self._operator()) and _PRECEDENCE[op] > floor:
            operator = self.advance()
            return_bool, matching = self._modifiers(op, operator)
            # `^` is right-associative: its right side may hold another one.
            rhs = self.expression(_PRECEDENCE[op] - (op == "^"))
            lhs = self._binary(operator, op, lhs, rhs, return_bool=return_bool, matching=matching)
        self.leave()
        return lhs

    def _operator(self) -> str | None:
        token = self.token
        text = token.text.lower() if token.kind is Kind.IDENTIFIER else token.text
        if token.kind is Kind.SYMBOL and text in _PRECEDENCE:
            return text
        if token.kind is Kind.IDENTIFIER and text in _WORD_OPERATORS:
            return text
        return None

    def unary(self) -> Expr:
        signs: list[Token] = []
        while self.at_symbol("-") or self.at_symbol("+"):
            signs.append(self.advance())
        if not signs:
            return self.postfix()
        # Binds as `*` does: `-a ^ b` is `-(a ^ b)`, `-a * b` is `(-a) * b`.
        expr = self.expression_at_power()
        for sign in reversed(signs):
            if self.type_of(expr) not in {ValueType.SCALAR, ValueType.VECTOR}:
                self.fail(
                    Span(sign.start, expr.span.end),
                    "unary expression only allowed on expressions of type scalar or instant "
                    f'vector, got "{self.type_of(expr)}"',
                )
            span = Span(sign.start, expr.span.end)
            if isinstance(expr, NumberLiteral):
                value = -expr.value if sign.text == "-" else expr.value
                expr = self.made(NumberLiteral(value, span=span))
            else:
                expr = self.made(Unary(sign.text, expr, span=span))
        return expr

    def expression_at_power(self) -> Expr:
        return self.expression(_UNARY_OPERAND - 1)

    def postfix(self) -> Expr:
        expr = self.primary()
        while True:
            if self.at_symbol("["):
                expr = self._bracket(expr)
            elif self.at_word("offset"):
                expr = self._offset(expr)
            elif self.at_symbol("@"):
                expr = self._at(expr)
            elif self.at_word("anchored", "smoothed") and _is_selector(expr):
                self.unsupported(self.token.start, f'modifier "{self.token.text}"')
            else:
                return expr

    def primary(self) -> Expr:
        token = self.token
        if token.kind is Kind.END and not self.index:
            lexer.fail(self.text, 0, "no expression found in input")
        match token.kind:
            case Kind.NUMBER | Kind.DURATION:
                self.advance()
                return self.made(NumberLiteral(_number(token), span=Span(token.start, token.end)))
            case Kind.STRING:
                self.advance()
                return self.made(StringLiteral(token.text, span=Span(token.start, token.end)))
            case Kind.IDENTIFIER:
                return self._named()
            case Kind.SYMBOL if token.text == "(":
                return self._paren()
            case Kind.SYMBOL if token.text == "{":
                return self._selector("")
            case _:
                return self.unexpected("")

    def _paren(self) -> Expr:
        opening = self.advance()
        inner = self.expression(0)
        if not self.at_symbol(")"):
            if self.token.kind is Kind.END:
                lexer.fail(self.text, self.token.start, "unclosed left parenthesis")
            self.unexpected("", '")"')
        self.advance()
        return self.made(Paren(inner, span=self.span_from(opening.start)))

    def _named(self) -> Expr:
        token = self.token
        word = token.text.lower()
        following = self.peek()
        opens = following.kind is Kind.SYMBOL and following.text == "("
        grouped = following.kind is Kind.IDENTIFIER and following.text.lower() in {"by", "without"}
        if word in AGGREGATORS and (opens or grouped):
            return self._aggregate()
        if word in {"inf", "nan"} and not opens:
            self.advance()
            value = math.inf if word == "inf" else math.nan
            return self.made(NumberLiteral(value, span=Span(token.start, token.end)))
        if opens:
            return self._call()
        if word in _NEVER_NAMES or (word == "offset" and not self._could_be_name()):
            self.unexpected("")
        self.advance()
        return self._selector(token.text, token.start)

    def _could_be_name(self) -> bool:
        return self.peek().kind not in {Kind.NUMBER, Kind.DURATION}

    # --- selectors

    def _selector(self, name: str, start: int | None = None) -> Expr:
        begin = self.token.start if start is None else start
        matchers: list[Matcher] = []
        if self.at_symbol("{"):
            matchers = self._matchers()
        span = self.span_from(begin)
        named = [m for m in matchers if m.name == METRIC_NAME]
        if name:
            for matcher in named:
                self.fail(span, f'metric name must not be set twice: "{name}" or "{matcher.value}"')
            matchers.append(Matcher(METRIC_NAME, MatchOp.EQUAL, name))
        if not any(not m.matches_absent() for m in matchers):
            self.fail(span, "vector selector must contain at least one non-empty matcher")
        return self.made(VectorSelector(name, tuple(matchers), span=span))

    def _matchers(self) -> list[Matcher]:
        self.advance()
        matchers: list[Matcher] = []
        while not self.at_symbol("}"):
            matchers.append(self._matcher())
            if not self.take(",") and not self.at_symbol("}"):
                self.unexpected("label matching", '"," or "}"')
        self.advance()
        return matchers

    def _matcher(self) -> Matcher:
        label = self.token
        if label.kind not in {Kind.IDENTIFIER, Kind.STRING}:
            self.unexpected("label matching", 'identifier or "}"')
        self.advance()
        if label.kind is Kind.STRING and (self.at_symbol(",") or self.at_symbol("}")):
            return Matcher(METRIC_NAME, MatchOp.EQUAL, label.text)
        operator = self.token
        if operator.kind is not Kind.SYMBOL or operator.text not in {"=", "!=", "=~", "!~"}:
            self.unexpected("label matching", "label matching operator")
        self.advance()
        value = self.token
        if value.kind is not Kind.STRING:
            self.unexpected("label matching", "string")
        self.advance()
        op = MatchOp(operator.text)
        if op in {MatchOp.REGEX, MatchOp.NOT_REGEX}:
            try:
                compile_regex(value.text)
            except re2.error as exc:
                why = exc.args[0].decode() if isinstance(exc.args[0], bytes) else str(exc)
                lexer.fail(self.text, value.start, f"error parsing regexp: {why}")
        if not label.text:
            lexer.fail(self.text, label.start, "label name must not be empty")
        return Matcher(label.text, op, value.text)

    def _bracket(self, expr: Expr) -> Expr:
        self.advance()
        range_ms = self._duration("subquery or range selector", positive=True)
        if self.take(":"):
            step_ms = None
            if not self.at_symbol("]"):
                step_ms = self._duration("subquery or range selector", positive=True)
            self.expect("]", "subquery selector")
            if self.type_of(expr) is not ValueType.VECTOR:
                self.fail(
                    expr.span,
                    f"subquery is only allowed on instant vector, got {self.type_of(expr)} instead",
                )
            span = self.span_from(expr.span.start)
            return self.made(Subquery(expr, range_ms, step_ms, span=span))
        if not self.at_symbol("]"):
            self.unexpected("subquery or range selector", '":" or "]"')
        self.advance()
        if not isinstance(expr, VectorSelector):
            self.fail(expr.span, "ranges only allowed for vector selectors")
        if expr.offset_ms:
            self.fail(expr.span, "no offset modifiers allowed before range")
        if expr.at is not None:
            self.fail(expr.span, "no @ modifiers allowed before range")
        span = self.span_from(expr.span.start)
        return self.made(MatrixSelector(expr, range_ms, span=span))

    def _duration(self, context: str, *, positive: bool = False) -> int:
        """Milliseconds of a duration, a number of seconds, or arithmetic of those."""
        start = self.token.start
        seconds = self._duration_sum(context, 0) if positive else self._duration_term(context)
        if not math.isfinite(seconds) or abs(seconds) > _DURATION_MAX_S:
            lexer.fail(self.text, start, "duration out of range")
        duration_ms = round(seconds * 1000)
        if positive and duration_ms <= 0:
            lexer.fail(self.text, start, "duration must be greater than 0")
        return duration_ms

    def _duration_sum(self, context: str, floor: int) -> float:
        """Seconds of `29s + 2 * 15s`, operators binding as they do elsewhere."""
        self.enter()
        seconds = self._duration_term(context)
        while self.token.kind is Kind.SYMBOL and self.token.text in _DURATION_ARITHMETIC:
            op = self.token.text
            if _PRECEDENCE[op] <= floor:
                break
            here = self.advance().start
            right = self._duration_sum(context, _PRECEDENCE[op] - (op == "^"))
            try:
                seconds = _DURATION_ARITHMETIC[op](seconds, right)
            except ZeroDivisionError:
                what = "modulo" if op == "%" else "division"
                lexer.fail(self.text, here, f"{what} by zero")
            except (OverflowError, ValueError):
                lexer.fail(self.text, here, "duration out of range")
        self.leave()
        return seconds

    def _duration_term(self, context: str) -> float:
        token = self.token
        if token.kind in {Kind.NUMBER, Kind.DURATION}:
            self.advance()
            return _number(token)
        if self.at_symbol("-") or self.at_symbol("+"):
            sign = -1 if self.advance().text == "-" else 1
            return sign * self._duration_sum(context, _UNARY_OPERAND - 1)
        if self.take("("):
            seconds = self._duration_sum(context, 0)
            self.expect(")", context)
            return seconds
        if self.at_word("step", "range", "min_of", "max_of"):
            self.unsupported(token.start, f"{token.text}() in a duration")
        return self.unexpected(context, "number or duration")

    def _offset(self, expr: Expr) -> Expr:
        keyword = self.advance()
        offset_ms = self._duration("offset")
        match expr:
            case VectorSelector() | Subquery():
                before = expr.offset_ms
            case MatrixSelector():
                before = expr.selector.offset_ms
            case _:
                self.fail(
                    Span(keyword.start, keyword.end),
                    "offset modifier must be preceded by an instant vector selector or range "
                    f"vector selector or a subquery, but follows a {self._node_name(expr)} instead",
                )
        if before:
            self.fail(expr.span, "offset may not be set multiple times")
        span = self.span_from(expr.span.start)
        if isinstance(expr, MatrixSelector):
            selector = self.made(replace(expr.selector, offset_ms=offset_ms))
            assert isinstance(selector, VectorSelector)
            return self.made(replace(expr, selector=selector, span=span))
        return self.made(replace(expr, offset_ms=offset_ms, span=span))

    def _at(self, expr: Expr) -> Expr:
        keyword = self.advance()
        at: At
        if self.at_word("start", "end"):
            at = "start" if self.advance().text.lower() == "start" else "end"
            self.expect("(", "@")
            self.expect(")", "@")
        else:
            sign = 1
            if self.at_symbol("-") or self.at_symbol("+"):
                sign = -1 if self.advance().text == "-" else 1
            number = self.token
            word = number.text.lower()
            if number.kind is Kind.IDENTIFIER and word in {"inf", "nan"}:
                seconds = math.inf if word == "inf" else math.nan
            elif number.kind in {Kind.NUMBER, Kind.DURATION}:
                seconds = _number(number)
            else:
                self.unexpected("@", "timestamp")
            self.advance()
            if not math.isfinite(seconds) or abs(seconds * 1000) >= _AT_MAX_MS:
                lexer.fail(
                    self.text, number.start, f"timestamp out of bounds for @ modifier: {seconds}"
                )
            at = sign * round(seconds * 1000)
        match expr:
            case VectorSelector() | Subquery():
                before = expr.at
            case MatrixSelector():
                before = expr.selector.at
            case _:
                self.fail(
                    Span(keyword.start, keyword.end),
                    "@ modifier must be preceded by an instant vector selector or range vector "
                    f"selector or a subquery, but follows a {self._node_name(expr)} instead",
                )
        if before is not None:
            self.fail(expr.span, "@ <timestamp> may not be set multiple times")
        span = self.span_from(expr.span.start)
        if isinstance(expr, MatrixSelector):
            selector = self.made(replace(expr.selector, at=at))
            assert isinstance(selector, VectorSelector)
            return self.made(replace(expr, selector=selector, span=span))
        return self.made(replace(expr, at=at, span=span))

    @staticmethod
    def _node_name(expr: Expr) -> str:
        return {
            "NumberLiteral": "number literal",
            "StringLiteral": "string literal",
            "Paren": "parenthesized expression",
            "Unary": "unary expression",
            "Binary": "binary expression",
            "Aggregate": "aggregation",
            "Call": "function call",
        }.get(type(expr).__name__, type(expr).__name__)

    # --- operators

    def _modifiers(self, op: str, here: Token) -> tuple[bool, Matching | None]:
        return_bool = False
        if self.at_word("bool"):
            token = self.advance()
            if op not in COMPARISONS:
                self.fail(
                    Span(token.start, token.end),
                    "bool modifier can only be used on comparison operators",
                )
            return_bool = True
        if not self.at_word("on", "ignoring") or self.peek().text != "(":
            fill = self._fill(op)
            return return_bool, Matching(fill_left=fill[0], fill_right=fill[1]) if any(
                value is not None for value in fill
            ) else None
        on = self.advance().text.lower() == "on"
        labels = self._grouping()
        cardinality = Cardinality.ONE_TO_ONE
        include: tuple[str, ...] = ()
        if self.at_word("group_left", "group_right"):
            side = self.advance()
            left = side.text.lower() == "group_left"
            cardinality = Cardinality.MANY_TO_ONE if left else Cardinality.ONE_TO_MANY
            if self.at_symbol("("):
                include = self._grouping()
            if op in SET_OPERATORS:
                self.fail(Span(here.start, here.end), f'no grouping allowed for "{op}" operation')
            for label in include:
                if on and label in labels:
                    self.fail(
                        Span(side.start, side.end),
                        f'label "{label}" must not occur in ON and GROUP clause at once',
                    )
        fill_left, fill_right = self._fill(op)
        matching = Matching(cardinality, on, labels, include, fill_left, fill_right)
        return return_bool, matching

    def _fill(self, op: str) -> tuple[float | None, float | None]:
        """Values that stand in for a side that has no series: left, right."""
        left = right = None
        while self.at_word("fill", "fill_left", "fill_right") and self.peek().text == "(":
            token = self.advance()
            word = token.text.lower()
            if op in SET_OPERATORS:
                self.fail(
                    Span(token.start, token.end),
                    f'filling in missing series not allowed for "{op}"',
                )
            self.expect("(", "fill")
            number = self.expression(_UNARY_OPERAND - 1)
            if not isinstance(number, NumberLiteral):
                self.fail(number.span, "fill value must be a number")
            self.expect(")", "fill")
            if word != "fill_right":
                left = number.value
            if word != "fill_left":
                right = number.value
        return left, right

    def _grouping(self) -> tuple[str, ...]:
        self.expect("(", "grouping opts")
        labels: list[str] = []
        while not self.at_symbol(")"):
            token = self.token
            if token.kind not in {Kind.IDENTIFIER, Kind.STRING} or not token.text:
                self.unexpected("grouping opts", "label")
            if token.kind is Kind.IDENTIFIER and ":" in token.text:
                self.unexpected("grouping opts", "label")
            labels.append(self.advance().text)
            if not self.take(",") and not self.at_symbol(")"):
                self.unexpected("grouping opts", '"," or ")"')
        self.advance()
        return tuple(labels)

    def _binary(
        self,
        operator: Token,
        op: str,
        lhs: Expr,
        rhs: Expr,
        *,
        return_bool: bool,
        matching: Matching | None,
    ) -> Expr:
        span = Span(lhs.span.start, rhs.span.end)
        left, right = self.type_of(lhs), self.type_of(rhs)
        here = Span(operator.start, operator.end)
        for side, kind in ((lhs, left), (rhs, right)):
            if kind not in {ValueType.SCALAR, ValueType.VECTOR}:
                self.fail(
                    side.span,
                    "binary expression must contain only scalar and instant vector types",
                )
        if left is right is ValueType.VECTOR:
            matching = matching or Matching()
            if op in SET_OPERATORS:
                matching = replace(matching, cardinality=Cardinality.MANY_TO_MANY)
        else:
            if op in SET_OPERATORS:
                self.fail(here, f'set operator "{op}" not allowed in binary scalar expression')
            if matching is not None:
                if matching != Matching(on=matching.on):
                    self.fail(here, "vector matching only allowed between instant vectors")
                matching = None
            if left is right and op in COMPARISONS and not return_bool:
                self.fail(here, "comparisons between scalars must use BOOL modifier")
        return self.made(Binary(op, lhs, rhs, return_bool, matching, span=span))

    # --- calls

    def _aggregate(self) -> Expr:
        name = self.advance()
        op = name.text.lower()
        grouping: tuple[str, ...] | None = None
        without = False
        if self.at_word("by", "without"):
            without = self.advance().text.lower() == "without"
            grouping = self._grouping()
        args = self._arguments("aggregation")
        if grouping is None and self.at_word("by", "without"):
            without = self.advance().text.lower() == "without"
            grouping = self._grouping()
        span = self.span_from(name.start)
        wanted = 2 if op in PARAMETRIC else 1
        if not args:
            self.fail(span, "no arguments for aggregate expression provided")
        if len(args) != wanted:
            self.fail(
                span,
                f"wrong number of arguments for aggregate expression provided, expected {wanted}, "
                f"got {len(args)}",
            )
        context = "aggregation expression"
        self._expect_type(args[-1], ValueType.VECTOR, context)
        param = args[0] if wanted == 2 else None
        if param is not None:
            kind = ValueType.STRING if op == "count_values" else ValueType.SCALAR
            self._expect_type(param, kind, "aggregation parameter")
        return self.made(Aggregate(op, args[-1], param, grouping or (), without, span=span))

    def _arguments(self, context: str) -> tuple[Expr, ...]:
        self.expect("(", context)
        args: list[Expr] = []
        while not self.at_symbol(")"):
            args.append(self.expression(0))
            if self.at_symbol(")"):
                break
            if self.token.kind is Kind.END:
                lexer.fail(self.text, self.token.start, "unclosed left parenthesis")
            self.expect(",", context)
            if self.at_symbol(")"):
                lexer.fail(
                    self.text, self.token.start, f"trailing commas not allowed in {context} args"
                )
        self.advance()
        return tuple(args)

    def _call(self) -> Expr:
        name = self.advance()
        function = FUNCTIONS.get(name.text)
        if function is None:
            lexer.fail(self.text, name.start, f'unknown function with name "{name.text}"')
        args = self._arguments("function call")
        span = self.span_from(name.start)
        self._check_count(name.text, function, len(args), span)
        for position, arg in enumerate(args):
            wanted = function.args[min(position, len(function.args) - 1)]
            self._expect_type(arg, wanted, f'call to function "{name.text}"')
        return self.made(Call(name.text, args, span=span))

    def _check_count(self, name: str, function: Function, got: int, span: Span) -> None:
        declared = len(function.args)
        if function.variadic == 0:
            if got != declared:
                self.fail(span, f'expected {declared} argument(s) in call to "{name}", got {got}')
            return
        least = declared - 1
        if got < least:
            self.fail(span, f'expected at least {least} argument(s) in call to "{name}", got {got}')
        most = declared - 1 + function.variadic
        if function.variadic > 0 and got > most:
            self.fail(span, f'expected at most {most} argument(s) in call to "{name}", got {got}')

    def _expect_type(self, expr: Expr, wanted: ValueType, context: str) -> None:
        if self.type_of(expr) is not wanted:
            self.fail(expr.span, f"expected type {wanted} in {context}, got {self.type_of(expr)}")


def _is_selector(expr: Expr) -> bool:
    return isinstance(expr, VectorSelector | MatrixSelector)


def _number(token: Token) -> float:
    """A numeral's value; a duration is its number of seconds."""
    if token.kind is Kind.DURATION:
        return lexer.parse_duration_ms(token.text) / 1000
    if token.text[:2].lower() == "0x":
        return float(int(token.text, 16))
    if token.text.isdigit() and token.text[0] == "0" and set(token.text) <= set("01234567"):
        # As Go's ParseInt with base 0 reads it; what overflows that is read as a decimal.
        octal = int(token.text, 8)
        return float(octal if octal <= lexer.INTEGER_MAX else token.text)
    return float(token.text)


def _describe(token: Token) -> str:  # noqa: PLR0911 - a case a kind
    match token.kind:
        case Kind.END:
            return "end of input"
        case Kind.IDENTIFIER:
            if token.text.lower() in _WORD_OPERATORS:
                return f"<op:{token.text.lower()}>"
            return f'identifier "{token.text}"'
        case Kind.NUMBER:
            return f'number "{token.text}"'
        case Kind.DURATION:
            return f'duration "{token.text}"'
        case Kind.STRING:
            return f'string "{token.text}"'
        case _:
            if token.text in _PRECEDENCE:
                return f"<op:{token.text}>"
            return f'"{token.text}"'
