"""Stored chunks: what goes in comes out, in every form alike, one series at a time or all."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis_processing.analyses.block import Part, SeriesResult
from analysis_processing.jobs import results
from analysis_processing.model import Finding

FINDING = Finding("spike", 1000, None, 1010, 3.0, float("inf"), 2.0, None, 4.0, "up", "far up")
STEPS = st.integers(1, 8)
FIVE = st.just(5)
NAMES = ["a", "score", 'q"']
numbers = st.floats(width=32, allow_subnormal=False) | st.integers(-(2**40), 2**40).map(float)


@st.composite
def parts(draw, columns=("values", "score", "own"), steps=STEPS):
    """A chunk whose series have any of the columns, or none and a note."""
    steps = draw(steps)
    column = st.lists(numbers, min_size=steps, max_size=steps).map(np.array)
    one = st.builds(
        SeriesResult,
        labels=st.dictionaries(st.sampled_from(NAMES), st.text(max_size=3)),
        score=st.floats(0),
        facts=st.dictionaries(st.text(max_size=2), st.floats() | st.booleans()),
        findings=st.lists(st.just(FINDING), max_size=2),
        columns=st.dictionaries(st.sampled_from(columns), column),
        note=st.none() | st.just("all gaps"),
    )
    return Part(1000, 10, steps, draw(st.lists(one, max_size=3)))


def chunk(part, wanted=None):
    payload = results.encode(part)
    return results.Head.read(payload), payload, wanted


def as_json(part):
    """[{column: numbers}] as the web process reads one series after another."""
    head, payload, _ = chunk(part)
    read = []
    for row in range(len(part.series)):
        first, length = head.span(row)
        read.append(json.loads(head.columns(payload[first : first + length], row)))
    return read


def finite(column):
    """As JSON shows it: what is no finite number is NaN here."""
    numbers = np.array([np.nan if one is None else one for one in column], dtype=float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


@settings(max_examples=20)
@given(part=parts(), batch=st.integers(1, 20))
def test_a_series_is_read_alone(part, batch):
    """Whatever the batches, the bytes of one batch give its series' columns, to what they show."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "BATCH_POINTS", batch)
        read = as_json(part)
    for row, result in enumerate(part.series):
        assert read[row].keys() == result.columns.keys()
        for name, column in result.columns.items():
            spread = float(results.spread(column[None, :])[0, 0])
            reach = spread / (250 if name in results.ROUNDED else 1000)
            same = {"rtol": 2**-23, "atol": reach, "equal_nan": True}
            assert np.allclose(finite(read[row][name]), finite(column), **same)


@settings(max_examples=20)
@given(first=parts(steps=FIVE), second=parts(columns=("values", "upper"), steps=FIVE))
def test_every_form_says_the_same(first, second):
    """Chunks of different columns hold the same series and numbers in Arrow, Parquet, CSV, JSON."""
    chunks = [chunk(first), chunk(second)]
    schema = results.joined_schema([head for head, _, _ in chunks])
    arrow = pa.ipc.open_stream(b"".join(results.as_arrow(schema, chunks))).read_all()
    assert arrow.schema.metadata[b"step_ms"] == b"10"
    parquet = pq.read_table(io.BytesIO(b"".join(results.as_parquet(schema, chunks))))
    same = arrow.select(parquet.column_names)
    assert str(parquet.to_pylist()) == str(same.to_pylist())  # NaN is no equal of itself
    shown = [*as_json(first), *as_json(second)]
    described = [*results.rows(first), *results.rows(second)]
    lines = iter(list(csv.reader(io.StringIO(csv_of(schema, chunks)))))
    columns_shown = next(lines)[4:]
    for row, columns, series in zip(arrow.to_pylist(), shown, described, strict=True):
        assert dict(row["labels"]) == series["labels"]
        assert (row["score"], row["note"]) == (series["score"], series["note"])
        assert json.loads(row["facts"]) == series["detail"]["facts"]
        assert json.loads(row["findings"]) == series["detail"]["findings"]
        stored = row.get("columns") or {}
        assert columns.keys() == {name for name, column in stored.items() if column is not None}
        for name, column in columns.items():
            same = {"rtol": 2**-23, "atol": 0.0, "equal_nan": True}
            assert np.allclose(finite(column), finite(stored[name]), **same)
        for step in range(first.steps if columns else 0):
            *labels, time_ms = (line := next(lines))[:4]
            assert labels == [series["labels"].get(name, "") for name in NAMES]
            assert int(time_ms) == 1000 + 10 * step
            for text, name in zip(line[4:], columns_shown, strict=True):
                number = columns[name][step] if name in columns else None
                assert finite([text or None]).tolist() == pytest.approx(
                    finite([number]).tolist(), nan_ok=True
                )
    assert next(lines, None) is None


def csv_of(schema, chunks):
    return b"".join(results.as_csv(schema, NAMES, chunks)).decode()


def test_a_chunk_of_one_form_passes_unread():
    """What is wanted as it is stored is sent so; a choice of series is that choice."""
    part = Part(0, 10, 3, [series(n) for n in "abc"])
    stored = chunk(part)
    schema = results.joined_schema([stored[0]])
    assert stored[1][stored[0].size :] == b"".join(list(results.as_arrow(schema, [stored]))[1:])
    some = b"".join(results.as_arrow(schema, [chunk(part, [0, 2])]))
    labels = pa.ipc.open_stream(some).read_all().column("labels").to_pylist()
    assert [dict(one)["n"] for one in labels] == ["a", "c"]


def series(name, **more):
    return SeriesResult({"n": name}, columns={"values": np.arange(3.0)}, **more)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1e-3, 2.5, 7.0], "float"),
        ([0.1, 0.1, 0.1], "float"),
        ([1e30, -1e30, np.inf], "float"),
        ([1e300, 1.0, 2.0], "double"),
        ([1_760_000_001.0] * 3, "double"),
        ([100.0000001, 100.0000002, 100.0000003], "double"),
    ],
    ids=str,
)
def test_the_width_shows_what_there_is(values, kind):
    """Numbers are single while that shows how they differ, or what they are; else double."""
    part = Part(0, 10, 3, [SeriesResult({}, columns={"values": np.array(values)})])
    head, payload, _ = chunk(part)
    assert str(head.schema.field("columns").type["values"].type.value_type) == kind
    shown = json.loads(head.columns(payload[slice(*np.cumsum(head.span(0)))], 0))["values"]
    assert np.allclose(finite(shown), finite(values), rtol=1e-7, atol=0.0, equal_nan=True)


def test_a_score_that_is_no_number_is_ranked():
    """NaN last, infinity first, and both can be stored and compared; numpy's scalars are plain."""
    facts = {"n": np.int64(3), "ok": np.bool_(True), "odd": float("nan"), "nul": "a\0b"}
    part = Part(0, 10, 3, [series("x", score=score, facts=facts) for score in (np.nan, np.inf, 1)])
    first, second, third = results.rows(part)
    assert first["score"] == 0.0 < third["score"] < second["score"] < np.inf
    (noted,) = results.rows(Part(0, 10, 3, [SeriesResult({}, note="all gaps")]))
    assert noted["score"] < first["score"]
    assert first["detail"]["facts"] == {"n": 3, "ok": True, "odd": None, "nul": "a\ufffdb"}
    json.dumps(first, allow_nan=False)
