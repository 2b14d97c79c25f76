"""What a query is, without its samples: Prometheus's tree as JSON, and its own form as text.

The JSON is written as text: a chain of operators may be thousands of levels deep, more than a
serializer takes. Source: Prometheus `web/api/v1/translate_ast.go`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends, Response

from data_api import promql
from data_api.api.deps import Ask, Asked, reader
from data_api.api.prometheus import query_text
from data_api.api.rendering import envelope
from data_api.api.routing import readable
from data_api.model import Matcher, QueryLimits
from data_api.promql.functions import FUNCTIONS, ValueType
from data_api.promql.nodes import (
    Aggregate,
    Binary,
    Call,
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
)
from data_api.promql.numerals import format_value
from data_api.questions import Text, parse

TYPES: Final = {
    ValueType.SCALAR: "scalar",
    ValueType.STRING: "string",
    ValueType.VECTOR: "vector",
    ValueType.MATRIX: "matrix",
}

routes = APIRouter(tags=["prometheus"], dependencies=[Depends(reader)])


@readable(routes, "/format_query", "query")
async def format_query(ask: Asked) -> Response:
    """The query in Prometheus's own form."""
    return _shown(ask, lambda expr: orjson.dumps(promql.to_text(expr)))


@readable(routes, "/parse_query", "query")
async def parse_query(ask: Asked) -> Response:
    """The query's tree, as Prometheus's page shows it."""
    return _shown(ask, lambda expr: tree(expr).encode())


def _shown(ask: Ask, show: Callable[[Expr], bytes]) -> Response:
    text = query_text(ask.params)
    shown = Text(len(text), lambda: show(parse(text)), (text,))

    async def work(limits: QueryLimits) -> list[bytes]:
        return [envelope(await shown.parsed(limits))]

    return ask.held(ask.engine.reading(*ask.who, work))


def tree(expr: Expr) -> str:  # noqa: C901, PLR0911 - a case a node
    """The JSON of a tree."""
    match expr:
        case NumberLiteral():
            return _node("numberLiteral", {"val": format_value(expr.value)})
        case StringLiteral():
            return _node("stringLiteral", {"val": expr.value})
        case Paren():
            return _node("parenExpr", {}, expr=expr.expr)
        case Unary():
            return _node("unaryExpr", {"op": expr.op}, expr=expr.expr)
        case Binary():
            links = chain(expr)
            heads = (f'{_binary(link)[:-1]},"lhs":' for link in reversed(links))
            tails = (f',"rhs":{tree(link.rhs)}}}' for link in links)
            return "".join((*heads, tree(links[0].lhs), *tails))
        case Aggregate():
            facts = {"op": expr.op, "grouping": expr.grouping, "without": expr.without}
            return _node("aggregation", facts, expr=expr.expr, param=expr.param)
        case Call():
            return _call(expr)
        case VectorSelector():
            return _node("vectorSelector", _selector(expr))
        case MatrixSelector():
            return _node("matrixSelector", {**_selector(expr.selector), "range": expr.range_ms})
        case Subquery():
            facts = {"range": expr.range_ms, "step": expr.step_ms or 0, **_times(expr)}
            return _node("subquery", facts, expr=expr.expr)


def _node(kind: str, facts: dict[str, Any], /, **below: Expr | None) -> str:
    text = orjson.dumps({"type": kind, **facts}).decode()
    under = (f',"{name}":{tree(one) if one else "null"}' for name, one in below.items())
    return "".join((text[:-1], *under, "}"))


def _call(expr: Call) -> str:
    function = FUNCTIONS[expr.name]
    facts = {
        "name": expr.name,
        "argTypes": [TYPES[kind] for kind in function.args],
        "variadic": function.variadic,
        "returnType": TYPES[function.returns],
    }
    args = ",".join(map(tree, expr.args))
    return f'{_node("call", {"func": facts})[:-1]},"args":[{args}]}}'


def _binary(expr: Binary) -> str:
    matching = None if expr.matching is None else _matching(expr.matching)
    return _node("binaryExpr", {"op": expr.op, "matching": matching, "bool": expr.return_bool})


def _matching(matching: Matching) -> dict[str, Any]:
    facts = {
        "card": matching.cardinality,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
    }
    fill = {"lhs": matching.fill_left, "rhs": matching.fill_right}
    return facts if fill == {"lhs": None, "rhs": None} else {**facts, "fillValues": fill}


def _selector(expr: VectorSelector) -> dict[str, Any]:
    edges: dict[str, Any] = {expr.edges: True} if expr.edges else {}
    return {"name": expr.name, "matchers": _matchers(expr.matchers), **_times(expr), **edges}


def _matchers(matchers: Sequence[Matcher]) -> list[dict[str, str]]:
    return [{"name": one.name, "value": one.value, "type": one.op} for one in matchers]


def _times(expr: VectorSelector | Subquery) -> dict[str, Any]:
    is_end = isinstance(expr.at, str)
    return {
        "offset": expr.offset_ms,
        "timestamp": None if is_end else expr.at,
        "startOrEnd": expr.at if is_end else None,
    }
