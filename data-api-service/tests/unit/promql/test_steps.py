"""A range query is its instant queries, and the spans asked for are enough."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from data_api import promql
from data_api.errors import QueryError
from data_api.model import InstantVector, RangeMatrix, SelectorSpan
from data_api.promqltest.memory_store import MemoryStore
from data_api.promqltest.script import STALE, Series

MINUTE = 60_000
QUERIES = (
    "x",
    "x offset 1m",
    "x offset -90s",
    "x @ 150",
    "-x + y",
    "x > y",
    "x >= bool on (a) group_left () y",
    "x / on (a) group_left () sum by (a) (x)",
    "x and y",
    "x or y",
    "x unless on (a) y",
    "x or on (b) y",
    "rate(x[3m])",
    "increase(x[2m] offset 1m)",
    "delta(x[90s])",
    "irate(x[5m])",
    "deriv(x[4m])",
    "predict_linear(x[4m], 60)",
    "predict_linear(x[4m] @ 240, 60)",
    "sum_over_time(x[2m])",
    "avg_over_time(x[3m])",
    "min_over_time(x[2m])",
    "stddev_over_time(x[4m])",
    "quantile_over_time(0.3, x[4m])",
    "changes(x[4m]) + resets(x[4m])",
    "last_over_time(x[2m])",
    "max_over_time(rate(x[2m])[4m:45s])",
    "sum_over_time((x + y)[3m:] @ 300)",
    "count_over_time(x[3m:1m] offset 30s)",
    "sum(x)",
    "avg by (a) (x)",
    "stdvar without (b) (x)",
    "count(x) by (b)",
    "topk by (a) (1, x)",
    "bottomk(2, x)",
    "quantile(0.5, x)",
    'count_values("v", x)',
    "scalar(x{a='0', b='0'}) + x",
    "clamp(x, scalar(y{a='0'}), 4)",
    "absent(x{a='0', b='0'})",
    "absent_over_time(x[1m])",
    "timestamp(x)",
    "timestamp(-x)",
    "vector(time()) + hour()",
    "label_replace(x, 'c', '$1', 'a', '(.*)')",
    "histogram_quantile(0.6, label_replace(x, 'le', '${1}', 'b', '(.*)'))",
    "round(x, 0.5)",
)

values = st.one_of(
    st.integers(-3, 9).map(float),
    st.sampled_from([None, None, math.nan, math.inf, STALE, 0.1, 1e300]),
)


@st.composite
def stores(draw) -> MemoryStore:
    """A few series of x (labels a, b) and y (label a), with gaps, NaN and stale markers."""
    store = MemoryStore()
    for a in "01":
        for b in ("0", "1", "+Inf"):
            samples = draw(st.lists(values, max_size=14))
            store.add(Series({"__name__": "x", "a": a, "b": b}, samples), 30_000)
        store.add(Series({"__name__": "y", "a": a}, draw(st.lists(values, max_size=8))), MINUTE)
    return store


def answer(store, query, start_ms, end_ms, *, instant, everything=False):
    """The answer as {labels: {time: value}}, or the error's text."""
    expr = promql.parse(query)
    spans = promql.needed(expr, start_ms, end_ms, 45_000)
    loaded = {
        span: store.load(SelectorSpan(span.matchers, -(10**9), 10**9) if everything else span)
        for span in spans
    }
    try:
        value = promql.evaluate(
            expr, loaded, start_ms, end_ms, 45_000, text=query, instant=instant
        ).value
    except QueryError as exc:
        return exc.describe()
    if isinstance(value, InstantVector):
        return {
            frozenset(labels.items()): {value.timestamp_ms: v}
            for labels, v in zip(value.labels, value.values.tolist(), strict=True)
        }
    assert isinstance(value, RangeMatrix)
    steps = value.steps_ms.tolist()
    return {
        frozenset(labels.items()): {
            step: v for step, v, given_ in zip(steps, row.tolist(), mask, strict=True) if given_
        }
        for labels, row, mask in zip(value.labels, value.values, value.present, strict=True)
    }


def same(a, b):
    """Equal, NaN being equal to itself."""
    return a == b or (math.isnan(a) and math.isnan(b))


@settings(max_examples=300, deadline=None)
@given(store=stores(), query=st.sampled_from(QUERIES), start=st.integers(0, 400))
def test_a_range_query_is_its_instant_queries(store, query, start):
    """Each step of a range query is what an instant query at that time answers."""
    start_ms, end_ms = start * 1000, start * 1000 + 4 * 45_000
    whole = answer(store, query, start_ms, end_ms, instant=False)
    singles = [
        answer(store, query, at, at, instant=True) for at in range(start_ms, end_ms + 1, 45_000)
    ]
    if isinstance(whole, str):
        assert whole in singles
        return
    merged: dict[frozenset[tuple[str, str]], dict[int, float]] = {}
    for single in singles:
        assert not isinstance(single, str), single
        for labels, points in single.items():
            merged.setdefault(labels, {}).update(points)
    assert merged.keys() == whole.keys()
    for labels, points in merged.items():
        assert points.keys() == whole[labels].keys()
        assert all(same(value, whole[labels][at]) for at, value in points.items())


@settings(max_examples=150, deadline=None)
@given(store=stores(), query=st.sampled_from(QUERIES), start=st.integers(0, 400))
def test_the_spans_asked_for_are_enough(store, query, start):
    """More samples than `needed` asked for change nothing."""
    start_ms, end_ms = start * 1000, start * 1000 + 4 * 45_000
    exact = answer(store, query, start_ms, end_ms, instant=False)
    ample = answer(store, query, start_ms, end_ms, instant=False, everything=True)
    if isinstance(exact, str):
        assert exact == ample
        return
    assert exact.keys() == ample.keys()
    for labels, points in exact.items():
        assert points.keys() == ample[labels].keys()
        assert all(same(value, ample[labels][at]) for at, value in points.items())
