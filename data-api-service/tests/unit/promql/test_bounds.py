"""What one query may make and hold, however it is written: each case once took what it asked."""

import re

import numpy as np
import pytest

from data_api import promql
from data_api.errors import TooManySamples
from data_api.model import Columns, QueryLimits
from data_api.native_histogram import KEY_OF_BUCKET_0, Histogram, Layout
from data_api.promql import context, range_functions
from data_api.promql.cursor import GROUPING_MAX
from data_api.promql.errors import REASON_CHARS_MAX, EvaluationError
from data_api.promql.nodes import Span
from data_api.promql.values import ordered
from data_api.promqltest.check import run_query
from data_api.promqltest.literals import Literal
from data_api.promqltest.memory_store import MemoryStore
from data_api.promqltest.script import Series

KEYS = np.arange(3) + KEY_OF_BUCKET_0
LONG = "v" * context.LABEL_VALUE_BYTES_MAX


@pytest.fixture(scope="module")
def store():
    """A series with a label as long as one may be, and 300 with short ones."""
    found = MemoryStore()
    found.add(Series({"__name__": "x", "l": LONG, "s": "abcdefgh"}, [1.0]), 60_000)
    for n in range(300):
        found.add(Series({"__name__": "many", "n": str(n), "l": LONG}, [float(n)]), 60_000)
    return found


def ask(store, query):
    return run_query(store, query, 0, 0, 1, instant=True).value


def nested(query, function, levels):
    for level in range(levels):
        query = function(query, level)
    return query


SEPARATED = f'label_join(x, "d", "{"s" * 1000}"' + ", 'none'" * 2000 + ")"
GROWING = nested("x", lambda q, _: f'label_replace({q}, "s", "{"$1" * 8}", "s", "(.*)")', 8)


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        (GROWING, "label_value_length_limit exceeded (metric: x, label name: s, value: "),
        (f'label_replace(x, "d", "{"$1" * 100_000}", "l", "(.*)")', "label_value_length_limit"),
        ('label_replace(x, "__name__", "$1$1", "l", "(.*)")', "label_value_length_limit"),
        ('label_join(x, "d", ",", "l", "l")', "length: 16385, limit: 8192)"),
        (SEPARATED, "label_value_length_limit exceeded (metric: x, label name: d"),
        (f'label_join(x, "{"n" * 1025}", ",", "s")', "label_name_length_limit exceeded"),
        (f'count_values("{"n" * 1025}", x)', "label_name_length_limit exceeded"),
        (f'absent(nothing{{l="{LONG}v"}})', "label_value_length_limit exceeded"),
        (nested("x", lambda q, n: f'label_join({q}, "l{n}", "", "s")', 99), None),
        (
            nested("many", lambda q, n: f'label_join({q}, "l{n}", "", "l")', 40),
            "too many bytes of label values in query execution",
        ),
    ],
    ids=[
        "label_replace that multiplies", "long replacement", "long metric name", "label_join",
        "long separator", "long name", "name of count_values", "absent", "a hundred labels pass",
        "values of all series together",
    ],
)  # fmt: skip
def test_labels_that_a_query_makes_are_bounded(store, query, limit):
    """As data-ingest-service bounds those it takes; in Prometheus's words, with limit and value."""
    if limit is None:
        ask(store, query)
        return
    with pytest.raises(EvaluationError, match=re.escape(limit)) as caught:
        ask(store, query)
    assert len(caught.value.describe()) < 500


def test_a_series_has_so_many_labels():
    """One label more than a series may have is refused, with both numbers."""
    store = MemoryStore()
    labels = {f"l{n}": "v" for n in range(context.LABELS_MAX - 1)}
    store.add(Series({"__name__": "x", **labels}, [1.0]), 60_000)
    assert ask(store, 'label_replace(x, "l0", "new", "", "")').labels[0]["l0"] == "new"
    with pytest.raises(EvaluationError, match="number of labels: 129, limit: 128"):
        ask(store, 'label_replace(x, "new", "v", "", "")')


def test_a_value_as_long_as_it_may_be_passes(store):
    """The limit itself is allowed, in bytes: one letter more, of two bytes or one, is refused."""
    at_most = "ä" * (context.LABEL_VALUE_BYTES_MAX // 2)
    made = ask(store, f'label_replace(x, "d", "{at_most}", "", "")')
    assert made.labels[0]["d"] == at_most
    with pytest.raises(EvaluationError, match="length: 8193, limit: 8192"):
        ask(store, f'label_replace(x, "d", "{at_most}a", "", "")')


def test_grouping_names_are_bounded_and_what_no_series_has_costs_nothing(store):
    """A grouping has at most 256 names; names without a series change no answer."""
    names = ["n", *(f"none{i}" for i in range(GROUPING_MAX - 1))]
    assert len(ask(store, f"sum by ({','.join(names)}) (many)").labels) == 300
    with pytest.raises(promql.ParseError, match="more than 256 labels in grouping opts"):
        promql.parse(f"sum by ({','.join([*names, 'more'])}) (many)")


def test_a_query_of_every_value_of_a_variable_is_an_ordinary_one(store):
    """600 pod names in one regex, 17 kB: bounds follow what a query means, not its length."""
    names = "|".join(f"shop-frontend-7c9d8b6f5-{i:05d}" for i in range(600))
    query = f'sum by (pod) (rate(container_cpu_usage_seconds_total{{pod=~"{names}"}}[5m]))'
    assert len(query) > 16 * 1024
    assert ask(store, query).labels == []
    numbers = "|".join(map(str, range(100_000)))
    assert len(ask(store, f'many{{n=~"{numbers}"}}').labels) == 300


def test_an_error_quotes_no_more_than_anybody_reads(store):
    """However long the text at fault is."""
    long = "a" * 500_000
    for query in (
        f'label_replace(x, "d", "", "l", "({long}")',
        f'x{{l=~"({long}"}}',
        f'1 "{long}"',
    ):
        with pytest.raises((EvaluationError, promql.ParseError)) as caught:
            ask(store, query)
        assert len(caught.value.describe()) < REASON_CHARS_MAX + 200


def test_what_the_left_side_holds_counts_while_the_right_is_computed():
    """Samples held at once are bounded, wherever in the tree they are held."""
    store = MemoryStore()
    store.add(Series({"__name__": "x"}, [1.0] * 11), 1)
    expr = promql.parse("x + (x + (x + x))")
    loaded = {span: store.load(span) for span in promql.needed(expr, 0, 10, 1)}
    held = sum(columns.samples for columns in loaded.values()) + 3 * 11
    promql.evaluate(expr, loaded, 0, 10, 1, limits=QueryLimits(samples_max=held + 11))
    with pytest.raises(TooManySamples):
        promql.evaluate(expr, loaded, 0, 10, 1, limits=QueryLimits(samples_max=held - 1))


def test_what_a_query_holds_is_told_to_the_process(store):
    """Samples and the label sets it makes: `reserve` hears of both, so that no sum of queries takes
    more than the process has.
    """
    heard = []
    limits = QueryLimits(reserve=heard.append)
    expr = promql.parse('label_join(many, "d", "", "l")')
    spans = promql.needed(expr, 0, 0, 1)
    promql.evaluate(expr, {s: store.load(s) for s in spans}, 0, 0, 1, limits=limits, instant=True)
    assert max(heard) >= 256 * context.LABEL_VALUE_BYTES_MAX // 16


@pytest.mark.parametrize(
    "query",
    [
        "quantile_over_time(0.5, x[1d])", "deriv(x[1d])", "predict_linear(x[1d], 60)",
        "double_exponential_smoothing(x[1d], 0.5, 0.5)", "rate(x[1d])", "max_over_time(x[1d])",
        "topk(2, x)", "quantile(0.5, x)", "x smoothed",
    ],
)  # fmt: skip
def test_work_in_parts_is_the_same_work(monkeypatch, query):
    """Long work is cut between series and steps, where it can stop; its result does not change."""
    store = MemoryStore()
    random = np.random.default_rng(1)
    for n in range(8):
        values = random.integers(0, 50, 30 if n else 120).astype(float).tolist()
        store.add(Series({"__name__": "x", "n": str(n)}, values), 60_000)
    expr = promql.parse(query)
    loaded = {s: store.load(s) for s in promql.needed(expr, 0, 7_200_000, 60_000)}

    def evaluated(work_max):
        monkeypatch.setattr(range_functions, "WORK_MAX", work_max)
        monkeypatch.setattr("data_api.promql.aggregations.WORK_MAX", work_max)
        monkeypatch.setattr("data_api.promql.tree_evaluator.SMOOTHED_AT_ONCE", work_max)
        stops = []
        limits = QueryLimits(checkpoint=lambda: stops.append(1))
        answer = promql.evaluate(expr, loaded, 0, 7_200_000, 60_000, limits=limits).value
        return answer, len(stops)

    (whole, few), (parts, many) = evaluated(10**9), evaluated(40)
    assert many > few + 5
    assert whole.labels == parts.labels
    np.testing.assert_array_equal(whole.present, parts.present)
    np.testing.assert_array_equal(whole.values[whole.present], parts.values[whole.present])


def test_many_rows_are_ordered_as_few_are(monkeypatch):
    """Sorted in runs that are merged: the same order, stable, either way round."""
    random = np.random.default_rng(2)
    keys = random.integers(0, 20, 200).tolist()
    monkeypatch.setattr("data_api.promql.values.SORTED_AT_ONCE", 16)
    for descending in (False, True):
        found = ordered(keys, lambda: None, descending=descending).tolist()
        assert found == sorted(range(200), key=keys.__getitem__, reverse=descending)
    assert ordered([], lambda: None, descending=False).tolist() == []


def test_notes_of_many_series_count_lines_once(store):
    """The place of a note is found once, not for each series: the text may be long."""
    notes = context.Annotations("\n" * 1000 + "x")
    for n in range(20_000):
        notes.add("info", f"metric {n}", Span(1000, 1001))
    assert len(notes.places) == 1
    assert notes.shown("info")[0].endswith("(1001:1)")


def test_columns_of_nothing_are_answered():
    """No series at all is an answer, whatever is bounded."""
    expr = promql.parse('label_replace(sum by (a) (x), "b", "$1", "a", "(.*)")')
    loaded = dict.fromkeys(promql.needed(expr, 0, 0, 1), Columns.empty())
    assert promql.evaluate(expr, loaded, 0, 0, 1, instant=True).value.labels == []


def test_a_native_histogram_costs_as_many_samples_as_its_size():
    """Selectors together hold what their histograms take, not one sample for each."""
    store = MemoryStore()
    for name in ("x", "y"):
        histogram = Histogram(Layout(0), np.arange(1000) + KEY_OF_BUCKET_0, np.ones(1002))
        store.add(Series({"__name__": name}, [Literal(histogram, says_hint=True)] * 5), 1)
    expr = promql.parse("count_over_time(x[1s]) + count_over_time(y[1s])")
    loaded = {span: store.load(span) for span in promql.needed(expr, 10, 10, 1)}
    cost = sum(columns.cost for columns in loaded.values())
    assert cost > 10 * 1000
    promql.evaluate(expr, loaded, 10, 10, 1, limits=QueryLimits(samples_max=cost + 100))
    with pytest.raises(TooManySamples):
        promql.evaluate(expr, loaded, 10, 10, 1, limits=QueryLimits(samples_max=cost - 100))


def test_values_that_cannot_all_be_labels_are_not_written(monkeypatch):
    """count_values of more values than the budget has room for ends before it makes their texts."""
    store = MemoryStore()
    for n in range(30):
        values = [float(100 * n + at) for at in range(10)]
        store.add(Series({"__name__": "x", "n": str(n)}, values), 1)
    expr = promql.parse('count_values("v", x)')
    loaded = {span: store.load(span) for span in promql.needed(expr, 0, 9, 1)}
    assert len(promql.evaluate(expr, loaded, 0, 9, 1).value.labels) == 300
    monkeypatch.setattr("data_api.promql.aggregations.format_value", None)
    with pytest.raises(TooManySamples):
        promql.evaluate(expr, loaded, 0, 9, 1, limits=QueryLimits(samples_max=3000))


@pytest.mark.parametrize("function", ["sum_over_time", "increase", "delta"])
def test_histograms_of_other_buckets_are_brought_together_one_at_a_time(function):
    """A single long window of mixed layouts can stop at each of its histograms."""
    store = MemoryStore()
    histograms = [Histogram(Layout(n % 2), KEYS, np.arange(5.0) + n) for n in range(200)]
    literals = [Literal(histogram, says_hint=True) for histogram in histograms]
    store.add(Series({"__name__": "x"}, literals), 1)
    expr = promql.parse(f"{function}(x[1s])")
    loaded = {span: store.load(span) for span in promql.needed(expr, 199, 199, 1)}
    stops = []
    limits = QueryLimits(checkpoint=lambda: stops.append(1))
    promql.evaluate(expr, loaded, 199, 199, 1, limits=limits)
    assert len(stops) > (10 if function == "delta" else 200)
