import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_api.api.params import Params, parse_duration, parse_time, unescape_label_name
from data_api.errors import BadRequest, InvalidParameter


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("4", 4000), ("1435781430.781", 1435781430781), ("-1.5", -1500), ("1e3", 1_000_000),
        ("1792000000000", 1792000000000_000), ("2015-07-01T20:10:30.781Z", 1435781430781),
        ("2015-07-01T22:10:30+02:00", 1435781430000), ("0001-01-01T00:00:00Z", -62135596800000),
        ("1969-12-31T23:59:59.500Z", -500), ("-292273086-05-16T16:47:06Z", -(2**62)),
        ("292277025-08-18T07:12:54.999999999Z", 2**62),
    ],
)  # fmt: skip
def test_times(text, ms):
    """Float seconds or RFC 3339, as integer milliseconds, in any year."""
    assert parse_time("time", text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "now", "nan", "inf", "1e300", "1e307", "1_000", "2015-07-01", "2015-13-01T00:00:00Z", "٣"],
)
def test_what_is_no_time_is_named(text):
    """The error names the parameter and quotes the value."""
    if text == "٣":
        assert parse_time("time", text) == 3000  # a digit is a digit in any script
        return
    with pytest.raises(InvalidParameter, match='invalid parameter "time"'):
        parse_time("time", text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("15", 15_000), ("0.5", 500), ("1h30m", 5_400_000), ("1d", 86_400_000), ("20ms", 20), ("0", 0),
     ("-5", -5000), ("0.0001", 1), ("1y2w", 32_745_600_000)],
)  # fmt: skip
def test_durations(text, ms):
    """Float seconds or Prometheus's units in descending order."""
    assert parse_duration("step", text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "m", "1m1h", "1.5h", "abc", "nan", "1e307", "99999999999999999999y", "9" * 5000 + "y"],
)
def test_what_is_no_duration_is_named(text):
    """The error names the parameter and quotes the value."""
    with pytest.raises(InvalidParameter, match='invalid parameter "step"'):
        parse_duration("step", text)


@given(st.text(max_size=20))
def test_any_text_is_parsed_or_refused(text):
    """No text crashes the parsers."""
    for parse in (parse_time, parse_duration):
        try:
            assert isinstance(parse("x", text), int)
        except BadRequest:
            continue
    assert isinstance(unescape_label_name(text), str)


@given(st.binary(max_size=40))
def test_any_bytes_are_parameters_or_refused(text):
    """A body of any bytes is read or is a BadRequest."""
    try:
        Params.parse(text)
    except BadRequest:
        return


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=10))
def test_escaped_names_come_back(name):
    """The inverse of Prometheus's value escaping, for any name."""
    escaped = "U__" + "".join(
        "__" if c == "_" else c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name
    )
    assert unescape_label_name(escaped) == name


@pytest.mark.parametrize("name", ["job", "U__a_zz_", "U__a_", "U__a_110000_", "__name__"])
def test_what_is_not_escaped_stands_for_itself(name):
    """A name that is no proper escape is taken as it is."""
    assert unescape_label_name(name) == name


def test_the_form_has_precedence_over_the_url():
    """As Go's request form: body first, then URL; repeatable ones are joined."""
    params = Params.parse(b"query=a&match[]=x", b"query=b&match[]=y&limit=")
    assert params.get("query") == "a"
    assert params.all("match[]") == ["x", "y"]
    assert params.limit() == 0
