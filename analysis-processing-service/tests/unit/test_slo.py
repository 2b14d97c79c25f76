"""Service level objectives: budgets, burn rates, alerts and exhaustion, against slow arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis_processing.analyses import resolved_params
from analysis_processing.analyses.block import Block
from analysis_processing.analyses.slo.run import burn, conclude, run

STEP_MS = 60_000


def judge(values, **params):
    """The one result of one series."""
    block = Block([{"job": "api"}], 0, STEP_MS, np.array([values], dtype=np.float64))
    return run(block, resolved_params("slo", params, STEP_MS), None).series[0]


def good(steps, **bad):
    """A share of good events: 1, but `share` in steps [first, end)."""
    values = np.ones(steps)
    if bad:
        values[bad["first"] : bad["end"]] = bad["share"]
    return values


def test_the_budget_spent_is_the_bad_share_over_the_allowed_one():
    """A thousandth of bad steps spends all of 99.9 %, half of 99.8 %; a gap counts for nothing."""
    values = good(1_000, first=0, end=1, share=0.0)
    assert judge(values, objective=99.9).facts["budget_left"] == pytest.approx(0.0, abs=1e-4)
    assert judge(values, objective=99.8).facts["budget_left"] == pytest.approx(0.5, abs=1e-4)
    gaps = np.concatenate((values, np.full(500, np.nan)))
    assert judge(gaps, objective=99.8).facts["budget_left"] == pytest.approx(0.5, abs=1e-4)


def test_a_latency_is_good_below_its_threshold():
    """What is at the threshold or above it is bad."""
    result = judge([0.1, 0.2, 0.5, 0.9], measure="latency", threshold=0.5, objective=50)
    assert result.facts["good"] == 0.5
    assert set(result.columns["expected"]) == {0.5}


def test_what_is_no_share_is_not_judged():
    """A series beyond 0 to 1, or without samples, has a note with its values, and nothing else."""
    assert "from 0 to 40" in judge([0.0, 40.0]).note
    assert "no samples" in judge([np.nan, np.nan]).note
    assert judge([np.inf, 1.0]).note


@given(
    bad=st.lists(st.sampled_from([0.0, 0.25, 1.0, np.nan]), min_size=1, max_size=40),
    steps=st.integers(1, 12),
)
def test_a_burn_rate_is_the_bad_share_of_its_window(bad, steps):
    """At each step it is the mean of the window's samples over the budget, by a plain loop."""
    rates = burn(np.array(bad), steps, 0.01)
    for i, rate in enumerate(rates):
        window = [one for one in bad[max(i + 1 - steps, 0) : i + 1] if not np.isnan(one)]
        if i + 1 < steps or not window:
            assert np.isnan(rate)
        else:
            assert rate == pytest.approx(np.mean(window) / 0.01)


def test_an_alert_lasts_while_both_windows_burn():
    """An outage of a quarter of an hour fires the fast pair until the short one is quiet."""
    values = good(600, first=300, end=315, share=0.0)
    findings = [one for one in judge(values).findings if "5m" in one.text]
    assert [one.kind for one in findings] == ["budget"]
    assert 300 * STEP_MS <= findings[0].start_ms <= 301 * STEP_MS
    assert 315 * STEP_MS <= findings[0].end_ms <= 320 * STEP_MS
    assert judge(values).facts["alert"] == "none"
    assert judge(values[:310]).facts["alert"] == "fast"
    assert judge(values[:310]).findings[-1].end_ms is None
    assert judge(good(600)).findings == []


def test_windows_that_the_range_does_not_hold_are_not_judged():
    """Two hours hold no window of six: its rate is unknown, and nothing fires by it."""
    facts = judge(good(120, first=0, end=120, share=0.5)).facts
    assert facts["burn_1h"] == pytest.approx(500)
    assert facts["burn_6h"] is facts["burn_3d"] is None
    hourly = Block([{}], 0, 3_600_000, np.ones((1, 200)))
    facts = run(hourly, resolved_params("slo", {}, 3_600_000), None).series[0].facts
    assert facts["burn_5m"] is None
    assert facts["burn_6h"] == 0


def test_a_steady_burn_is_gone_when_it_says():
    """Going on at the pace of the last hour for as long as foretold spends the budget exactly."""
    share, steps = 0.0005, 1_000
    facts = judge(np.full(steps, 1 - share), objective=99.9).facts
    more = facts["gone_in_ms"] / STEP_MS
    assert share * (steps + more) == pytest.approx(0.001 * steps, rel=1e-3)
    assert judge(good(100)).facts["gone_in_ms"] is None
    assert judge(np.zeros(100)).facts["gone_in_ms"] == 0


def test_a_series_is_judged_alone():
    """What a series gets does not depend on its neighbours in the chunk."""
    values = np.random.default_rng(7).uniform(0.9, 1.0, (3, 500))
    block = Block([{"n": str(n)} for n in range(3)], 0, STEP_MS, values)
    params = resolved_params("slo", {}, STEP_MS)
    together = run(block, params, None).series
    alone = [run(block.rows(n, n + 1), params, None).series[0] for n in range(3)]
    assert [(one.facts, one.findings) for one in together] == [
        (one.facts, one.findings) for one in alone
    ]


def test_the_summary_names_the_worst():
    """The sentence counts who keeps the objective and names who is worst; the table has all."""
    fine, broken = judge(good(100)), judge(good(100, first=90, end=100, share=0.0))
    summary = conclude([fine, broken, judge([np.nan])], {"objective": 99.9}, None)
    assert summary["sentence"].startswith(
        "1 of 2 series keep the objective of 99.9 %; alerts fire for 1;"
    )
    assert [row["alert"] for row in summary["objectives"]] == ["fast", "none"]
    assert "No series" in conclude([], {"objective": 99.9}, None)["sentence"]
