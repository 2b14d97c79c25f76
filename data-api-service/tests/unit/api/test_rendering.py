import json
import math

import numpy as np
import pytest
from histograms import Written
from hypothesis import given
from hypothesis import strategies as st
from strategies import BITS, VALUES

from data_api.api import export, rendering
from data_api.errors import AnswerTooLarge
from data_api.histogram_codec import decode
from data_api.model import (
    HISTOGRAM_BITS,
    Columns,
    InstantVector,
    QueryLimits,
    RangeMatrix,
    Result,
    Scalar,
    String,
)

LABEL_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(st.lists(VALUES | BITS, max_size=20))
def test_values_read_back_bit_for_bit_and_are_written_as_upstream(values):
    """Every finite token parses to the same float, with an exponent where Prometheus has one; the
    rest have names.
    """
    tokens = rendering.value_tokens(np.array(values, np.float64))
    assert len(tokens) == len(values)
    for value, token in zip(values, tokens, strict=True):
        text = token.decode()
        if math.isnan(value):
            assert text == "NaN"
        elif math.isinf(value):
            assert text == ("+Inf" if value > 0 else "-Inf")
        else:
            assert float(text) == value
            assert math.copysign(1, float(text)) == math.copysign(1, value)
            has_exponent = value != 0 and not 1e-6 <= abs(value) < 1e21
            assert ("e" in text) is has_exponent
            assert not text.endswith(".0")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, b"0"), (-0.0, b"-0"), (100.0, b"100"), (1e15, b"1000000000000000"),
        (1e16, b"10000000000000000"), (1e-5, b"0.00001"), (1e-6, b"0.000001"), (123.25, b"123.25"),
    ],
)  # fmt: skip
def test_values_as_go_writes_them(value, text):
    """strconv.FormatFloat(v, 'f', -1, 64)."""
    assert rendering.value_tokens(np.array([value])) == [text]


@pytest.mark.parametrize(
    ("timestamp_ms", "text"),
    [
        (0, b"0"),
        (1, b"0.001"),
        (1500, b"1.500"),
        (-1, b"-0.001"),
        (-2500, b"-2.500"),
        (60_000, b"60"),
    ],
)
def test_times_are_seconds(timestamp_ms, text):
    """Whole seconds have no decimals, others three; before the epoch too."""
    assert rendering.time_token(timestamp_ms) == text
    assert rendering.time_tokens(np.array([timestamp_ms, 500]))[0] == text


@given(
    st.lists(st.dictionaries(LABEL_TEXT, LABEL_TEXT, max_size=3), min_size=1, max_size=4),
    st.data(),
)
def test_a_matrix_holds_just_what_is_present(labels, data):
    """Absent steps are left out, NaN that is present is shown; any label text survives JSON."""
    steps = np.arange(5, dtype=np.int64) * 15_000 + 500
    present = np.array(
        [data.draw(st.lists(st.booleans(), min_size=5, max_size=5)) for _ in labels], bool
    )
    values = np.arange(len(labels) * 5, dtype=np.float64).reshape(-1, 5)
    values[0, 0] = np.nan
    result = Result(RangeMatrix(labels, steps, values, present), warnings=('"w"',), infos=("i",))
    answer = json.loads(b"".join(rendering.query_answer(0, result)))
    assert (answer["warnings"], answer["infos"]) == (['"w"'], ["i"])
    for row, series in enumerate(answer["data"]["result"]):
        assert series["metric"] == labels[row]
        assert [(round(at * 1000), text) for at, text in series["values"]] == [
            (int(steps[at]), "NaN" if math.isnan(values[row, at]) else f"{values[row, at]:.0f}")
            for at in np.flatnonzero(present[row])
        ]


def test_every_kind_of_result():
    """scalar, string, vector and matrix in the API's own form; resultType first."""
    columns = Columns(
        [{"a": "1"}, {"a": "2"}], np.array([0, 2, 3]), np.array([1000, 2500, 1000]), np.arange(3.0)
    )
    shown = {
        "scalar": (Scalar(1500, 2.0), [1.5, "2"]),
        "string": (String(1500, 'a"b'), [1.5, 'a"b']),
        "vector": (
            InstantVector([{"a": "1"}], 1000, np.array([np.inf])),
            [{"metric": {"a": "1"}, "value": [1, "+Inf"]}],
        ),
        "matrix": (
            columns,
            [
                {"metric": {"a": "1"}, "values": [[1, "0"], [2.5, "1"]]},
                {"metric": {"a": "2"}, "values": [[1, "2"]]},
            ],
        ),
    }
    for kind, (value, expected) in shown.items():
        body = b"".join(rendering.query_answer(0, Result(value)))
        assert body.startswith(b'{"status":"success","data":{"resultType":"%b"' % kind.encode())
        assert json.loads(body)["data"] == {"resultType": kind, "result": expected}
    cut = json.loads(b"".join(rendering.query_answer(1, Result(columns))))
    assert len(cut["data"]["result"]) == 1
    assert cut["warnings"] == [rendering.TRUNCATED]


@given(
    st.dictionaries(LABEL_TEXT, LABEL_TEXT, max_size=3), st.sampled_from([0, 1, 999, 1000, 2001])
)
def test_label_sets_are_one_array_however_many(labels, count):
    """Runs of label sets join to the array that one would write, each set's names in order."""
    found = [{**labels, "at": str(i)} for i in range(count)]
    answer = json.loads(b"".join(rendering.list_answer(0, found)))["data"]
    assert answer == found
    assert all(list(one) == sorted(one, key=str.encode) for one in answer[:3])


def mixed_series(samples):
    """One series: a float, then histograms of 100 buckets each."""
    stored = Written(positive=tuple((n, n + 1) for n in range(100))).encoded()
    bits = HISTOGRAM_BITS + np.arange(-1, samples - 1)
    values = bits.view(np.float64)
    values[0] = 2.5
    times = np.arange(samples) * 1000
    return Columns([{"a": "1"}], np.array([0, samples]), times, values, [stored] * (samples - 1))


def test_a_series_of_histograms_is_written_until_the_answer_is_too_large(monkeypatch):
    """In pieces that are the whole together, with a checkpoint at each; no more than may be."""
    columns, stops = mixed_series(300), []
    limits = QueryLimits(checkpoint=lambda: stops.append(1))
    body = b"".join(rendering.query_answer(0, Result(columns), limits))
    (series,) = json.loads(body)["data"]["result"]
    assert (series["metric"], series["values"]) == ({"a": "1"}, [[0, "2.5"]])
    assert [at for at, _ in series["histograms"]] == list(range(1, 300))
    assert len({json.dumps(histogram) for _, histogram in series["histograms"]}) == 1
    assert len(stops) >= 300
    written = []
    one = rendering.histogram_json(decode(columns.histograms[0]))
    monkeypatch.setattr(rendering, "histogram_json", lambda _: written.append(1) or one)
    with pytest.raises(AnswerTooLarge):
        rendering.query_answer(0, Result(columns), QueryLimits(answer_bytes_max=10 * len(one)))
    assert len(written) == 10


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_an_export_of_histograms_comes_in_pieces(kind):
    """A piece is of so many bytes, not of so many samples; together they are the whole."""
    columns, write = mixed_series(1000), export.FORMATS[kind][1]
    pieces = list(write([columns]))
    assert len(pieces) > 4
    assert max(map(len, pieces)) < 4 * export.PIECE_BYTES
    whole = b"".join(pieces)
    if kind == "json":
        line = json.loads(whole)
        assert line["values"][0] == 2.5
        assert len(line["values"]) == len(line["timestamps"]) == 1000
        assert all(histogram["count"] == "5050" for histogram in line["values"][1:])
    else:
        assert whole.count(b"\n") == 1001
