"""What evaluation promises besides its values."""

import math
import subprocess
import sys

import numpy as np
import pytest
from stored_values import STALE

from data_api import promql
from data_api.errors import InvalidParameter, TooManySamples
from data_api.model import STALE_BITS, Columns, InstantVector, QueryLimits, RangeMatrix
from data_api.promql.functions import FUNCTIONS, ValueType
from data_api.promql.numerals import format_short, format_value
from data_api.promqltest.check import run_query
from data_api.promqltest.memory_store import MemoryStore
from data_api.promqltest.script import Series, duration_ms, parse_values


def store_of(**series):
    store = MemoryStore()
    for name, values in series.items():
        store.add(Series({"__name__": name}, parse_values(values)), 60_000)
    return store


def test_every_function_of_the_table_is_computed_or_refused():
    """No function parses and then is unknown to the evaluator."""
    store = store_of(x="1+1x5")
    samples = {
        ValueType.SCALAR: "0.5",
        ValueType.STRING: '"a"',
        ValueType.VECTOR: "x",
        ValueType.MATRIX: "x[5m]",
    }
    for name, function in FUNCTIONS.items():
        args = [samples[kind] for kind in function.args]
        query = f"{name}({', '.join(args[: 1 if name == 'info' else None])})"
        if function.supported:
            run_query(store, query, 300_000, 300_000, 1, instant=True)
        else:
            with pytest.raises(promql.EvaluationError, match="not supported"):
                run_query(store, query, 300_000, 300_000, 1, instant=True)


def test_warnings_point_into_the_query():
    """A warning ends with the line and column of what it is about."""
    result = run_query(store_of(x="1x5"), "1 +\n  quantile(7, x)", 0, 0, 1, instant=True)
    assert result.warnings == (
        "PromQL warning: quantile value should be between 0 and 1, got 7 (2:12)",
    )


def test_samples_are_bounded():
    """A query that would load or hold more samples than allowed is refused with both numbers."""
    expr = promql.parse("x")
    span = promql.needed(expr, 0, 600_000, 60_000)[0]
    columns = store_of(x="1x10").load(span)
    limits = QueryLimits(samples_max=10)
    with pytest.raises(TooManySamples) as caught:
        promql.evaluate(expr, {span: columns}, 0, 600_000, 60_000, limits=limits)
    assert caught.value.facts == {"needed": 11, "limit": 10}


def test_a_checkpoint_ends_an_evaluation():
    """What the checkpoint raises, the caller gets."""

    def ended():
        raise TimeoutError

    expr = promql.parse("sum(x)")
    loaded = {span: Columns.empty() for span in promql.needed(expr, 0, 0, 1)}
    with pytest.raises(TimeoutError):
        promql.evaluate(expr, loaded, 0, 0, 1, limits=QueryLimits(checkpoint=ended))


@pytest.mark.parametrize(
    "query",
    [
        "sum_over_time(vector(1)[100y:1ms])",
        "sum_over_time(sum_over_time(x[1y:1s])[1y:1s])",
        "sum_over_time(vector(time())[1y:1ms])",
    ],
)
def test_no_query_holds_more_than_its_bound(query):
    """Subqueries, pairs and counts are refused before the memory for them is taken."""
    with pytest.raises(TooManySamples):
        run_query(store_of(x="1x5"), query, 0, 600_000, 60_000, instant=False)


def test_notes_are_cut_short():
    """An answer carries ten notes of a kind and says how many there are besides."""
    store = store_of(**{f"m{i:02}": "1x5" for i in range(14)})
    query = 'count(rate({__name__=~"m.+"}[5m])) or vector(1)'
    infos = run_query(store, query, 300_000, 300_000, 1, instant=True).infos
    assert len(infos) == 11
    assert infos[-1] == "4 more info annotations omitted"


@pytest.mark.parametrize("query", ['"text"', "x[5m]"])
def test_a_range_query_wants_values(query):
    """Strings and range vectors have no place in a range query."""
    with pytest.raises(InvalidParameter, match="for range query, must be Scalar or instant Vector"):
        run_query(store_of(x="1x5"), query, 0, 60_000, 60_000, instant=False)


def test_nan_is_a_value_and_absence_is_none():
    """A NaN sample is present; a gap and a stale marker are not."""
    store = store_of(x="NaN _x6 1 stale")
    value = run_query(store, "x", 0, 480_000, 60_000, instant=False).value
    assert isinstance(value, RangeMatrix)
    assert value.present[0].tolist() == [True] * 5 + [False, False, True, False]
    assert math.isnan(value.values[0, 0])


def test_a_range_vector_shows_its_samples():
    """An instant query of `x[2m]` gives the samples of the window themselves."""
    value = run_query(store_of(x="1 2 stale 4 5"), "x[3m]", 240_000, 240_000, 1, instant=True).value
    assert isinstance(value, Columns)
    assert value.timestamps_ms.tolist() == [180_000, 240_000]
    assert value.values.tolist() == [4, 5]


def test_rows_of_a_range_query_are_ordered_by_labels():
    """The order of series does not depend on the store's."""
    store = MemoryStore()
    for name in ("c", "a", "b"):
        store.add(Series({"__name__": "x", "l": name}, [1.0]), 1)
    value = run_query(store, "x", 0, 0, 1, instant=False).value
    assert [labels["l"] for labels in value.labels] == ["a", "b", "c"]


def test_stale_markers_are_told_by_bits_not_by_nan():
    """A NaN with other bits is a value; only the marker's bits end a series."""
    expr = promql.parse("x")
    span = promql.needed(expr, 0, 0, 1)[0]
    for bits, rows in ((STALE_BITS, 0), (STALE_BITS + 1, 1), (0x7FF8000000000001, 1)):
        values = np.array([bits], np.int64).view(np.float64)
        columns = Columns([{"__name__": "x"}], np.array([0, 1]), np.array([0]), values)
        value = promql.evaluate(expr, {span: columns}, 0, 0, 1, instant=True).value
        assert isinstance(value, InstantVector)
        assert len(value.labels) == rows


def test_times_of_any_size():
    """Times far outside any calendar are times like others."""
    far_ms = duration_ms("1e11")
    result = run_query(store_of(x="1"), "x or vector(time())", far_ms, far_ms, 1, instant=True)
    assert result.value.values.tolist() == [1e11]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "-0"),
        (0.1, "0.1"),
        (1e21, "1" + "0" * 21),
        (1.5e-7, "0.00000015"),
        (-2.5e22, "-25" + "0" * 21),
        (123456789.125, "123456789.125"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_values_are_written_without_exponent(value, text):
    """A sample is written with the fewest digits that read back, and no exponent."""
    assert format_value(value) == text


def test_importing_the_package_does_not_import_numba():
    """An idle service does not pay for kernels it has not needed yet."""
    code = "import sys; import data_api.promql; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_labels_of_any_number_of_digits_are_sorted():
    """Digits count as a number however many there are, and zeros before them do not."""
    store = MemoryStore()
    digits = ["1" * 5001, "9" * 5000, "010", "9"]
    for text in digits:
        store.add(Series({"__name__": "x", "a": text}, [1.0]), 1000)
    result = run_query(store, 'sort_by_label(x, "a")', 0, 0, 1, instant=True)
    assert [labels["a"] for labels in result.value.labels] == digits[::-1]


def test_info_gives_each_step_the_labels_shown_there():
    """Whichever of many info metrics are there at a step, a series has the labels of just these."""
    random = np.random.default_rng(3)
    shown = random.random((20, 30)) < 0.5
    store = MemoryStore()
    target = {"instance": "a", "job": "x"}
    store.add(Series({"__name__": "x", **target}, [1.0] * 30), 1)
    for n, there in enumerate(shown):
        values = [1.0 if one else STALE for one in there.tolist()]
        store.add(Series({"__name__": f"i{n}_info", f"l{n}": "v", **target}, values), 1)
    answer = run_query(store, 'info(x, {__name__=~".+_info"})', 0, 29, 1, instant=False).value
    for step in range(30):
        (row,) = np.flatnonzero(answer.present[:, step])
        labels = {name for name in answer.labels[row] if name.startswith("l")}
        assert labels == {f"l{n}" for n in np.flatnonzero(shown[:, step])}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(999999.5, "999999.5"), (1e6, "1e+06"), (-1.5e23, "-1.5e+23"), (1e-5, "1e-05")],
)  # fmt: skip
def test_numbers_in_messages_are_written_as_go_writes_them(value, wanted):
    """With an exponent from a million on, and below a ten-thousandth."""
    assert format_short(value) == wanted
