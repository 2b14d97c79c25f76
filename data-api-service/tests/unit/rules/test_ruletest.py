"""`python -m data_api.ruletest`: rules are tested in promtool's format."""

import pytest

from data_api.ruletest.__main__ import main

RULES = """
groups:
- name: hosts
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: up == 0
    for: 2m
    labels: {severity: page, site: '{{ $externalLabels.site }}'}
    annotations:
      summary: >-
        {{ $labels.instance }} is {{ $value }},
        {{ with query "job:up:sum" }}{{ . | first | value }} up{{ end }}
      link: '{{ $externalURL }}'
  - alert: Few
    expr: job:up:sum < 2
    keep_firing_for: 1m
"""

SUITE = """
rule_files: [rules*.yaml]
evaluation_interval: 1m
tests:
- name: one goes
  interval: 1m
  input_series:
  - {series: 'up{job="a", instance="x"}', values: '1 1 0x5 1'}
  - {series: 'up{job="a", instance="y"}', values: '1x9'}
  external_labels: {site: eu}
  external_url: http://hub
  alert_rule_test:
  - {eval_time: 3m, alertname: Down}
  - eval_time: 4m30s
    alertname: Down
    exp_alerts:
    - exp_labels: {job: a, instance: x, severity: page, site: eu}
      exp_annotations: {summary: 'x is 0, 1 up', link: 'http://hub'}
  - {eval_time: 9m, alertname: Down}
  - eval_time: 8m
    alertname: Few
    exp_alerts: [{exp_labels: {job: a}}]
  - {eval_time: 9m, alertname: Few}
  promql_expr_test:
  - expr: job:up:sum
    eval_time: 2m
    exp_samples: [{labels: 'job:up:sum{job="a"}', value: 1}]
  - expr: count(ALERTS{alertname="Down", alertstate="firing"} offset 30s)
    eval_time: 4m30s
    exp_samples: [{value: 1}]
  - {expr: ALERTS, eval_time: 20m}
  - expr: 1 + 1
    eval_time: 0
    exp_samples: [{labels: '{}', value: 2}]
"""


LABELS = '{alertname="Down", instance="x", job="a", severity="page", site="eu"}'


@pytest.fixture
def write(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)

    def write(text):
        path = tmp_path / "tests.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_rules_that_do_what_is_wanted_succeed(write, capsys):
    """Recording rules, `for`, `keep_firing_for`, templates, external labels; between evaluations
    an alert is what the last one made it; `0x5` is six zeros.
    """
    assert main([write(SUITE)]) == 0
    assert capsys.readouterr().out.endswith("tests.yaml\n  SUCCESS\n\n")


def test_what_differs_is_shown_as_promtool_shows_it(write, capsys):
    """The alert's name and time, what was wanted and what came; then the exit code is 1."""
    suite = SUITE.replace("summary: 'x is 0, 1 up'", "summary: x").replace("value: 2", "value: 3")
    assert main([write(suite)]) == 1
    assert capsys.readouterr().out.split("\n", 1)[1] == (
        "  FAILED:\n"
        "    name: one goes,\n"
        "    alertname: Down, time: 4m30s, \n"
        "        exp:[\n"
        "            0:\n"
        f"              Labels:{LABELS}\n"
        '              Annotations:{link="http://hub", summary="x"}\n'
        "            ], \n"
        "        got:[\n"
        "            0:\n"
        f"              Labels:{LABELS}\n"
        '              Annotations:{link="http://hub", summary="x is 0, 1 up"}\n'
        "            ]\n"
        "    name: one goes,\n"
        '    expr: "1 + 1", time: 0s,\n'
        "        exp: [{} 3E+00]\n"
        "        got: [{} 2E+00]\n\n"
    )


def test_values_are_exact_unless_fuzzy(write):
    """0.1 + 0.2 is not 0.3, but near it."""
    one = "{expr: 0.1 + 0.2, eval_time: 0, exp_samples: [{value: 0.3}]}"
    test = f"tests: [{{promql_expr_test: [{one}]}}]"
    assert main([write(test)]) == 1
    assert main([write(f"fuzzy_compare: true\n{test}")]) == 0


def test_a_rule_that_cannot_be_evaluated_fails_its_test(write, tmp_path, capsys):
    """As an evaluator would only log it."""
    (tmp_path / "rules.yaml").write_text(
        "groups: [{name: g, rules: [{alert: A, expr: 'up * on () group_left up'}]}]"
    )
    series = (
        "input_series: [{series: 'up{a=\"1\"}', values: 1}, {series: 'up{a=\"2\"}', values: 1}]"
    )
    alert = "alert_rule_test: [{eval_time: 0, alertname: A}]"
    assert main([write(f"rule_files: [rules.yaml]\ntests: [{{{series}, {alert}}}]")]) == 1
    assert "rule: A, time: 0s, err: " in capsys.readouterr().out


def test_groups_are_evaluated_in_the_order_given(write, tmp_path):
    """A group that reads what another one writes comes after it."""
    (tmp_path / "rules.yaml").write_text(
        "groups: [{name: b, rules: [{record: y, expr: x}]},"
        " {name: a, rules: [{record: x, expr: '1'}]}]"
    )
    one = "{expr: y, eval_time: 0, exp_samples: [{labels: y, value: 1}]}"
    test = f"tests: [{{promql_expr_test: [{one}]}}]"
    assert main([write(f"rule_files: [rules.yaml]\n{test}")]) == 1
    assert main([write(f"rule_files: [rules.yaml]\ngroup_eval_order: [a, b]\n{test}")]) == 0


def test_times_begin_where_the_test_says(write):
    """`start_timestamp`: series, evaluations and `time()`."""
    test = (
        "tests: [{start_timestamp: '2026-01-01T00:00:00Z', input_series: [{series: x, values: 5}],"
        " promql_expr_test: [{expr: 'x + 0 * time()', eval_time: 1m, exp_samples: [{value: 5}]},"
        " {expr: time(), eval_time: 1m, exp_samples: [{value: 1767225660}]}]}]"
    )
    assert main([write(test)]) == 0


def test_only_some_tests_run(write):
    """`--run` is a pattern of names."""
    suite = SUITE.replace("value: 2", "value: 3")
    assert main([write(suite), "--run", "another"]) == 0
    assert main([write(suite), "--run", "^one"]) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rule_files: [none.yaml]", "no rule file none.yaml"),
        ("tests: [{inputs: []}]", "tests.0.inputs: Extra inputs"),
        (
            "tests: [{alert_rule_test: [{eval_time: 1x, alertname: A}]}]",
            "tests.0.alert_rule_test.0.eval_time: Value error, not a valid duration",
        ),
        (
            "tests: [{alert_rule_test: [{eval_time: 1m}]}]",
            "tests.0.alert_rule_test.0.alertname: Field required",
        ),
        (
            "tests: [{input_series: [{series: 'up{', values: 1}]}]",
            "tests.0.input_series.0.series: Value error, no end of the labels",
        ),
        (
            "tests: [{input_series: [{series: 'up', values: '1 y'}]}]",
            "tests.0.input_series.0.values: ",
        ),
        (
            "tests: [{input_series: [{series: h, values: '{{counter_reset_hint:none}}'}]}]",
            "tests.0.input_series.0.values: Value error, no histogram",
        ),
        (
            "tests: [{input_series: [{series: h, values: '{{bukets:[1]}}'}]}]",
            "tests.0.input_series.0.values: Value error, no histogram",
        ),
        ("group_eval_order: [none]", "no group none"),
        ("evaluation_interval: 0s", "evaluation_interval: "),
        ("tests: [", "tests.yaml"),
        ("[a]", "valid dictionary"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(write, capsys, text, why):
    """2, and the place in the file."""
    assert main([write(text)]) == 2
    assert why in capsys.readouterr().err
