"""Back-tests: an alert's past is what its evaluations would have made of it."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_api import promql
from data_api.errors import BadRequest
from data_api.promqltest.check import run_query
from data_api.promqltest.memory_store import MemoryStore
from data_api.promqltest.script import Series
from data_api.rules import alerting, backtest, parsing, vectors
from data_api.rules.alerting import AlertState, Phase, RuleError
from data_api.rules.model import AlertingRule
from data_api.rules.single import read_rule

MINUTE = 60_000


def store_of(**series):
    store = MemoryStore()
    for name, values in series.items():
        store.add(Series({"__name__": "up", "job": name}, [*values]), MINUTE)
    return store


def history_of(rule, store, start_ms, end_ms):
    steps = backtest.steps(rule, start_ms, end_ms, MINUTE)
    result = run_query(store, rule.expr, *steps, instant=False, options=promql.Options())
    return backtest.histories(rule, result, start_ms)


def shown(histories):
    return {
        dict(one.labels).get("job", ""): [
            (str(i.phase), i.start_ms // MINUTE, i.end_ms // MINUTE) for i in one.intervals
        ]
        for one in histories
    }


def test_intervals_meet_where_the_phase_changes():
    """Pending for `for`, then firing, kept for `keep_firing_for`; over at the evaluation that says
    so; what still runs ends with the test.
    """
    rule = AlertingRule("Down", "up == 0", for_ms=2 * MINUTE, keep_firing_for_ms=MINUTE)
    store = store_of(a=[1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0], b=[1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    assert shown(history_of(rule, store, 0, 11 * MINUTE)) == {
        "a": [("pending", 1, 3), ("firing", 3, 6), ("pending", 8, 10), ("firing", 10, 11)],
        "b": [("pending", 1, 2)],
    }


def test_what_was_pending_before_the_start_is_known():
    """The test looks `for` back, and shows nothing of it."""
    rule = AlertingRule("Down", "up == 0", for_ms=3 * MINUTE)
    store = store_of(a=[0] * 10)
    assert shown(history_of(rule, store, 5 * MINUTE, 9 * MINUTE)) == {"a": [("firing", 5, 9)]}


def test_an_alert_has_the_texts_of_when_it_was_first_seen():
    """Labels are templates too; a template asks no queries."""
    rule = AlertingRule(
        "Down",
        "up < 1",
        labels={"team": "{{ $labels.job }}-ops"},
        annotations={"was": "{{ $value }}", "also": '{{ query "up" }}'},
    )
    (alert,) = history_of(rule, store_of(a=[1, 0.5, 0, 0]), 0, 3 * MINUTE)
    assert dict(alert.labels) == {"alertname": "Down", "job": "a", "team": "a-ops"}
    texts = dict(alert.annotations)
    assert texts["was"] == "0.5"
    assert texts["also"].endswith("error calling query: a back-test asks no queries of templates>")
    assert [interval.value for interval in alert.intervals] == [0.5]


def test_a_number_is_an_alert_without_labels():
    """As an evaluation takes a scalar."""
    rule = AlertingRule("Always", "1")
    (alert,) = history_of(rule, store_of(), 0, 2 * MINUTE)
    assert dict(alert.labels) == {"alertname": "Always"}
    assert shown([alert]) == {"": [("firing", 0, 2)]}


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=25),
    for_min=st.integers(0, 4),
    keep_min=st.integers(0, 3),
)
def test_a_back_test_says_what_evaluations_one_by_one_would_have_said(values, for_min, keep_min):
    """The same state machine over instant queries, at every step."""
    rule = AlertingRule("A", "up == 0", for_min * MINUTE, keep_min * MINUTE)
    store = store_of(a=values)
    end_ms = (len(values) + 6) * MINUTE
    wanted = []
    state = AlertState()
    for at_ms in range(-for_min * MINUTE, end_ms + 1, MINUTE):
        result = run_query(
            store, rule.expr, at_ms, at_ms, 1, instant=True, options=promql.Options()
        )
        state, _, _ = alerting.step(
            rule, state, vectors.of_instant(result), at_ms, lambda text, *_: text
        )
        phases = [one.phase for one in state.alerts.values() if one.phase is not Phase.INACTIVE]
        wanted.append((at_ms, phases[0] if phases else None))
    intervals = [i for one in history_of(rule, store, 0, end_ms) for i in one.intervals]
    for at_ms, phase in wanted:
        if 0 <= at_ms < end_ms:
            at = [i.phase for i in intervals if i.start_ms <= at_ms < i.end_ms]
            assert at == ([] if phase is None else [phase]), at_ms


def test_evaluations_are_bounded():
    """Those before the start count too."""
    rule = AlertingRule("A", "up", for_ms=1000 * MINUTE)
    assert backtest.steps(rule, 0, 9_999 * MINUTE, MINUTE) == (
        -1000 * MINUTE,
        9_999 * MINUTE,
        MINUTE,
    )
    with pytest.raises(BadRequest, match="too many evaluations"):
        backtest.steps(rule, 0, 10_000 * MINUTE, MINUTE)


def test_alerts_are_bounded():
    """More at a time than a rule may have are refused, as its evaluation is."""
    store = MemoryStore()
    for n in range(backtest.ALERTS_MAX + 1):
        store.add(Series({"__name__": "up", "n": str(n)}, [0.0]), MINUTE)
    with pytest.raises(RuleError, match="exceeded limit of 1000"):
        history_of(AlertingRule("A", "up == 0"), store, 0, 0)


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("alert: A\nexpr: up ==\n", parsing.InvalidRules, "2:7: .*could not parse expression"),
        ("alert: A\nexpr: up\nfoo: 1", parsing.InvalidRules, "^3:1: .*field foo not found"),
        ("record: a\nexpr: up", BadRequest, "only an alerting rule"),
        ("alert: A\nexpr: up\n- alert: B", parsing.InvalidRules, "yaml"),
        ("[]", parsing.InvalidRules, "must be a mapping"),
        (
            "alert: A\nexpr: up\nlabels: {a: '{{ $x }}'}",
            parsing.InvalidRules,
            '^3:9: .*label "a": .*undefined variable "\\$x"',
        ),
    ],
)
def test_what_is_no_alerting_rule_says_where(text, kind, why):
    """Line and column of the text that was given."""
    with pytest.raises(kind) as refused:
        read_rule(text, AlertingRule)
    assert re.search(why, refused.value.describe())


def test_a_rule_as_it_stands_in_a_file():
    """Blocks and comments stay what they are."""
    rule = read_rule("# mine\nalert: A\nexpr: |\n  up\n\n  == 0\nfor: 5m\n", AlertingRule)
    assert (rule.expr, rule.for_ms) == ("up\n\n== 0\n", 300_000)
