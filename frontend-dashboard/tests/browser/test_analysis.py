"""Analysis: a job of any kind from its form to what it says."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import analyses
from page import until
from playwright.sync_api import expect

if TYPE_CHECKING:
    from contract import State
    from page import Open

DAY_MS = 86_400_000
STEP_MS = 300_000


def posted(state: State) -> dict[str, Any]:
    """The newest job that was asked for."""
    jobs = [one for one in state.asked("aps", "/api/v1/jobs") if one.method == "POST"]
    body: dict[str, Any] = json.loads(jobs[-1].body)
    return body


def finished(state: State, kind: str, **wanted: Any) -> None:
    """There is a finished job of this kind, named by it."""
    state.job_seconds = 0.001
    asked = {"query": "node_load1", "start_ms": 0, "end_ms": DAY_MS, "step_ms": STEP_MS}
    state.jobs[kind] = {**analyses.new_job({**asked, "kind": kind, **wanted}), "id": kind}


def test_an_analysis_runs_and_is_drawn(open_page: Open, state: State) -> None:
    """From the form through its progress to the chart and the series by score."""
    page = open_page("#/analysis?new=1&q=node_load1&from=now-6h&to=now")
    expect(page.get_by_role("heading", name="Anomaly detection")).to_be_visible()
    expect(page.get_by_label("Query")).to_have_value("node_load1")
    page.get_by_label("Sensitivity").fill("0.7")
    state.job_seconds = 600
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".analysis-main progress")).to_be_visible()
    state.job_seconds = 0.1
    expect(page.locator(".analysis-main .pill")).to_have_text("succeeded")
    expect(page.locator(".analysis-main coh-chart canvas")).to_be_visible()
    expect(page.get_by_text("58 of 60 series judged")).to_be_visible()
    expect(page.get_by_text("2: fewer than 64 samples")).to_be_visible()
    expect(page.locator(".job-sentence")).to_have_text("30 of 60 series were unusual.")
    sent = posted(state)
    assert sent["kind"] == "anomaly"
    assert sent["params"] == {
        "sensitivity": 0.7,
        "season": "auto",
        "direction": "both",
        "write_back": True,
        "warm_up": 64,
    }
    assert (sent["end_ms"] - sent["start_ms"]) == 6 * 3_600_000
    assert sent["start_ms"] % sent["step_ms"] == 0


def test_each_kind_has_the_form_that_aps_describes(open_page: Open, state: State) -> None:
    """The kind is in the URL; what is typed is sent as its type, and what is not is left out."""
    page = open_page("#/analysis?new=1&q=up")
    page.get_by_role("combobox", name="Analysis").select_option("What changed")
    expect(page.get_by_role("heading", name="What changed")).to_be_visible()
    until(page, "location.hash.includes('kind=changes')")
    page.reload()
    expect(page.get_by_label("Group by")).to_have_value("zone")
    page.get_by_label("Group by").fill("zone, service")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".analysis-main .pill")).to_be_visible()
    assert (posted(state)["kind"], posted(state)["params"]) == (
        "changes",
        {"group_by": ["zone", "service"]},
    )


def test_a_bad_query_is_told_where_it_is_bad(open_page: Open) -> None:
    """The form stays, the place is marked at the query, and the focus is in it."""
    page = open_page("#/analysis?new=1&q=bad(up)")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("form mark")).to_have_text("bad")
    expect(page.get_by_label("Query")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("unknown function")


def test_a_running_analysis_is_cancelled_and_run_again(open_page: Open, state: State) -> None:
    """Cancel ends it, Run again starts it, a failure tells its reason; without events, too."""
    for streams in (True, False):
        state.streams = streams
        state.job_seconds = 600
        page = open_page("#/analysis?new=1&q=node_load1")
        page.get_by_role("button", name="Start").click()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".analysis-main .pill")).to_have_text("cancelled")
        state.job_seconds = 0.5
        page.get_by_role("button", name="Run again").click()
        expect(page.locator(".analysis-main .pill")).to_have_text("succeeded")
        page.evaluate("location.hash = '#/analysis?new=1&q=fails'")
        page.get_by_role("button", name="Start").click()
        expect(page.locator(".analysis-main")).to_contain_text("the query matched 0 series")


def test_a_result_comes_a_page_at_a_time(open_page: Open, state: State) -> None:
    """The page asks for no column but those of the series that is chosen, which its URL names."""
    finished(state, "anomaly")
    page = open_page("#/analysis/anomaly")
    rows = page.locator(".analysis-main section").last.locator("tbody tr")
    expect(rows).to_have_count(25)
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="/r40", exact=True).click()
    expect(page.get_by_role("heading", name='{route="/r40", service="das"}')).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name='{route="/r40", service="das"}')).to_be_visible()
    page.get_by_label("with findings only").check()
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(analyses.WITH_FINDINGS)
    for request in state.asked("aps", "/api/v1/jobs/anomaly/result"):
        assert ("series" in request.query) == (request.query["columns"] == ["true"])


def test_findings_are_marked_and_read_on_the_chart(open_page: Open, state: State) -> None:
    """Arrow keys tell the text of a finding where it is; a table lists all of the series."""
    finished(state, "anomaly")
    page = open_page("#/analysis/anomaly")
    chart = page.locator(".analysis-main coh-chart")
    expect(chart.locator("canvas")).to_be_visible()
    expect(page.get_by_role("cell", name="A quarter of what was expected.").first).to_be_visible()
    chart.focus()
    page.keyboard.press("End")
    expect(chart.locator("[aria-live]")).to_contain_text("A quarter of what was expected.")


def test_what_a_kind_adds_is_drawn_as_tables(open_page: Open, state: State) -> None:
    """Ten rows at once; a forecast has two bands, and what was before it."""
    finished(state, "forecast")
    page = open_page("#/analysis/forecast")
    soonest = page.locator(".result-tables section")
    expect(soonest.get_by_role("heading")).to_have_text("Soonest to be full")
    expect(soonest.locator("tbody tr:visible")).to_have_count(10)
    soonest.get_by_text("2 more").click()
    expect(soonest.locator("tbody tr:visible")).to_have_count(12)
    expect(page.locator(".chart-key")).to_contain_text("inner band")
    expect(page.locator(".chart-key")).to_contain_text("value")


def test_jobs_are_filtered_computed_again_and_deleted(open_page: Open, state: State) -> None:
    """The list keeps to its filters, also when one of its jobs is opened."""
    finished(state, "anomaly")
    finished(state, "forecast")
    page = open_page("#/analysis")
    expect(page.locator(".job")).to_have_count(2)
    page.get_by_label("Kind").select_option("Forecast")
    expect(page.locator(".job")).to_have_count(1)
    page.locator(".job").click()
    until(page, "location.hash.includes('of=forecast')")
    expect(page.get_by_role("heading", name="Forecast")).to_be_visible()
    with page.expect_download() as csv:
        page.get_by_role("button", name="Download").click()
        page.get_by_role("button", name="CSV").click()
    assert csv.value.suggested_filename == "analysis.csv"
    page.get_by_role("button", name="Compute again").click()
    page.wait_for_url(re.compile(r"#/analysis/[0-9a-f-]{36}"))
    assert posted(state)["force"] is True
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    until(page, "location.hash === '#/analysis'")
    expect(page.locator(".job")).to_have_count(2)
