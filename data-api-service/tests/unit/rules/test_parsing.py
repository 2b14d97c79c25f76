"""Rule files in and out, and what is wrong with bad ones."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_api.gotemplate import durations
from data_api.promql.printer import format_duration
from data_api.rules import parsing, printing
from data_api.rules.model import AlertingRule, Group, RecordingRule
from data_api.rules.parsing import Bounds, InvalidRules

UNREAD = "could not parse expression"
BRACES = "braces present in the recording rule name"
FILE = """\
groups:
- name: nodes
  interval: 1m30s
  query_offset: 10s
  limit: 5
  labels: {team: core, severity: low}
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: |
      up
        == 0
    for: 1h
    keep_firing_for: 5m
    labels: {severity: page, level: 3}
    annotations:
      summary: "{{ $labels.job }} is down"
"""
GROUP = Group(
    "f", "nodes", 90_000, 10_000, 5, {"team": "core", "severity": "low"},
    (
        RecordingRule("job:up:sum", "sum by (job) (up)"),
        AlertingRule(
            "Down", "up\n  == 0\n", 3_600_000, 300_000, {"severity": "page", "level": "3"},
            {"summary": "{{ $labels.job }} is down"},
        ),
    ),
)  # fmt: skip


def rule(text):
    return "groups:\n- name: g\n  rules:\n  - " + text.replace("\n", "\n    ")


def test_a_rule_file_is_read_as_prometheus_reads_it():
    """Every field; a group's labels are on its rules unless they say otherwise."""
    (group,) = parsing.parse_file(FILE, "f")
    assert group == GROUP
    assert [r.labels for r in group.labelled()] == [
        {"team": "core", "severity": "low"}, {"team": "core", "severity": "page", "level": "3"},
    ]  # fmt: skip
    assert parsing.parse(FILE, "f") == ([GROUP], True)
    assert parsing.parse("name: x\nrules: []\n", "f") == ([Group("f", "x")], False)
    assert parsing.parse_file("", "f") == parsing.parse_file("groups:\n", "f") == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("groups: [", "2:1: yaml: did not find expected node content"),
        ("groups: []\nrules: []", "2:1: field rules not found in a rule file"),
        ("groups: 5", "1:9: groups must be a list"),
        ("- a", "1:1: a rule file must be a mapping"),
        ("groups:\n- rules: []", "2:3: Groupname must not be empty"),
        ('groups:\n- name: "\\0"', "2:9: Groupname is too long, or has a NUL"),
        ("groups:\n- name: a\n- name: a", '3:3: groupname: "a" is repeated in the same file'),
        ("groups:\n- name: a\n  intervall: 1m",
         '3:3: group "a": field intervall not found in a rule group'),
        ("groups:\n- name: a\n  interval: 1x",
         '3:13: group "a": not a valid duration string: "1x"'),
        ("groups:\n- name: a\n  interval: 1s", '3:13: group "a": the shortest interval is 5s'),
        ("groups:\n- name: a\n  limit: -1",
         "3:10: group \"a\": limit must be a whole number, not '-1'"),
        ("groups:\n- name: a\n  labels: {__name__: x}",
         "3:11: group \"a\": invalid label name: '__name__'"),
        (rule("record: a\nalert: b\nexpr: up"),
         "4:5: group \"g\", rule 1, \"a\": only one of 'record' and 'alert' must be set"),
        (rule("expr: up"),
         "4:5: group \"g\", rule 1, \"\": one of 'record' or 'alert' must be set"),
        (rule("record: a"), "4:5: group \"g\", rule 1, \"a\": field 'expr' must be set in rule"),
        (rule("record: a\nexpr: 'sum(up'"),
         f'5:11: group "g", rule 1, "a": {UNREAD}: 1:7: parse error: unclosed left parenthesis'),
        (rule("record: a\nexpr: up\nfor: 1m"),
         "6:5: group \"g\", rule 1, \"a\": invalid field 'for' in recording rule"),
        (rule("record: a{b}\nexpr: up"),
         f'4:13: group "g", rule 1, "a{{b}}": {BRACES}; should it be in expr?: a{{b}}'),
        (rule("record: a\nexpr: up\nexpr: down"),
         '6:5: mapping key "expr" already defined, or no text'),
        (rule("alert: a\nexpr: up\nlabels: [x]"),
         '6:13: group "g", rule 1, "a": labels must be a mapping'),
        (rule('alert: a\nexpr: up\nlabels: {a: "\\ud800"}'),
         "6:20: yaml: found invalid Unicode character escape code"),
        ("a: \x01", "1:1: yaml: unacceptable character #x0001: control characters are not allowed"),
        ("[" * 5000, "1:1001: yaml: exceeded maximum nesting depth"),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_what_is_wrong_is_said_with_line_and_column(text, fault):
    """In Prometheus' words, at the field, and inside of an expression at its own place."""
    with pytest.raises(InvalidRules) as refused:
        parsing.parse_file(text, "f")
    assert str(refused.value).splitlines()[0] == fault


def test_all_faults_are_listed_up_to_a_bound():
    """Who mends one should not meet the next only then."""
    bad = "".join(f"  - {{record: r{n}, expr: '('}}\n" for n in range(100))
    with pytest.raises(InvalidRules) as refused:
        parsing.parse_file("groups:\n- name: g\n  rules:\n" + bad, "f")
    assert len(str(refused.value).splitlines()) == parsing.FAULTS_MAX


@pytest.mark.parametrize(
    ("bounds", "fault"),
    [
        (Bounds(groups=0), "2:1: 1 groups, the limit is 0"),
        (Bounds(rules=1), '8:3: group "nodes": 2 rules, the limit is 1'),
        (Bounds(text_bytes=10), f"1:1: {len(FILE)} bytes, the limit is 10"),
    ],
)
def test_bounds_say_what_there_is_and_what_may_be(bounds, fault):
    """Of groups, of rules and of bytes."""
    with pytest.raises(InvalidRules) as refused:
        parsing.parse_file(FILE, "f", bounds)
    assert str(refused.value) == fault


def test_aliases_are_read_and_count_as_what_they_stand_for():
    """A few lines cannot stand for gigabytes, nor a text for more nodes than a large file has."""
    shared = "groups:\n- {name: g, rules: [{alert: a, expr: up, labels: &l {x: y}},"
    (group,) = parsing.parse_file(shared + " {alert: b, expr: up, labels: *l}]}\n", "f")
    assert [one.labels for one in group.rules] == [{"x": "y"}] * 2
    rules = f"[&r {{alert: a, expr: up, annotations: {{x: {'y' * 50_000}}}}}" + ", *r" * 180 + "]"
    bomb = f"groups:\n- {{name: g, rules: {rules}}}\n"
    for text in (bomb, f"[{'a,' * 2**19}a]", "a: &a [*a]"):
        with pytest.raises(InvalidRules, match=r"too many nodes|its own anchor"):
            parsing.parse(text, "f")


def test_rules_that_are_there_twice_are_warned_of():
    """Same name and labels: of two series with one set of labels the last one wins."""
    groups = parsing.parse_file(FILE + FILE.partition("\n")[2].replace("nodes", "again"), "f")
    assert [text.partition(" {")[0] for text in parsing.duplicates(groups)] == [
        'group "again": duplicate rule job:up:sum', 'group "again": duplicate rule Down',
    ]  # fmt: skip


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
LABELS = st.dictionaries(TEXTS.filter(lambda name: name != "__name__"), TEXTS, max_size=3)
NAMES = TEXTS.filter(lambda name: "{" not in name and "}" not in name)
DURATIONS = st.integers(0, 10**12)
RULES = st.one_of(
    st.builds(RecordingRule, NAMES, st.sampled_from(["up", "sum(\n  up)"]), LABELS),
    st.builds(AlertingRule, NAMES, st.just("up > 0"), DURATIONS, DURATIONS, LABELS, LABELS),
)
GROUPS = st.builds(
    Group, st.just("f"), TEXTS.filter(lambda name: "\0" not in name), DURATIONS, DURATIONS,
    st.integers(0, 10**8), LABELS, st.lists(RULES, max_size=4).map(tuple),
)  # fmt: skip


@given(GROUPS)
def test_what_is_printed_is_read_back_unchanged(group):
    """Whatever texts, durations and labels there are; alone and in its namespace."""
    text = printing.group_text(group)
    assert parsing.parse(text, "f", Bounds(interval_ms_min=0)) == ([group], False)
    assert parsing.stored_group(text, "f") == group


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_or_refused(text):
    """No text breaks the reader."""
    for parse in (parsing.parse_file, parsing.parse):
        with contextlib.suppress(InvalidRules):
            parse(text, "f")


@given(DURATIONS)
def test_durations_print_and_parse(duration_ms):
    """Back to the same number of milliseconds."""
    assert durations.parse(format_duration(duration_ms)) == duration_ms
