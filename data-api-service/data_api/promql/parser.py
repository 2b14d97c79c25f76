"""Query text → typed tree: a Pratt parser.

    or < and unless < == != < <= > >= </ >/ < + - < * / % atan2 (and unary sign) < ^ (right)

Bounded in time and depth, see `cursor`. Messages follow Prometheus, whose users search for them.
Source: Prometheus `promql/parser/generated_parser.y`, `parse.go`.
"""

from dataclasses import replace

from data_api.promql import argument_checks, selector_parser
from data_api.promql.cursor import GROUPING_MAX, Cursor, QueryTimes
from data_api.promql.functions import FUNCTIONS, ValueType
from data_api.promql.lexer import Kind, Token, numeral_value
from data_api.promql.nodes import (
    AGGREGATORS,
    COMPARISONS,
    PARAMETRIC,
    PRECEDENCE,
    SET_OPERATORS,
    Aggregate,
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
    Unary,
    VectorSelector,
)

_NEVER_NAMES = frozenset(
    {"and", "or", "unless", "atan2", "bool", "on", "ignoring", "group_left", "group_right"}
)
_NUMERIC = frozenset({ValueType.SCALAR, ValueType.VECTOR})


def parse(text: str, times: QueryTimes | None = None) -> Expr:
    """The typed tree of a query. Raises ParseError that says where and what.

    times: those of the query; without them no duration may depend on them.
    """
    return _Parser(text, times).query()


class _Parser(Cursor):
    def query(self) -> Expr:
        """The expression that is the whole text."""
        if len(self.tokens) == 1:
            self.fail(Span(0, 0), "no expression found in input")
        expr = self.expression(0)
        if self.at_symbol(")"):
            self.fail(self.token, 'unexpected right parenthesis ")"')
        if self.token.kind is not Kind.END:
            self.unexpected("")
        return expr

    def expression(self, floor: int) -> Expr:
        self.enter()
        lhs = self._unary()
        while (op := self._operator()) and PRECEDENCE[op] > floor:
            operator = self.advance()
            return_bool = self._bool(op)
            matching = self._matching(operator)
            # `^` is right-associative: its right side may hold another one.
            rhs = self.expression(PRECEDENCE[op] - (op == "^"))
            lhs = self._binary(operator, op, lhs, rhs, return_bool=return_bool, matching=matching)
        self.leave()
        return lhs

    def _operator(self) -> str | None:
        if self.token.kind not in {Kind.IDENTIFIER, Kind.SYMBOL}:
            return None
        text = self.token.text.lower()
        return text if text in PRECEDENCE else None

    def _unary(self) -> Expr:
        signs: list[Token] = []
        while self.at_symbol("-", "+"):
            signs.append(self.advance())
        if not signs:
            return self._postfix()
        # Binds as `*` does: `-a ^ b` is `-(a ^ b)`, `-a * b` is `(-a) * b`.
        expr = self.expression(PRECEDENCE["*"])
        for sign in reversed(signs):
            if expr.value_type not in _NUMERIC:
                self.fail(
                    sign,
                    "unary expression only allowed on expressions of type scalar or instant "
                    f'vector, got "{expr.value_type}"',
                )
            span = Span(sign.start, expr.span.end)
            if isinstance(expr, NumberLiteral):
                value = -expr.value if sign.text == "-" else expr.value
                expr = NumberLiteral(value, span=span)
            else:
                expr = self.bounded(Unary(sign.text, expr, span=span))
        return expr

    def _postfix(self) -> Expr:
        expr = self.primary()
        while True:
            if self.at_symbol("["):
                expr = selector_parser.brackets(self, expr)
            elif self.at_word("offset"):
                expr = selector_parser.offset(self, expr)
            elif self.at_symbol("@"):
                expr = selector_parser.at(self, expr)
            elif self.at_word("anchored", "smoothed") and isinstance(
                expr, VectorSelector | MatrixSelector
            ):
                expr = selector_parser.edges(self, expr)
            else:
                return expr

    def primary(self) -> Expr:
        token = self.token
        match token.kind:
            case Kind.NUMBER | Kind.DURATION:
                self.advance()
                return NumberLiteral(numeral_value(token), span=self.span_from(token.start))
            case Kind.STRING:
                self.advance()
                return StringLiteral(token.text, span=self.span_from(token.start))
            case Kind.IDENTIFIER:
                return self._named()
            case Kind.SYMBOL if token.text == "(":
                return self._paren()
            case Kind.SYMBOL if token.text == "{":
                return selector_parser.vector_selector(self, None)
            case _:
                return self.unexpected("")

    def _paren(self) -> Expr:
        opening = self.advance()
        inner = self.expression(0)
        if not self.at_symbol(")"):
            if self.token.kind is Kind.END:
                self.fail(self.token, "unclosed left parenthesis")
            self.unexpected("", '")"')
        self.advance()
        return self.bounded(Paren(inner, span=self.span_from(opening.start)))

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
            return NumberLiteral(float(word), span=self.span_from(token.start))
        if opens:
            return self._call()
        is_offset = word == "offset" and following.kind in {Kind.NUMBER, Kind.DURATION}
        if word in _NEVER_NAMES or is_offset:
            self.unexpected("")
        return selector_parser.vector_selector(self, self.advance())

    # --- operators

    def _bool(self, op: str) -> bool:
        """Whether `bool` follows the operator."""
        if not self.at_word("bool"):
            return False
        keyword = self.advance()
        if op not in COMPARISONS:
            self.fail(keyword, "bool modifier can only be used on comparison operators")
        return True

    def _matching(self, operator: Token) -> Matching | None:
        """What the words between the operator and its right side say; None where there are none."""
        cardinality, on = Cardinality.ONE_TO_ONE, False
        labels: tuple[str, ...] = ()
        include: tuple[str, ...] = ()
        if self.at_word("on", "ignoring") and self.peek().text == "(":
            on = self.advance().text.lower() == "on"
            labels = self._grouping()
            if self.at_word("group_left", "group_right"):
                cardinality, include = self._group_side(operator, labels if on else ())
        matching = Matching(cardinality, on, labels, include, *self._fill(operator))
        return None if matching == Matching() else matching

    def _group_side(
        self, operator: Token, on: tuple[str, ...]
    ) -> tuple[Cardinality, tuple[str, ...]]:
        """Which side may have many series, and the labels it takes along; on: those that match."""
        side = self.advance()
        is_left = side.text.lower() == "group_left"
        include = self._grouping() if self.at_symbol("(") else ()
        if operator.text.lower() in SET_OPERATORS:
            self.fail(operator, f'no grouping allowed for "{operator.text.lower()}" operation')
        for label in set(include).intersection(on):
            self.fail(side, f'label "{label}" must not occur in ON and GROUP clause at once')
        return Cardinality.MANY_TO_ONE if is_left else Cardinality.ONE_TO_MANY, include

    def _fill(self, operator: Token) -> tuple[float | None, float | None]:
        """Values that stand in for a side that has no series: left, right."""
        left = right = None
        while self.at_word("fill", "fill_left", "fill_right") and self.peek().text == "(":
            token = self.advance()
            word = token.text.lower()
            op = operator.text.lower()
            if op in SET_OPERATORS:
                self.fail(token, f'filling in missing series not allowed for "{op}"')
            self.expect("(", "fill")
            number = self.expression(PRECEDENCE["*"])
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
            if len(labels) > GROUPING_MAX:
                self.fail(token, f"more than {GROUPING_MAX} labels in grouping opts")
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
        for side in (lhs, rhs):
            if side.value_type not in _NUMERIC:
                self.fail(
                    side.span,
                    "binary expression must contain only scalar and instant vector types",
                )
        if lhs.value_type is rhs.value_type is ValueType.VECTOR:
            matching = matching or Matching()
            if op in SET_OPERATORS:
                matching = replace(matching, cardinality=Cardinality.MANY_TO_MANY)
        else:
            if op in SET_OPERATORS:
                self.fail(operator, f'set operator "{op}" not allowed in binary scalar expression')
            if matching is not None:
                if matching != Matching(on=matching.on):
                    self.fail(operator, "vector matching only allowed between instant vectors")
                matching = None
            if lhs.value_type is rhs.value_type and op in COMPARISONS and not return_bool:
                self.fail(operator, "comparisons between scalars must use BOOL modifier")
        return self.bounded(Binary(op, lhs, rhs, return_bool, matching, span=span))

    # --- calls

    def _aggregate(self) -> Expr:
        name = self.advance()
        op = name.text.lower()
        clause = self._by_or_without()
        args = self._arguments("aggregation")
        without, grouping = clause or self._by_or_without() or (False, ())
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
        argument_checks.expect_type(self, args[-1], ValueType.VECTOR, context)
        param = args[0] if wanted == 2 else None
        if param is not None:
            kind = ValueType.STRING if op == "count_values" else ValueType.SCALAR
            argument_checks.expect_type(self, param, kind, "aggregation parameter")
        return self.bounded(Aggregate(op, args[-1], param, grouping, without, span=span))

    def _by_or_without(self) -> tuple[bool, tuple[str, ...]] | None:
        """Whether `without`, and the labels; None when the next token is neither."""
        if not self.at_word("by", "without"):
            return None
        without = self.advance().text.lower() == "without"
        return without, self._grouping()

    def _arguments(self, context: str, function: str = "") -> tuple[Expr, ...]:
        self.expect("(", context)
        args: list[Expr] = []
        while not self.at_symbol(")"):
            is_of_info = function == "info" and len(args) == 1
            args.append(self._info_labels() if is_of_info else self.expression(0))
            if self.at_symbol(")"):
                break
            if self.token.kind is Kind.END:
                self.fail(self.token, "unclosed left parenthesis")
            self.expect(",", context)
            if self.at_symbol(")"):
                self.fail(self.token, f"trailing commas not allowed in {context} args")
        self.advance()
        return tuple(args)

    def _info_labels(self) -> Expr:
        """The second argument of `info()`: what it says of labels may fit any series."""
        if not self.at_symbol("{"):
            self.fail(
                self.token, "expected label selectors as the second argument to info function"
            )
        return selector_parser.vector_selector(self, None, may_match_all=True)

    def _call(self) -> Expr:
        token = self.advance()
        word = token.text.lower()
        name = word if word in selector_parser.DURATION_FUNCTIONS else token.text
        function = FUNCTIONS.get(name)
        if function is None:
            self.fail(token, f'unknown function with name "{name}"')
        args = self._arguments("function call", name)
        span = self.span_from(token.start)
        argument_checks.of_call(self, name, function, args, span)
        return self.bounded(Call(name, args, span=span))
