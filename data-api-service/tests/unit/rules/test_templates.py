"""Texts of alerts and the queries that they ask."""

import contextlib
import threading
from functools import partial

import pytest

from data_api import gotemplate
from data_api.errors import QueryTimeout
from data_api.gotemplate.errors import CallFailed
from data_api.rules import parsing, templates
from data_api.rules.evaluation import Answer, Plan, World
from data_api.rules.model import AlertingRule, Group
from data_api.rules.state import GroupState

VECTOR = [({"job": "a"}, 1.0), ({"job": "b"}, 2.0)]


class Answers:
    """What is asked, each with one series whose value is the number of its characters."""

    def __init__(self):
        self.asked = []

    async def __call__(self, texts, at_ms):
        self.asked.append((list(texts), at_ms))
        return [
            QueryTimeout(timeout_s=1) if text == "slow" else [({"q": text}, float(len(text)))]
            for text in texts
        ]


async def prepared(*texts, vector=VECTOR):
    rule = AlertingRule("A", "up", annotations={str(n): text for n, text in enumerate(texts)})
    ask = Answers()
    expand = await templates.prepared(
        rule, vector, 60_000, ask=ask, external_url="http://hub", external_labels={}
    )
    return ask, [[expand(text, *sample) for sample in vector] for text in texts]


async def test_texts_that_ask_nothing_cost_no_query():
    """Labels, value and the page of the hub are there."""
    ask, texts = await prepared("{{ $labels.job }} {{ $value }} {{ $externalURL }}")
    assert texts == [["a 1 http://hub", "b 2 http://hub"]]
    assert ask.asked == []


async def test_queries_of_all_series_are_asked_at_once_and_once():
    """At the evaluation's time."""
    ask, texts = await prepared(
        '{{ query "up" | first | value }}', "{{ query $labels.job | first | value }}"
    )
    assert texts == [["2", "2"], ["1", "1"]]
    assert ask.asked == [(["up", "a", "b"], 60_000)]


async def test_a_query_may_be_made_of_the_answer_of_another():
    """In as many rounds as that takes, up to a bound."""
    ask, texts = await prepared(
        '{{ $q := query "x" | first | label "q" }}{{ query (print $q "yz") | first | value }}'
    )
    assert texts == [["3", "3"]]
    assert [asked for asked, _ in ask.asked] == [["x"], ["xyz"]]


async def test_a_query_that_fails_is_said_by_the_text():
    """The alert is told of all the same."""
    _, [[text, _]] = await prepared('{{ query "slow" | first | value }}')
    assert text.startswith("<error expanding template: ")
    assert "query timed out" in text


async def test_queries_of_a_rule_are_bounded():
    """The first are answered, and the others' texts say why not."""
    vector = [({"job": f"j{n}"}, 0.0) for n in range(templates.QUERIES_MAX + 1)]
    ask, [texts] = await prepared("{{ query $labels.job | first | value }}", vector=vector)
    assert sum(len(asked) for asked, _ in ask.asked) == templates.QUERIES_MAX
    assert texts[: templates.QUERIES_MAX] == [str(len(one["job"])) for one, _ in vector][:-1]
    assert "more than 50 queries" in texts[-1]


async def test_all_texts_of_a_rule_have_one_allowance():
    """Ten thousand alerts of a costly template do not hold up the others' rules."""
    allowance = gotemplate.Allowance(1000, 10_000)
    texts = templates.Texts("A", gotemplate.QueryResult.of, allowance=allowance)
    costly = "{{ range 90 }}{{ . }}{{ end }}"
    done = [texts.expand(costly, {}, 0.0).startswith("012") for _ in range(10)]
    assert True in done
    assert done[-1] is False
    assert "the texts of the rule did or wrote more" in texts.expand(costly, {}, 0.0)


async def test_all_texts_of_a_rule_may_write_so_much():
    """However few steps that takes: they are kept as long as the alerts."""
    long = "{{ 1 }}" + "x" * 60_000
    _, texts = await prepared(*[long] * 100)
    written = [text for pair in texts for text in pair if text.endswith("x")]
    assert written
    assert sum(map(len, written)) <= templates.CHARS_MAX
    assert "wrote more than they may in all" in texts[-1][-1]


def test_texts_end_with_the_evaluation():
    """A group of costly templates gives its place to others in time."""
    texts = templates.Texts("A", gotemplate.QueryResult.of, ends_s=0.0)
    assert texts.expand("{{ range 9 }}{{ end }}", {}, 0.0) == templates.LATE


async def test_templates_run_beside_the_event_loop(monkeypatch):
    """One tenant's texts do not hold up the leases and the evaluations of all."""
    threads = []

    def expand_alert(_text, _data, query, **__):
        threads.append(threading.get_ident())
        with contextlib.suppress(CallFailed):
            query("up")
        return ""

    async def nothing(*_):
        return None

    async def vector(*_):
        return [Answer(VECTOR)]

    monkeypatch.setattr(gotemplate, "expand_alert", expand_alert)
    rule = AlertingRule("A", "up", annotations={"a": "{{ query }}"})
    texts = partial(templates.prepared, ask=Answers(), external_url="", external_labels={})
    world = World(vector, nothing, nothing, texts, str, 1000)
    await Plan(Group("n", "g", rules=(rule,)), 60_000, 10).evaluated(GroupState(), None, 0, world)
    assert len(threads) >= 2 * len(VECTOR)
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_a_rule_file_with_a_bad_template_is_refused(field):
    """Where it stands, in Prometheus's words; a recording rule's labels are no templates."""
    what = field.removesuffix("s")
    rule = (
        f"groups: [{{name: g, rules: [{{alert: A, expr: up,\n {field}: {{x: '{{{{ $y }}}}'}}}}]}}]"
    )
    with pytest.raises(parsing.InvalidRules) as refused:
        parsing.parse_file(rule, "f")
    wanted = f'{what} "x": template: __alert_A:1: undefined variable "$y"'
    (fault,) = refused.value.facts["faults"]
    assert (fault.line, fault.text) == (2, f'group "g", rule 1, "A": {wanted}')
    record = "groups: [{name: g, rules: [{record: a, expr: up, labels: {x: '{{ $y }}'}}]}]"
    assert parsing.parse_file(record, "f")
