"""The tree of a query: frozen nodes, each with its place in the text, its type and its depth.

Places take no part in equality: two queries that mean the same are equal.

    Expr = NumberLiteral | StringLiteral | Paren | Unary | Binary | Aggregate | Call
         | VectorSelector | MatrixSelector | Subquery
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, cast

from data_api.model import METRIC_NAME, Matcher, MatchOp
from data_api.promql.functions import FUNCTIONS, ValueType


class Span(NamedTuple):
    """Characters ``start:end`` of the query."""

    start: int
    end: int


At = int | Literal["start", "end"] | None
"""What `@` fixes: milliseconds, the query's own ends, or nothing."""


Edges = Literal["anchored", "smoothed"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What all nodes share.

    value_type: what the expression evaluates to. depth: levels of its tree, 1 for a leaf; a chain
    of operators is one level, however long.
    """

    span: Span = field(compare=False, repr=False, default=Span(0, 0))
    value_type: ValueType = field(init=False, compare=False, repr=False)
    depth: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Type and depth follow from those of the children."""
        expr = cast("Expr", self)
        below = max((child.depth for child in children(expr)), default=0)
        if isinstance(expr, Binary) and isinstance(expr.lhs, Binary):  # a chain, `a + b + c`
            below = max(expr.lhs.depth - 1, expr.rhs.depth)
        object.__setattr__(self, "value_type", _type_of(expr))
        object.__setattr__(self, "depth", below + 1)


@dataclass(frozen=True, slots=True)
class NumberLiteral(Node):
    """`1.5`, `0x1f`, `Inf`, `5m` (300)."""

    value: float


@dataclass(frozen=True, slots=True)
class StringLiteral(Node):
    """`"text"`, unquoted."""

    value: str


@dataclass(frozen=True, slots=True)
class Paren(Node):
    """`(expr)`: kept, so that printing returns what was written."""

    expr: "Expr"


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`-expr` or `+expr`."""

    op: str
    expr: "Expr"


class Cardinality(StrEnum):
    """How many series of each side one match group may hold."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


@dataclass(frozen=True, slots=True)
class Matching:
    """Which labels decide that two series belong together, and what the result takes along.

    fill_left, fill_right: what stands in for a sample that the side does not have (experimental
    upstream); None leaves the result out.
    """

    cardinality: Cardinality = Cardinality.ONE_TO_ONE
    on: bool = False
    labels: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """`lhs op rhs`; `matching` is None when a side is a scalar."""

    op: str
    lhs: "Expr"
    rhs: "Expr"
    return_bool: bool = False
    matching: Matching | None = None


@dataclass(frozen=True, slots=True)
class Aggregate(Node):
    """`op by (grouping) (param, expr)`."""

    op: str
    expr: "Expr"
    param: "Expr | None" = None
    grouping: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`name(args…)`; the name is one of the function table."""

    name: str
    args: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class VectorSelector(Node):
    """`name{matchers} offset … @ …`; `matchers` holds the one for the name as well, last.

    edges: what `anchored` or `smoothed` says of samples beyond a window (experimental upstream).
    """

    name: str
    matchers: tuple[Matcher, ...]
    offset_ms: int = 0
    at: At = None
    edges: Edges = None


@dataclass(frozen=True, slots=True)
class MatrixSelector(Node):
    """`selector[range]`; offset and `@` are the selector's."""

    selector: VectorSelector
    range_ms: int


@dataclass(frozen=True, slots=True)
class Subquery(Node):
    """`expr[range:step]`; `step_ms` is None for the default step."""

    expr: "Expr"
    range_ms: int
    step_ms: int | None = None
    offset_ms: int = 0
    at: At = None


Expr = (
    NumberLiteral
    | StringLiteral
    | Paren
    | Unary
    | Binary
    | Aggregate
    | Call
    | VectorSelector
    | MatrixSelector
    | Subquery
)

COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
TRIMS = frozenset({"</", ">/"})  # a native histogram without what is above or below a bound
SET_OPERATORS = frozenset({"and", "or", "unless"})
PRECEDENCE = {
    "or": 1,
    "and": 2,
    "unless": 2,
    **dict.fromkeys(COMPARISONS | TRIMS, 3),
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
    "atan2": 5,
    "^": 6,
}
"""The binary operators; the larger number binds tighter."""

PARAMETRIC = frozenset({"bottomk", "count_values", "limitk", "limit_ratio", "quantile", "topk"})
AGGREGATORS = PARAMETRIC | {"avg", "count", "group", "max", "min", "stddev", "stdvar", "sum"}


def _type_of(expr: Expr) -> ValueType:  # noqa: PLR0911 - a case a node
    match expr:
        case NumberLiteral():
            return ValueType.SCALAR
        case StringLiteral():
            return ValueType.STRING
        case Paren() | Unary():
            return expr.expr.value_type
        case Binary():
            scalars = expr.lhs.value_type is expr.rhs.value_type is ValueType.SCALAR
            return ValueType.SCALAR if scalars else ValueType.VECTOR
        case Call():
            return FUNCTIONS[expr.name].returns
        case Aggregate() | VectorSelector():
            return ValueType.VECTOR
        case MatrixSelector() | Subquery():
            return ValueType.MATRIX


def info_selector(call: Call) -> VectorSelector:
    """The info series that `info()` asks: of the metrics that its second argument names, or of
    `target_info`.
    """
    written = call.args[1] if len(call.args) > 1 else None
    assert written is None or isinstance(written, VectorSelector)
    matchers = written.matchers if written else ()
    names = {matcher.op for matcher in matchers if matcher.name == METRIC_NAME}
    if names.isdisjoint({MatchOp.EQUAL, MatchOp.REGEX}):
        matchers += (Matcher(METRIC_NAME, MatchOp.EQUAL, "target_info"),)
    start = written.span.start if written else call.span.end - 1  # a place of no other selector
    return VectorSelector("", matchers, span=Span(start, call.span.end))


def chain(expr: Binary) -> list[Binary]:
    """The operators of `a + b + c`, in the order they are applied: each but the first has the one
    before it as its left side.
    """
    links = [expr]
    while isinstance(lhs := links[-1].lhs, Binary):
        links.append(lhs)
    return links[::-1]


def unwrap(expr: Expr) -> Expr:
    """The expression inside any number of parentheses."""
    while isinstance(expr, Paren):
        expr = expr.expr
    return expr


def children(expr: Expr) -> tuple[Expr, ...]:  # noqa: PLR0911 - a case a node
    """The expressions directly below, in the order of the text."""
    match expr:
        case Paren() | Unary() | Subquery():
            return (expr.expr,)
        case Binary():
            return (expr.lhs, expr.rhs)
        case Aggregate(param=None):
            return (expr.expr,)
        case Aggregate(param=param) if param is not None:
            return (param, expr.expr)
        case Call(name="info"):
            return (expr.args[0], info_selector(expr))
        case Call():
            return expr.args
        case MatrixSelector():
            return (expr.selector,)
        case _:
            return ()
