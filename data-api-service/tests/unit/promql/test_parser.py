"""Text and tree: what parses, what is refused and how it is said."""

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_api import promql
from data_api.model import METRIC_NAME, Matcher, MatchOp
from data_api.promql.cursor import DEPTH_MAX, NESTING_MAX
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
)

REFUSED = {
    "": "1:1: parse error: no expression found in input",
    "1 +": "1:4: parse error: unexpected end of input",
    "sum(": "1:5: parse error: unexpected end of input",
    "rate(x[5m]": "1:11: parse error: unclosed left parenthesis",
    "1)": '1:2: parse error: unexpected right parenthesis ")"',
    "x{a=}": '1:5: parse error: unexpected "}" in label matching, expected string',
    'x{a="b" c="d"}': '1:9: parse error: unexpected identifier "c" in label matching, '
    'expected "," or "}"',
    'x{a="b" or c="d"}': "1:9: parse error: unexpected <op:or> in label matching, "
    'expected "," or "}"',
    'x{a=~"("}': "1:6: parse error: error parsing regexp: missing ): (",
    '{a=""}': "1:1: parse error: vector selector must contain at least one non-empty matcher",
    'x{__name__="y"}': '1:1: parse error: metric name must not be set twice: "x" or "y"',
    "rate(x)": '1:6: parse error: expected type range vector in call to function "rate", '
    "got instant vector",
    "nope(x)": '1:1: parse error: unknown function with name "nope"',
    "clamp(x, 1)": '1:1: parse error: expected 3 argument(s) in call to "clamp", got 2',
    "x[5m] + 1": "1:1: parse error: binary expression must contain only scalar and instant "
    "vector types",
    "-x[5m]": "1:1: parse error: unary expression only allowed on expressions of type scalar or "
    'instant vector, got "range vector"',
    "1 > 2": "1:3: parse error: comparisons between scalars must use BOOL modifier",
    "x + bool y": "1:5: parse error: bool modifier can only be used on comparison operators",
    "x and 1": '1:3: parse error: set operator "and" not allowed in binary scalar expression',
    "x and on (a) group_left () y": '1:3: parse error: no grouping allowed for "and" operation',
    "x + on (a) group_left (a) y": '1:12: parse error: label "a" must not occur in ON and GROUP '
    "clause at once",
    "x offset 5m offset 5m": "1:1: parse error: offset may not be set multiple times",
    "(x) offset 5m": "1:5: parse error: offset modifier must be preceded by an instant vector "
    "selector or range vector selector or a subquery, but follows a parenthesized expression "
    "instead",
    "x @ 1 @ 2": "1:1: parse error: @ <timestamp> may not be set multiple times",
    "x @ 1e30": "1:5: parse error: timestamp out of bounds for @ modifier: 1e+30",
    "x[0s]": "1:3: parse error: duration must be greater than 0",
    "x offset 5m[5m]": "1:1: parse error: no offset modifiers allowed before range",
    "sum(x)[5m]": "1:1: parse error: ranges only allowed for vector selectors",
    "x[5m][5m:]": "1:1: parse error: subquery is only allowed on instant vector, got range vector "
    "instead",
    "x[1m / 0]": "1:6: parse error: division by zero",
    "x[1m - 60s]": "1:3: parse error: duration must be greater than 0",
    "x + fill(y) y": "1:10: parse error: fill value must be a number",
    "x and fill(1) y": '1:7: parse error: filling in missing series not allowed for "and"',
    "5x": '1:1: parse error: bad number or duration syntax: "5x"',
    '"abc': "1:1: parse error: unterminated quoted string",
    '"\\q"': "1:2: parse error: unknown escape sequence U+0071 'q'",
    "x!y": "1:2: parse error: unexpected character after '!': 'y'",
    "a\n  + $": "2:5: parse error: unexpected character: '$'",
    "topk(x)": "1:1: parse error: wrong number of arguments for aggregate expression provided, "
    "expected 2, got 1",
    "sum(1)": "1:5: parse error: expected type instant vector in aggregation expression, "
    "got scalar",
}


@pytest.mark.parametrize("query", REFUSED, ids=lambda query: query or "empty")
def test_refusals_say_where_and_what(query):
    """A query that does not parse is refused with line, column and Prometheus's words."""
    with pytest.raises(promql.ParseError) as caught:
        promql.parse(query)
    assert caught.value.text == REFUSED[query]
    assert caught.value.describe() == f'invalid parameter "query": {REFUSED[query]}'


@pytest.mark.parametrize(
    "query",
    [
        "(" * 5000 + "1" + ")" * 5000,
        "abs(" * 3000 + "x" + ")" * 3000,
        "1" + "+1" * 4500,
        "1" + "^1" * 4500,
        "-" * 9000 + "1",
        "x" + "[1m:]" * 3000,
        "a" * 20_000,
        "x{" + 'a="b",' * 2600 + "}",
        "sum by (" + "a," * 5000 + ") (x)",
    ],
    ids=lambda query: query[:6],
)
def test_no_text_exhausts_the_parser(query):
    """However deep, flat or long: an answer or a refusal, quickly, never a crash."""
    with contextlib.suppress(promql.ParseError):
        promql.parse(query)


def test_the_deepest_and_the_longest_can_be_walked():
    """What the parser lets through, printing and evaluating can walk; a sum of any number of terms
    is not deep.
    """
    flat = "vector(1)" + " + 1" * 4000
    nested = "(" * (NESTING_MAX - 1) + "1" + ")" * (NESTING_MAX - 1)
    powers = "1" + " ^ 1" * (NESTING_MAX - 2)
    for query in (flat, nested, powers):
        expr = promql.parse(query)
        assert expr.depth <= DEPTH_MAX
        assert promql.to_text(expr) == query
        promql.evaluate(expr, {}, 0, 0, 1, instant=True)


TIMES = promql.QueryTimes(step_ms=30_000, range_ms=600_000)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("x[step() + 1m]", "x[90s]"),
        ("x[Range()]", "x[10m]"),
        ("x[max_of(step(), 1m):min_of(step(), 5s)]", "x[1m:5s]"),
        ("x offset -step()", "x offset -30s"),
        ("x offset -5m ^ 2", "(x offset -5m) ^ 2"),
        ("x offset step() * 2", "(x offset 30s) * 2"),
        ("x offset (-2 ^ 2)", "x offset -4s"),
    ],
)
def test_durations_of_the_query(written, meant):
    """`step()` and `range()` are the query's; an offset is one term, or what stands in brackets."""
    wanted = promql.to_text(promql.parse(meant)).replace("(", "").replace(")", "")
    got = promql.to_text(promql.parse(written, TIMES))
    assert got.replace("(", "").replace(")", "") == wanted


def test_a_duration_of_no_query_says_so():
    """A text that is only formatted has no step."""
    with pytest.raises(promql.ParseError, match=r"step\(\) in a duration is known only to"):
        promql.parse("x[step()]")


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("0x1f", 31),
        ("1e3", 1000),
        (".5", 0.5),
        ("5.", 5),
        ("010", 8),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("Inf", math.inf),
        ("-inf", -math.inf),
    ],
)
def test_numerals(query, value):
    """Numbers may be decimal, hexadecimal, octal, infinite, or a duration in seconds."""
    assert promql.parse(query) == NumberLiteral(value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("x[29s + 1s]", "x[30s]"),
        ("x[2m * (10 + 5)]", "x[30m]"),
        ("x[1h30m % 1h]", "x[30m]"),
        ("x[2 ^ 3 ^ 1]", "x[8s]"),
        ("x[-5m + 35m]", "x[30m]"),
        ("x offset (2 + 100)", "x offset 102"),
        ("x offset -2 * 2", "(x offset -2s) * 2"),
        ("last_over_time(x[1m:20 * 500ms])", "last_over_time(x[1m:10s])"),
    ],
)
def test_durations_may_be_computed(written, meant):
    """Arithmetic of constants in a duration is done once, while parsing."""
    assert promql.to_text(promql.parse(written)).replace("(x offset -2s)", "x offset -2s") == (
        promql.to_text(promql.parse(meant)).replace("(x offset -2s)", "x offset -2s")
    )


def test_precedence():
    """`^` binds tightest and to the right, unary minus as `*`, comparison before sets."""
    assert isinstance(promql.parse("-a ^ 2"), Unary)
    tree = promql.parse("a or b and c > d + e * f")
    ops = []
    while isinstance(tree, Binary):
        ops.append(tree.op)
        tree = tree.rhs
    assert ops == ["or", "and", ">", "+", "*"]


def test_keywords_may_be_names():
    """Most words of the language are names where a name stands; all are names of labels."""
    for name in ("sum", "by", "start", "offset", "fill", "rate"):
        assert promql.parse(f"{name} + 1") == promql.parse(f"{name}{{}} + 1"), name
    assert promql.parse("sum by (by, on, bool) (rate)").value_type is promql.ValueType.VECTOR


def test_positions():
    """Every node knows its characters."""
    expr = promql.parse("sum(rate(x[5m])) / 2")
    assert isinstance(expr, Binary)
    assert expr.span == (0, 20)
    assert expr.lhs.span == (0, 16)
    assert isinstance(expr.lhs, Aggregate)
    assert expr.lhs.expr.span == (4, 15)


# --- printing and parsing are inverse

labels = st.sampled_from(["job", "le", "by", "host.name", "a b"])
texts = st.text(max_size=6).filter(lambda text: "\x00" not in text and _encodes(text))
durations = st.integers(1, 10**10)
ats = st.one_of(st.none(), st.sampled_from(["start", "end"]), st.integers(-(10**12), 10**12))


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@st.composite
def vector_selectors(draw) -> VectorSelector:
    name = draw(st.sampled_from(["up", "http:rate5m", "sum", "x1"]))
    plain = st.builds(Matcher, labels, st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL]), texts)
    regex = st.builds(
        Matcher, labels, st.just(MatchOp.REGEX), st.sampled_from(["a.*", "a|b", "\\d+\n"])
    )
    matchers = draw(st.lists(st.one_of(plain, regex), max_size=3))
    named = Matcher(METRIC_NAME, MatchOp.EQUAL, name)
    offset = draw(st.integers(-(10**9), 10**9))
    return VectorSelector(name, (*matchers, named), offset, draw(ats))


def unsigned_numbers() -> st.SearchStrategy[NumberLiteral]:
    return st.builds(NumberLiteral, st.floats(0, 1e300))


@st.composite
def _binaries(draw, inner) -> Binary:
    op = draw(st.sampled_from(["+", "^", "atan2", "==", ">", "and", "unless", "or"]))
    lhs, rhs = Paren(draw(inner)), Paren(draw(inner))
    names = tuple(draw(st.lists(labels, max_size=2, unique=True)))
    on = draw(st.booleans())
    if op in {"and", "unless", "or"}:
        return Binary(op, lhs, rhs, matching=Matching(Cardinality.MANY_TO_MANY, on, names))
    return_bool = op in {"==", ">"} and draw(st.booleans())
    cardinality = draw(
        st.sampled_from([Cardinality.ONE_TO_ONE, Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY])
    )
    include = () if cardinality is Cardinality.ONE_TO_ONE else ("extra",)
    fill = draw(st.sampled_from([(None, None), (0.0, None), (-1.5, math.inf)]))
    matching = Matching(cardinality, on, names, include, *fill)
    return Binary(op, lhs, rhs, return_bool, matching)


def _extend(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    matrices = st.builds(MatrixSelector, vector_selectors(), durations) | st.builds(
        Subquery, inner.map(Paren), durations, st.none() | durations, st.integers(0, 10**6), ats
    )
    groupings = st.lists(labels, max_size=2, unique=True).map(tuple)
    return st.one_of(
        inner.map(Paren),
        st.builds(Unary, st.just("-"), inner.map(Paren)),
        _binaries(inner),
        st.builds(Aggregate, st.just("sum"), inner, st.none(), groupings, st.booleans()),
        st.builds(Aggregate, st.just("topk"), inner, unsigned_numbers(), groupings, st.booleans()),
        st.builds(lambda arg: Call("rate", (arg,)), matrices),
        st.builds(
            lambda arg, text: Call("label_join", (arg, StringLiteral(text), StringLiteral(""))),
            inner,
            texts,
        ),
    )


@settings(max_examples=300, deadline=None)
@given(expr=st.recursive(vector_selectors(), _extend, max_leaves=6))
def test_printed_query_parses_to_the_same_tree(expr):
    """Whatever tree there is, its text parses to it."""
    text = promql.to_text(expr)
    assert promql.parse(text) == expr, text


TOKENS = (
    *[
        "sum",
        "rate",
        "x",
        '{a="b"}',
        "[5m]",
        "[5m:]",
        "(",
        ")",
        ",",
        "+",
        "-",
        "^",
        "==",
        "bool",
        "on",
        "(a)",
        "by",
        "offset",
        "5m",
        "@",
        "1",
        "start()",
        "2",
    ],
    *[
        '"s"',
        "{",
        "}",
        "[",
        "]",
        "=",
        "=~",
        "!",
        ":",
        ".",
        "1h",
        "`r`",
        "#",
        "and",
        "or",
        "group_left",
        "\\",
        "é",
    ],
    "'q'",
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=12))
def test_any_tokens_parse_or_are_refused(parts):
    """Any sequence of tokens gives a tree that prints, or a parse error, and nothing else."""
    for text in (" ".join(parts), "".join(parts)):
        with contextlib.suppress(promql.ParseError):
            expr = promql.parse(text)
            assert promql.parse(promql.to_text(expr)) == expr


@pytest.mark.parametrize(
    "written",
    ["9" * 5000, "0" * 5000 + "1", "0x" + "f" * 5000, "0" + "7" * 5000, "1e" + "9" * 5000]
    + [
        prefix + digits + unit
        for unit in ("y", "ms")
        for prefix, digits in (("", "9" * 5000), ("", "0" * 5000 + "5"), ("x[", "9" * 5000))
    ],
)
def test_any_number_of_digits_is_a_number_or_refused(written):
    """However long a numeral is, it has a value or is a parse error that says where."""
    text = written + "]" if "[" in written else written
    value: object = None
    reason = ""
    try:
        value = promql.parse(text)
    except promql.ParseError as error:
        reason = str(error)
    assert isinstance(value, NumberLiteral) or "out of range" in reason
