"""Go's template language: what a text writes, and the words of what is wrong with it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from data_api.gotemplate import Function, StringMap, TemplateError, parse, render
from data_api.gotemplate.formatting import sprintf

DATA = {
    "Name": "disk",
    "N": 3,
    "F": 2.5,
    "Yes": True,
    "List": ["a", "b", "c"],
    "Empty": [],
    "Map": StringMap(b="2", a="1"),
    "Deep": {"er": {"est": "x"}},
    "Nil": None,
}
GOLDEN = Path(__file__).parents[2] / "golden" / "templates" / "language.yaml"
CASES = yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))
FUNCTIONS = {
    "upper": Function(str.upper, ("string",)),
    "list": Function(lambda *texts: list(texts), ("string",), variadic=True),
}


def name_of(case):
    return case["text"]


@pytest.mark.parametrize("case", CASES["writes"], ids=name_of)
def test_what_a_template_writes(case):
    """Every construct of the language writes what Go writes."""
    template = parse(case["text"], functions={*FUNCTIONS, "tmpl"})
    assert render(template, DATA, functions=FUNCTIONS) == case["wanted"]


@pytest.mark.parametrize("case", CASES["refused"], ids=name_of)
def test_what_is_no_template_is_refused_in_words_of_go(case):
    """Name and line, then the reason."""
    with pytest.raises(TemplateError) as refused:
        parse(case["text"], name="t")
    assert refused.value.describe().startswith(case["wanted"])


@pytest.mark.parametrize("case", CASES["fails"], ids=name_of)
def test_what_cannot_be_rendered_says_where(case):
    """Line, column, the command that failed, and Go's reason."""
    with pytest.raises(TemplateError) as failed:
        render(parse(case["text"], name="t", functions=FUNCTIONS), DATA, functions=FUNCTIONS)
    assert failed.value.describe().startswith(case["wanted"])


PRINTF = [
    (
        "%v %v %v %v",
        (0.1 + 0.2, 1e6, 1e21, 123456.789),
        "0.30000000000000004 1e+06 1e+21 123456.789",
    ),
    ("%d|%5d|%-5d|%05d|%+d|% d", (42, 42, 42, -42, 42, 42), "42|   42|42   |-0042|+42| 42"),
    (
        "%f %.2f %5.1f|%-8.3f|%08.3f %.0f",
        (1.5, 2.345, 3.14159, 2.5, -2.5, 2.5),
        "1.500000 2.35   3.1|2.500   |-002.500 2",
    ),
    (
        "%e %.1e %g %.3g %G",
        (1234.5678, 0.00012, 1e-7, 1234.5, 1e20),
        "1.234568e+03 1.2e-04 1e-07 1.23e+03 1E+20",
    ),
    (
        "%s|%10s|%-10s|%.2s|%q",
        ("hi", "hi", "hi", "hello", 'a"b\n'),
        r'hi|        hi|hi        |he|"a\"b\n"',
    ),
    (
        "%x %X %x %o %b %c %U",
        (255, 255, "hi", 8, 5, 65, 97),
        "ff FF 6869 10 101 A %!U(int=97)",
    ),
    ("%t %v %T %T %T", (True, None, 1, 2.0, ["a"]), "true <nil> int float64 []string"),
    ("%d %s %f", ("x", 1, 2), "%!d(string=x) %!s(int=1) %!f(int=2)"),
    ("%d", (1.5,), "%!d(float64=1.5)"),
    ("%d %d", (1,), "1 %!d(MISSING)"),
    ("%d", (1, "a"), "1%!(EXTRA string=a)"),
    ("100%% %", (), "100% %!(NOVERB)"),
    ("%05s|%010d|%x|% d", ("abc", -1234, "é", 7), "  abc|-000001234|c3a9| 7"),
    ("%v %s %q %d", ({"a": 1}, ["x", "y"], ["x"], [1, 2]), 'map[a:1] [x y] ["x"] [1 2]'),
    (
        "%f %6.2f %g %+g",
        (float("inf"), float("-inf"), float("nan"), float("inf")),
        "+Inf   -Inf NaN +Inf",
    ),
    (
        "%v %v %v",
        (timedelta(hours=1, seconds=2.5), timedelta(milliseconds=1.5), timedelta()),
        "1h0m2.5s 1.5ms 0s",
    ),
    ("%*d", (4,), "%!*(int=4)d"),
    ("%v", (datetime(2015, 6, 23, 13, 19, 44, 128000, UTC),), "2015-06-23 13:19:44.128 +0000 UTC"),
]


@pytest.mark.parametrize(("pattern", "values", "wanted"), PRINTF, ids=[case[0] for case in PRINTF])
def test_printf_writes_what_go_writes(pattern, values, wanted):
    """Verbs, flags, widths and precisions, and what is wrong with an argument in its place."""
    assert sprintf(pattern, values) == wanted


def test_whatever_a_function_raises_is_an_error_of_the_template():
    """As Go recovers from a function's panic: a text with a fault ends no process."""
    template = parse("{{ broken }}", functions=("broken",))
    with pytest.raises(TemplateError, match="error calling broken"):
        render(template, None, functions={"broken": Function(lambda: int("no"))})
