"""Templates of alerting rules and notifications: their functions, variables, and bounds."""

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data_api.gotemplate import (
    AlertData,
    QueryResult,
    StringMap,
    TemplateError,
    check_alert,
    expand_alert,
    parse,
    render,
)
from data_api.gotemplate.alertmanager import KV, Alerts
from data_api.gotemplate.alertmanager import functions as notification_functions
from data_api.gotemplate.builtins import format_time
from data_api.gotemplate.errors import CallFailed, TemplateTooLarge

GOLDEN = Path(__file__).parents[2] / "golden" / "templates" / "alerts.yaml"
CASES = yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))
LABELS = {"instance": "db-1.example.com:9100", "job": "node", "mountpoint": "/var"}
SERIES = [({"instance": "b", "__value__": "text"}, 21.0), ({"instance": "a"}, 11.0)]


def cases(section):
    return [pytest.param(case["text"], case["wanted"], id=case["text"]) for case in CASES[section]]


def answer(text):
    if text == "missing":
        return QueryResult()
    if text == "bad(":
        raise CallFailed("1:5: parse error: unclosed left parenthesis")
    return QueryResult.of(SERIES)


def expand(text, value=0.9532):
    maps = StringMap(LABELS), StringMap(cluster="eu")
    data = AlertData(*maps, "http://hub:8080/path/prefix", value)
    return expand_alert(text, data, answer, name="Disk")


@pytest.mark.parametrize(("text", "wanted"), cases("writes"))
def test_an_annotation_is_what_prometheus_makes_of_it(text, wanted):
    """Variables, functions, and the form of numbers."""
    assert expand(text) == wanted
    check_alert(text)


@pytest.mark.parametrize(("text", "wanted"), cases("fails"))
def test_what_fails_becomes_the_text(text, wanted):
    """An alert is never lost to its template: the annotation says what is wrong with it."""
    text = expand(text)
    assert text.startswith("<error expanding template: ")
    assert wanted in text


def test_a_rule_with_a_bad_template_is_refused_before_it_runs():
    """As Prometheus checks rule files; what only data can show is not known yet."""
    with pytest.raises(TemplateError, match="undefined variable"):
        check_alert("{{ $lables.job }}", "Disk")
    check_alert('{{ query "missing" | first }}')


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOTIFICATION = {
    "Status": "firing",
    "Receiver": "team",
    "Alerts": Alerts(
        [
            {
                "Status": "firing",
                "Labels": KV(alertname="Disk", job="node"),
                "Annotations": KV(summary="full"),
                "StartsAt": NOW - timedelta(minutes=90),
            },
            {
                "Status": "resolved",
                "Labels": KV(alertname="Down", job="node"),
                "Annotations": KV(),
                "StartsAt": NOW,
            },
        ]
    ),
    "CommonLabels": KV(job="node", alertname="X", zone="a"),
}


@pytest.mark.parametrize(("text", "wanted"), cases("notifies"))
def test_a_notification_is_what_alertmanager_makes_of_it(text, wanted):
    """Labels and alerts have Alertmanager's methods; templates of other files can be used."""
    functions = notification_functions(NOW)
    shared = parse('{{ define "shared" }}<{{ .Receiver }}>{{ end }}').definitions
    template = parse(text, functions=functions)
    assert render(template, NOTIFICATION, functions=functions, definitions=shared) == wanted


def test_layouts_of_times():
    """Go's reference moment, in its parts."""
    time = datetime(2026, 3, 7, 15, 4, 9, 123_000, UTC)
    layout = "Monday, 02-Jan-06 _2 1/2 03:04:05.000 PM -0700 -07:00 Z07:00 2006 MST"
    wanted = "Saturday, 07-Mar-26  7 3/7 03:04:09.123 PM +0000 +00:00 Z 2026 UTC"
    assert format_time(time, layout) == wanted


LONG = '{{ $x := "aaaaaaaa" }}{{ range 12 }}{{ $x = print $x $x }}{{ end }}'
MANY = "|".join(f"[ab]*a[ab]{{900}}{letter}" for letter in "cdefgh")
ENDLESS = {
    "output": '{{ $x := "aaaaaaaa" }}{{ range 40 }}{{ $x = print $x $x }}{{ end }}',
    "loops": "{{ range 9999 }}{{ range 9999 }}{{ range 9999 }}{{ end }}{{ end }}{{ end }}",
    "a number": "{{ range 999999999999 }}{{ end }}",
    "recursion": '{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}',
    "tmpl": '{{ define "x" }}{{ tmpl "x" . }}{{ end }}{{ template "x" . }}',
    "width": '{{ printf "%999999999d" 1 }}',
    "precision": '{{ printf "%.99999999f" 1.5 }}',
    "widths": '{{ range 300 }}{{ printf "%1000d" 1 }}{{ end }}',
    "a graph": "{{ $x := args 1 }}{{ range 45 }}{{ $x = args $x $x }}{{ end }}{{ $x }}",
    "a deep value": "{{ $x := args 1 }}{{ range 999 }}{{ $x = args $x }}{{ end }}{{ $x }}",
    "replacement": '{{ $x := "aaaaaaaa" }}{{ range 9 }}{{ $x = print $x $x }}{{ end }}'
    '{{ reReplaceAll "a" $x $x }}',
    "matches": LONG + '{{ reReplaceAll "" "" $x }}',
    "groups": LONG + '{{ reReplaceAll "' + "()" * 500 + '" "" (slice $x 0 2000) }}',
    "text behind matches": LONG + '{{ reReplaceAll "a(.*b)?" "" $x }}',
    "a large pattern": LONG + f'{{{{ match "{MANY}" $x }}}}',
    "patterns": '{{ range 9999 }}{{ $y := match (printf "(a{1,30}){1,30}%d" .) "x" }}{{ end }}',
    "queries": '{{ range 21 }}{{ $x := query "x" }}{{ end }}',
    "parentheses": "{{ " + "(" * 60 + "1" + ")" * 60 + " }}",
    "blocks": "{{ if 1 }}" * 60 + "{{ end }}" * 60,
    "text": "{{ 1 }}" + " " * 70_000,
}


def test_a_long_mark_between_many_texts_is_not_joined():
    """What it would make is counted before it is made."""
    functions = notification_functions(NOW)
    mark = '{{ $x := "aaaaaaaa" }}{{ range 12 }}{{ $x = print $x $x }}{{ end }}'
    text = mark + "{{ join $x (stringSlice" + ' "a"' * 9000 + ") | len }}"
    with pytest.raises(TemplateTooLarge, match="steps"):
        render(parse(text, functions=functions), None, functions=functions)


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_template_cannot_hold_up_the_process(text):
    """Text, nesting, steps, output, queries have bounds; beyond, the annotation says so."""
    assert expand(text).startswith("<error expanding template: ")


_PIECES = st.sampled_from(
    [
        *("{{", "}}", "{{-", "-}}", " ", "\n", "if ", "else", "end", "range ", "with ", "define "),
        *(
            "template ",
            "block ",
            "break",
            "continue",
            ".",
            "$",
            "$x",
            ":=",
            "=",
            ",",
            "|",
            "(",
            ")",
        ),
        *('"a"', "`b`", "'c'", "1", "-2.5e3", "true", "nil", ".Labels", ".Labels.job", "$value"),
        *("print ", "printf ", '"%5.2f %v %q"', "index ", "query ", "args ", "humanize ", "len "),
        *("eq ", "and ", "slice ", "/*", "*/", "é", "{{ end }}", "{{ . }}", "{{ range 3 }}"),
        *("{{ if . }}", '{{ define "a" }}', "tmpl "),
    ]
)


@given(st.one_of(st.text(), st.lists(_PIECES, max_size=40).map("".join)))
def test_any_text_becomes_a_text(text):
    """Whatever somebody writes: it is rendered or refused, never a crash."""
    assert isinstance(expand(text), str)
    wrapped = expand(f"{{{{ {text} }}}}")
    assert isinstance(wrapped, str)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_value_reads_back(value):
    """`%v` loses nothing of a float."""
    assert float(expand("{{ $value }}", value)) == value


@given(pattern=st.text(alphabet="%+-# 0123.*vdsfgexqTtcUbo a", max_size=30), value=st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=5),
    st.lists(st.integers(0, 9), max_size=3)))  # fmt: skip
def test_any_format_writes_something(pattern, value):
    """A format is a tenant's too: it writes something, or the template fails."""
    template = parse("{{ printf .p .v .v }}")
    with contextlib.suppress(TemplateError):
        assert isinstance(render(template, {"p": pattern, "v": value}), str)
