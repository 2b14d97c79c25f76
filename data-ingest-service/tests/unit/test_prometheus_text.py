"""Laws of the text formats, against prometheus_client's own writer and a slow reader."""

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from data_ingest.model import NAN_BITS
from data_ingest.protocols import prometheus_text
from data_ingest.protocols.prometheus_text import BadExposition, decode

NAME = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
LABEL = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SERIES = st.tuples(NAME, st.dictionaries(LABEL, TEXT, max_size=4))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _line(name: str, labels: dict[str, str], value: str, timestamp: str = "") -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value} {timestamp}\n"


def _labels(body: bytes, sample: int = 0) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in decode(body).labels(sample)}


def _value(text: str) -> float:
    return float(decode(f"a {text}\n".encode()).values[0])


@given(
    st.lists(st.tuples(SERIES, st.floats(), st.none() | st.integers(-(2**62), 2**62)), max_size=8)
)
def test_whatever_is_written_is_read_back(rows: list[Any]) -> None:
    """Names, labels, values and timestamps come back exactly; every NaN becomes the one NaN."""
    body = "".join(
        _line(name, labels, repr(value), "" if at is None else str(at))
        for (name, labels), value, at in rows
    ).encode()
    exposition = decode(body)
    assert len(exposition) == len(rows)
    for i, ((name, labels), value, at) in enumerate(rows):
        expected = {"__name__": name} | labels
        assert {n.decode(): v.decode() for n, v in exposition.labels(i)} == expected
        if math.isnan(value):
            assert exposition.values.view(np.uint64)[i] == NAN_BITS
        else:
            assert exposition.values[i] == value
            assert math.copysign(1, exposition.values[i]) == math.copysign(1, value)
        assert bool(exposition.has_timestamp[i]) == (at is not None)
        assert exposition.timestamps_ms[i] == (at or 0)


@given(
    st.from_regex(
        r"[+-]?([0-9]{1,25}(\.[0-9]{0,25})?|\.[0-9]{1,25})([eE][+-]?[0-9]{1,3})?", fullmatch=True
    )
)
def test_every_decimal_is_the_nearest_float(text: str) -> None:
    """A number is the float64 nearest to its decimal form; one that overflows is refused."""
    expected = float(text)
    if math.isinf(expected):
        with pytest.raises(BadExposition, match="too large"):
            _value(text)
    else:
        assert np.float64(_value(text)).view(np.uint64) == np.float64(expected).view(np.uint64)


@pytest.mark.parametrize("text", ["Inf", "+Inf", "inf", "+inf", "infinity", "Infinity"])
def test_infinity(text: str) -> None:
    """Infinity is written in any of Go's ways."""
    assert _value(text) == math.inf
    assert _value(f"-{text.lstrip('+')}") == -math.inf


@pytest.mark.parametrize(
    "text", ["1_000", "0x1p-2", "0x10", "1e", "e1", ".", "+", "--1", "1,5", "one", "+NaN", "١"]
)
def test_what_is_no_number(text: str) -> None:
    """Python's and C's other ways to write numbers are refused."""
    with pytest.raises(BadExposition):
        _value(text)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused(body: bytes, openmetrics: bool) -> None:
    """Any body is read, or refused with a line and an offset inside the body."""
    _read_or_refuse(body, openmetrics)


@given(
    st.text(st.sampled_from('a_:{}="\\,# \t\n\r019.e+-NIHELPTYUOF~é'), max_size=80), st.booleans()
)
def test_any_near_exposition_is_read_or_refused(body: str, openmetrics: bool) -> None:
    """The same for bodies made of the format's own characters."""
    _read_or_refuse(body.encode(), openmetrics)


def _read_or_refuse(body: bytes, openmetrics: bool) -> None:
    try:
        exposition = decode(body, openmetrics=openmetrics)
        for i in range(len(exposition)):
            assert exposition.labels(i)[0][0] == b"__name__"
    except BadExposition as error:
        fault = error.facts
    else:
        return
    assert 0 <= fault["offset"] <= len(body)
    assert fault["line"] == body.count(b"\n", 0, fault["offset"]) + 1


@given(st.lists(SERIES, min_size=1, max_size=5, unique_by=str))
def test_prometheus_client_agrees(series: list[Any]) -> None:
    """What the reference parser of the Python client reads, this one reads the same."""
    body = "".join(_line(name, labels, str(i)) for i, (name, labels) in enumerate(series))
    # The reference splits lines wherever Unicode does.
    if len(body.splitlines()) != len(series) or any(
        "\\" in text for _, ls in series for text in ls.values()
    ):
        return
    theirs = [s for family in text_string_to_metric_families(body) for s in family.samples]
    exposition = decode(body.encode())
    ours = [
        {n.decode(): v.decode() for n, v in exposition.labels(i)} for i in range(len(exposition))
    ]
    expected = [{"__name__": s.name} | s.labels for s in theirs]
    assert sorted(map(str, ours)) == sorted(map(str, expected)) or any(
        name.endswith(("_total", "_created", "_info")) for name, _ in series
    )


def test_metadata() -> None:
    """HELP, TYPE and UNIT describe a family; 0.0.4 has no UNIT; other comments are nothing."""
    body = b"# HELP a A \\\\ and\\na line.\n# TYPE a counter\n#plain\n# note\na 1\n"
    body += b"# TYPE b untyped\nb 1\n"
    a, b = decode(body).metadata
    assert (a.metric_name, a.type, a.help) == ("a", "counter", "A \\ and\na line.")
    assert (b.metric_name, b.type, b.help) == ("b", "unknown", "")
    (unit,) = decode(
        b"# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n# EOF\n", openmetrics=True
    ).metadata
    assert unit.unit == "seconds"
    assert decode(b"# UNIT a seconds\na 1\n").metadata == ()


def test_openmetrics_seconds_and_exemplars() -> None:
    """OpenMetrics timestamps are seconds; an exemplar is of the sample in its line: labels, a
    value and perhaps a time; the body ends with # EOF.
    """
    body = b'a_bucket{le="1"} 5 1520879607.789 # {trace_id="x\\\\",b="1"} 0.5 1520879607.1\n'
    body += b'a_total{c="d"} 1 # {} 2\n# EOF\n'
    exposition = decode(body, openmetrics=True)
    assert exposition.timestamps_ms.tolist() == [1520879607789, 0]
    first, second = exposition.exemplars
    assert first.labels == ((b"trace_id", b"x\\"), (b"b", b"1"))
    assert (first.sample, first.value, first.timestamp_ms) == (0, 0.5, 1520879607100)
    assert (second.sample, second.value, second.timestamp_ms) == (1, 2.0, None)
    assert exposition.labels(1) == [(b"__name__", b"a_total"), (b"c", b"d")]
    assert exposition.values.tolist() == [5, 1]
    assert decode(b"# EOF", openmetrics=True).values.size == 0


@pytest.mark.parametrize(
    ("body", "why", "line", "offset"),
    [
        (b'a 1\nb{x="y} 1\n', "quote is not closed", 2, 8),
        (b"a{x=y} 1\n", "quoted label value", 1, 4),
        (b'a{x"y"} 1\n', "expected =", 1, 3),
        (b'a{x="y"z="1"} 1\n', ", or }", 1, 7),
        (b'a{9="y"} 1\n', "not a label name", 1, 2),
        (b"9a 1\n", "not a metric name", 1, 0),
        (b"a-b 1\n", "not a metric name", 1, 1),
        (b'{x="y"} 1\n', "no metric name", 1, 0),
        (b'{"a","b"} 1\n', "second metric name", 1, 5),
        (b'a{"b"} 1\n', "second metric name", 1, 2),
        (b"a\n", "expected a value", 1, 1),
        (b"a 1 x\n", "expected a timestamp", 1, 4),
        (b"a 1 1.5\n", "expected a timestamp", 1, 4),
        (b"a 1 99999999999999999999\n", "timestamp is too large", 1, 4),
        (b"a 1 2 3\n", "end of the line", 1, 6),
        (b'a 1 # {x="y"} 2\n', "end of the line", 1, 4),
        (b"# TYPE a thing\n", "not a metric type", 1, 9),
        (b"# HELP a \xff\n", "not UTF-8", 1, 7),
    ],
    ids=lambda value: str(value)[:24],
)
def test_faults_say_where(body: bytes, why: str, line: int, offset: int) -> None:
    """A fault names its line, its offset and what was expected."""
    with pytest.raises(BadExposition, match=re.escape(why)) as caught:
        decode(body)
    assert (caught.value.facts["line"], caught.value.facts["offset"]) == (line, offset)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"a 1\n", "it was cut"),
        (b"a 1\n# EOF\nb 1\n", "after # EOF"),
        (b"a 1 # x\n# EOF\n", "not an exemplar"),
        (b"a 1 # {}\n# EOF\n", "not an exemplar"),
        (b"a 1 # {} x\n# EOF\n", "not a number"),
        (b"a 1 # {} 1 x\n# EOF\n", "not an exemplar"),
        (b"a 1 # {} 1 2 3\n# EOF\n", "not an exemplar"),
        (b"a 1 1e9999\n# EOF\n", "too large"),
        (b"a 1 1e9999999999999999999\n# EOF\n", "expected a timestamp"),
    ],
    ids=["cut", "more", "exemplar", "empty", "text", "time", "rest", "large", "exponent"],
)
def test_openmetrics_faults(body: bytes, why: str) -> None:
    """A body without its end was cut; nothing follows the end; a time is one that can be."""
    with pytest.raises(BadExposition, match=why):
        decode(body, openmetrics=True)


def test_labels_that_cannot_be() -> None:
    """A label given twice, or one that is not UTF-8, is refused where it stands."""
    with pytest.raises(BadExposition, match="twice"):
        decode(b'a{x="1",x="2"} 1\n').labels(0)
    with pytest.raises(BadExposition, match="not UTF-8"):
        decode(b'a{x="\xff"} 1\n').labels(0)


def test_spacing_and_line_ends() -> None:
    """Blanks, tabs, empty lines, a trailing comma, CRLF and a missing last newline are all read."""
    assert _labels(b'\r\n\n  a { x = "1" , y="2", }\t3 4\r\n') == {
        "__name__": "a",
        "x": "1",
        "y": "2",
    }
    assert _labels(b"a{} 1") == {"__name__": "a"}
    assert _labels(b'{"a.b","c d"="e"} 1') == {"__name__": "a.b", "c d": "e"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1", "1.0"),
        ("0", "0.0"),
        ("-0", "0.0"),
        ("0.5", "0.5"),
        ("1e6", "1e+06"),
        ("100000", "100000.0"),
        ("1234567", "1.234567e+06"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("+Inf", "+Inf"),
        ("inf", "+Inf"),
        ("-2.50", "-2.5"),
        ("1e21", "1e+21"),
        ("x", "x"),
        ("NaN", "NaN"),
        ("0.99", "0.99"),
    ],
)
def test_boundaries_have_one_form(text: str, shown: str) -> None:
    """`le` and `quantile` are written as OpenMetrics does, so that `1` and `1.0` are one series."""
    assert prometheus_text.normalised_boundary(text.encode()) == shown.encode()
    histogram = f'# TYPE h histogram\nh_bucket{{le="{text}"}} 1\n'.encode()
    assert _labels(histogram)["le"] == shown
    summary = f'# TYPE s summary\ns{{quantile="{text}"}} 1\n'.encode()
    assert _labels(summary)["quantile"] == shown
    gauge = f'# TYPE g gauge\ng{{le="{text}"}} 1\n'.encode()
    assert _labels(gauge)["le"] == text
