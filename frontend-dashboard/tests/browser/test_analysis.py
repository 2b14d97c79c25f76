"""Analysis: a job from its form to its episodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from contract import State
    from page import Open


def test_an_analysis_runs_and_is_drawn(open_page: Open, state: State) -> None:
    """From the form through its progress to the chart and the list of episodes."""
    page = open_page("#/analysis?new=1&q=node_load1&from=now-6h&to=now")
    expect(page.get_by_role("heading", name="Anomaly detection")).to_be_visible()
    expect(page.get_by_label("Query")).to_have_value("node_load1")
    page.get_by_label("Sensitivity").fill("0.7")
    state.job_seconds = 600
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".job-detail progress")).to_be_visible()
    state.job_seconds = 0.1
    expect(page.locator(".job-detail .pill")).to_have_text("succeeded")
    expect(page.locator(".job-detail coh-chart canvas")).to_be_visible()
    expect(page.get_by_role("heading", name="Episodes")).to_be_visible()
    expect(page.locator(".analysis-main table tbody tr")).to_have_count(4)
    expect(page.locator(".result-facts")).to_contain_text("4 episodes")
    sent = json.loads(
        next(
            request.body
            for request in state.asked("aps", "/api/v1/jobs")
            if request.method == "POST"
        )
    )
    assert sent["kind"] == "anomaly"
    assert sent["params"] == {
        "sensitivity": 0.7,
        "season": "auto",
        "direction": "both",
        "write_back": True,
    }
    assert (sent["end_ms"] - sent["start_ms"]) == 6 * 3_600_000
    assert sent["start_ms"] % sent["step_ms"] == 0


def test_a_running_analysis_is_cancelled_and_run_again(open_page: Open, state: State) -> None:
    """Cancel ends it, Run again starts it, a failure tells its reason."""
    state.job_seconds = 60
    page = open_page("#/analysis?new=1&q=node_load1")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".job-detail .pill")).to_have_text("cancelled")
    state.job_seconds = 0.5
    page.get_by_role("button", name="Run again").click()
    expect(page.locator(".job-detail .pill")).to_have_text("succeeded")
    page.evaluate("location.hash = '#/analysis?new=1&q=fails'")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".job-detail")).to_contain_text("the query matched 0 series")
