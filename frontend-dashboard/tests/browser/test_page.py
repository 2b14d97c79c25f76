"""The page as a person uses it: real chromium, real nginx, contract-shaped answers behind it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from page import Open, drag, hold, query_texts, until, wait_for
from playwright.sync_api import Route, expect

if TYPE_CHECKING:
    from contract import State

# -- the ways in


def test_a_session_that_ends_asks_to_sign_in_again(open_page: Open, state: State) -> None:
    """A token refused twice leads to the sign-in page, and back to the same view."""
    page = open_page("#/explore?q=up")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    state.signed_in, state.refuse_tokens = False, 99
    page.keyboard.press("r")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    state.refuse_tokens = 0
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("textbox", name="Query")).to_have_value("up")


def test_one_revoked_token_is_not_noticed(open_page: Open, state: State) -> None:
    """A revoked token is replaced and the panel fills; nobody is sent away."""
    state.revoked_token = 1
    page = open_page("#/explore?q=up")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    assert state.tokens_made > 1
    expect(page.get_by_role("heading", name="Sign in")).to_have_count(0)


# -- a start that does not go well


def test_a_start_that_lost_a_module_is_tried_again(open_page: Open) -> None:
    """A request dropped on the way costs a moment and leaves nothing behind."""
    page = open_page("#/overview")
    dropped: list[str] = []

    def drop_twice(route: Route) -> None:
        if len(dropped) < 2:
            dropped.append(route.request.url)
            route.abort("connectionfailed")
        else:
            route.continue_()

    page.route("**/assets/elements/chart.*.js", drop_twice)
    page.reload()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert len(dropped) == 2
    assert page.evaluate("history.state") is None


def test_a_start_that_keeps_failing_says_so(open_page: Open) -> None:
    """After its tries the page says what is wrong; the button starts it where one wanted to be."""
    page = open_page("#/explore?q=up")
    starts: list[str] = []
    page.on(
        "request",
        lambda request: starts.append(request.url) if request.is_navigation_request() else None,
    )
    page.route("**/assets/elements/chart.*.js", lambda route: route.abort("connectionfailed"))
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("CloudOpsHub did not start")
    assert len(starts) == 5
    page.unroute("**/assets/elements/chart.*.js")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("textbox", name="Query")).to_have_value("up")


def test_a_start_that_hangs_says_so_and_goes_on(open_page: Open) -> None:
    """A module that does not come is told after a while, and still welcome when it does."""
    page = open_page("#/overview")
    held: list[Route] = []
    page.clock.install()
    page.route("**/assets/elements/chart.*.js", hold(held))
    page.reload(wait_until="commit")
    expect(page.locator(".boot")).to_be_visible()
    page.clock.run_for(20_000)
    expect(page.get_by_role("alert")).to_contain_text("It takes very long to load")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    held[0].continue_()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_a_lost_style_sheet_is_asked_for_again(open_page: Open) -> None:
    """The page does not stay bare."""
    page = open_page("#/overview")
    dropped: list[str] = []

    def drop_once(route: Route) -> None:
        if dropped:
            route.continue_()
        else:
            dropped.append(route.request.url)
            route.abort("connectionfailed")

    page.route("**/assets/styles/*.css", drop_once)
    page.reload()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    until(page, "getComputedStyle(document.body).marginTop === '0px'")
    assert dropped


# -- overview


def test_the_overview_is_live(open_page: Open, state: State) -> None:
    """Health, numbers and charts are there at once, and are asked for again by themselves."""
    page = open_page("#/overview")
    expect(page.get_by_text("Everything is up")).to_be_visible()
    expect(page.locator("coh-health-strip .health-card[data-state=up]")).to_have_count(6)
    expect(page.locator("coh-stat-tile").first).not_to_contain_text("–")
    expect(page.locator("coh-panel canvas").first).to_be_visible()
    expect(page.locator(".live")).to_have_text("Live")
    before = len(query_texts(state))
    wait_for(lambda: len(query_texts(state)) > before + 6, "no refresh came")


def test_only_panels_that_can_be_seen_ask(open_page: Open, state: State) -> None:
    """A panel below the window asks once it is scrolled to."""
    page = open_page("#/overview", height=700)
    expect(page.locator("coh-panel canvas").first).to_be_visible()
    expect(page.locator("coh-panel").last.locator("canvas")).to_have_count(0)
    assert not any("node_network" in text for text in query_texts(state))
    page.locator("coh-panel").last.scroll_into_view_if_needed()
    wait_for(
        lambda: any("node_network" in text for text in query_texts(state)), "the panel never asked"
    )


HIDE = """(value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_hidden_page_rests(open_page: Open, state: State) -> None:
    """Nothing is asked while the tab is hidden; coming back asks at once."""
    page = open_page("#/explore?q=up&refresh=5")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    page.evaluate(HIDE, True)
    expect(page.locator(".live")).to_have_text("Paused")
    before = len(query_texts(state))
    page.wait_for_timeout(5500)  # longer than the refresh of 5 s: the law is that nothing happens
    assert len(query_texts(state)) == before
    page.evaluate(HIDE, False)
    wait_for(lambda: len(query_texts(state)) > before, "nothing was asked on return")


def test_a_panel_fails_alone(open_page: Open, state: State) -> None:
    """An unreachable das is told in the panels, the frame stays, and trying again works."""
    state.down.add("das")
    page = open_page("#/overview")
    expect(page.locator("coh-panel .state-failed").first).to_contain_text(
        "das is down for the test"
    )
    state.down.clear()
    page.locator("coh-panel").first.get_by_role("button", name="Try again").click()
    expect(page.locator("coh-panel").first.locator(".legend-entry").first).to_be_visible()


def test_a_failed_refresh_keeps_what_was_there(open_page: Open, state: State) -> None:
    """The lines stay and a note says that they are not fresh."""
    page = open_page("#/explore?q=up")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    state.down.add("das")
    page.keyboard.press("r")
    expect(page.locator(".panel-note")).to_contain_text("not refreshed since")
    expect(page.locator(".live")).to_contain_text("Not refreshed since")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)


# -- charts and ranges


def test_a_drag_zooms_the_page_and_backspace_returns(open_page: Open) -> None:
    """The range of the drag goes into the URL, the page stops refreshing, Backspace brings the
    range before back.
    """
    page = open_page("#/explore?q=up")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    drag(page, "coh-panel", 0.25, 0.5)
    until(page, "/from=\\d{13}/.test(location.hash)")
    expect(page.locator(".live")).to_have_text("Paused")
    params = page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.split('?')[1]))")
    length_s = (int(params["to"]) - int(params["from"])) / 1000
    assert 0.2 * 3600 < length_s < 0.3 * 3600
    page.keyboard.press("Backspace")
    until(page, "!location.hash.includes('from=')")
    expect(page.locator(".live")).to_have_text("Live")


def test_the_browsers_back_returns_to_the_range_before(open_page: Open) -> None:
    """A zoom is a step in the browser's history."""
    page = open_page("#/explore?q=up")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    page.keyboard.press("-")
    until(page, "location.hash.includes('from=')")
    page.go_back()
    until(page, "!location.hash.includes('from=')")
    expect(page.locator(".range-label")).to_have_text("Last 1 hour")


def test_one_cursor_across_charts(open_page: Open) -> None:
    """The pointer over one chart shows its time on the others, with a tooltip only where it is."""
    page = open_page("#/overview", height=1000)
    panels = page.locator("coh-panel")
    expect(panels.nth(3).locator("canvas")).to_be_visible()
    expect(panels.nth(3).locator(".legend-entry").first).to_be_visible()
    box = panels.nth(0).locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    expect(panels.nth(0).locator(".chart-tip")).to_be_visible()
    expect(panels.nth(3).locator(".chart-tip")).to_be_hidden()
    other = panels.nth(3).locator(".u-cursor-x")
    expect(other).not_to_have_class(re.compile("u-off"))
    page.mouse.move(5, 5)
    expect(panels.nth(0).locator(".chart-tip")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 640, 1440])
def test_the_time_picker_is_inside_of_the_window(open_page: Open, width: int) -> None:
    """At every width the whole picker can be reached; Esc closes it and gives the focus back."""
    page = open_page("#/explore?q=up", width=width)
    page.locator("coh-range-bar .popover-host > button").click()
    page.get_by_label("From").wait_for()
    box = page.locator("coh-range-bar .popover").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["y"] >= 0
    page.keyboard.press("Escape")
    expect(page.locator("coh-range-bar .popover")).to_be_hidden()
    until(page, "document.activeElement.matches('coh-range-bar .popover-host > button')")


def test_a_range_is_typed(open_page: Open) -> None:
    """Relative and fixed bounds are taken, nonsense is told in place."""
    page = open_page("#/explore?q=up")
    page.locator("coh-range-bar .popover-host > button").click()
    page.get_by_label("From", exact=True).fill("gestern")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("The start cannot be read.")).to_be_visible()
    page.get_by_label("From", exact=True).fill("now-2d/d")
    page.get_by_label("To", exact=True).fill("now-1d/d")
    page.get_by_role("button", name="Apply").click()
    until(page, "decodeURIComponent(location.hash).includes('from=now-2d/d')")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard")).to_have_count(0)


# -- explore


def test_a_metric_is_found_filtered_and_broken_down(open_page: Open, state: State) -> None:
    """Choosing builds the query one would write; the URL holds the choices."""
    page = open_page("#/explore")
    expect(page.get_by_text("Choose a metric or write a query")).to_be_visible()
    page.get_by_role("combobox", name="Metric").fill("cpu sec")
    page.get_by_role("option", name=re.compile("node_cpu_seconds_total")).click()
    expect(page.get_by_role("textbox", name="Query")).to_have_value(
        "rate(node_cpu_seconds_total[$__rate_interval])"
    )
    expect(page.locator(".metric-about")).to_contain_text("Seconds the CPUs spent in each mode.")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("combobox", name="Label").fill("mode")
    page.get_by_role("combobox", name="Label").press("Enter")
    page.get_by_role("combobox", name="Value").fill("user")
    page.get_by_role("combobox", name="Value").press("Enter")
    expect(page.get_by_role("textbox", name="Query")).to_have_value(
        'rate(node_cpu_seconds_total{mode="user"}[$__rate_interval])'
    )
    page.get_by_role("combobox", name="Break down by").fill("mode")
    page.get_by_role("combobox", name="Break down by").press("Enter")
    expect(page.get_by_role("textbox", name="Query")).to_have_value(
        'sum by (mode) (rate(node_cpu_seconds_total{mode="user"}[$__rate_interval]))'
    )
    expect(page.locator("coh-legend tbody tr")).to_have_count(4)
    assert any("%5B60s%5D" in text for text in query_texts(state))
    page.reload()
    expect(page.get_by_role("combobox", name="Metric")).to_have_value("node_cpu_seconds_total")
    expect(page.get_by_role("combobox", name="Value")).to_have_value("user")


LABELS = re.compile(r"/labels\?match")


@pytest.mark.parametrize("leaves", [False, True])
def test_a_choice_made_before_its_list_came_counts(open_page: Open, *, leaves: bool) -> None:
    """Enter on a list that is still loading is kept until the answer is there, also when the person
    goes on to something else.
    """
    page = open_page("#/explore?q=node_load1&m=node_load1")
    held: list[Route] = []
    page.route(LABELS, hold(held))
    by = page.get_by_role("combobox", name="Break down by")
    with page.expect_request(LABELS):
        by.fill("mode")
    by.press("Enter")
    if leaves:
        page.get_by_role("textbox", name="Query").focus()
    expect(by).to_have_value("mode")
    assert len(held) == 1
    held[0].continue_()
    expect(page.get_by_role("textbox", name="Query")).to_have_value("avg by (mode) (node_load1)")
    until(page, "location.hash.includes('by=mode')")


def test_a_list_that_comes_late_takes_nothing_back(open_page: Open) -> None:
    """What was entered on a slow list gives way to what was chosen after it."""
    page = open_page("#/explore?q=node_load1&m=node_load1")
    held: list[Route] = []
    page.route(LABELS, hold(held), times=1)
    by = page.get_by_role("combobox", name="Break down by")
    with page.expect_request(LABELS):
        by.fill("mode")
    by.press("Enter")
    page.get_by_role("button", name="Filter").click()
    by.fill("instance")
    page.get_by_role("option", name="instance").click()
    until(page, "location.hash.includes('by=instance')")
    with page.expect_response(LABELS):
        held[0].continue_()
    expect(by).to_have_value("instance")
    until(page, "location.hash.includes('by=instance')")


def test_an_error_shows_its_place_in_the_query(open_page: Open) -> None:
    """The server's words, and the part of the query they are about, marked."""
    page = open_page()
    page.evaluate("location.hash = '#/explore?q=' + encodeURIComponent('1 + bad(up)')")
    expect(page.locator(".state-failed")).to_contain_text('unknown function with name "bad"')
    expect(page.locator(".marked-query mark")).to_have_text("bad")


def test_no_samples_is_said(open_page: Open) -> None:
    """An empty answer is no error and no empty frame."""
    page = open_page("#/explore?q=nothing_here")
    expect(page.get_by_text("No samples in this range")).to_be_visible()


def test_no_answer_stands_under_another_query(open_page: Open, state: State) -> None:
    """Once another query is run, the figures of the one before are gone, also while it is slow."""
    state.query_delay_s["node_load1"] = 3
    page = open_page("#/explore?q=up")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    page.locator(".query-box").fill("node_load1")
    page.get_by_role("button", name="Run", exact=True).click()
    assert page.locator("coh-legend tbody tr:visible").count() == 0
    expect(page.locator("coh-legend tbody tr")).to_have_count(1)


def test_a_late_answer_never_overwrites_a_newer_one(open_page: Open, state: State) -> None:
    """A slow first query that answers after a quick second one changes nothing."""
    state.query_delay_s["node_load1"] = 1.5
    page = open_page("#/explore?q=node_load1")
    wait_for(
        lambda: any("node_load1" in text for text in query_texts(state)),
        "the slow query was not sent",
    )
    box = page.get_by_role("textbox", name="Query")
    box.fill("up")
    box.press("Enter")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    page.wait_for_timeout(1800)  # past the slow answer: the law is that nothing changes
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)


def test_the_legend_isolates_filters_and_caps(open_page: Open) -> None:
    """431 series are 20 rows until asked for; a click isolates and the URL keeps it."""
    page = open_page("#/explore?q=many_series")
    rows = page.locator("coh-legend tbody tr")
    expect(rows).to_have_count(20)
    page.get_by_role("button", name="Show all 431").click()
    expect(rows).to_have_count(431)
    page.get_by_label("Filter series").fill("pod-12")
    expect(rows).to_have_count(10)
    rows.first.get_by_role("button").click()
    until(page, "location.hash.includes('only=')")
    expect(page.locator("coh-legend tbody tr.off")).to_have_count(9)
    page.reload()
    expect(page.locator("coh-legend tbody tr.off")).to_have_count(20)
    rows.first.get_by_role("button").click(modifiers=["Control"])
    expect(page.locator("coh-legend tbody tr.off")).to_have_count(19)


def test_the_shown_series_leave_as_csv_and_curl(open_page: Open) -> None:
    """The download has a column a series, the copied command asks this hub."""
    page = open_page("#/explore?q=up")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download as CSV").click()
    lines = Path(caught.value.path()).read_text().splitlines()
    assert lines[0].startswith('time,"up{instance=""data-api-service:8000""')
    assert len(lines) > 100
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.locator(".toast")).to_have_text("Copied as curl")
    assert "/api/data-api-service/api/v1/query_range" in page.evaluate(
        "navigator.clipboard.readText()"
    )


# -- analysis


def test_an_analysis_runs_and_is_drawn(open_page: Open, state: State) -> None:
    """From the form through its progress to the chart and the list of episodes."""
    page = open_page("#/analysis?new=1&q=node_load1&from=now-6h&to=now")
    expect(page.get_by_role("heading", name="Anomaly detection")).to_be_visible()
    expect(page.get_by_label("Query")).to_have_value("node_load1")
    page.get_by_label("Sensitivity").fill("0.7")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".job-detail progress")).to_be_visible()
    expect(page.locator(".job-detail .pill")).to_have_text("succeeded", timeout=15_000)
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


# -- add data


def test_the_first_sample_is_seen_arriving(open_page: Open, state: State) -> None:
    """A key is made on a click, stands in every snippet, and curl's sample shows up by itself."""
    page = open_page("#/add")
    expect(page.get_by_text("Waiting for the first sample")).to_be_visible()
    expect(page.locator(".paste")).to_contain_text("coh_live_…")
    page.get_by_role("button", name="Make a key").click()
    expect(page.locator(".paste")).to_contain_text("coh_live_9fK2mQ7")
    assert json.loads(state.asked("ubs", "/api/v1/keys")[-1].body)["scopes"] == [
        "metrics:write",
        "metrics:read",
    ]
    for agent, piece in (
        ("OpenTelemetry", "prometheusremotewrite:"),
        ("Telegraf", 'data_format = "prometheusremotewrite"'),
        ("Grafana", "type: prometheus"),
        ("curl", "base64 -d"),
    ):
        page.get_by_role("tab", name=agent).click()
        expect(page.locator(".paste")).to_contain_text(piece)
        expect(page.locator(".paste")).to_contain_text("coh_live_9fK2mQ7")
    wait_for(
        lambda: len(state.asked("das", "/api/v1/label/__name__/values")) > 0,
        "the page never looked",
    )
    page.wait_for_timeout(300)
    state.metrics.append("hello_cloudopshub")
    expect(page.get_by_text("Samples are arriving")).to_be_visible()
    expect(page.locator(".arrived")).to_contain_text("hello_cloudopshub")


def test_the_curl_snippet_really_sends_a_sample(
    open_page: Open, state: State, tmp_path: Path
) -> None:
    """Pasted into a shell, it delivers a remote_write request that decodes to that sample."""
    import shutil  # noqa: PLC0415 - only here
    import subprocess  # noqa: PLC0415

    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("no curl or bash on this machine")
    page = open_page("#/add?agent=curl")
    page.get_by_role("button", name="Make a key").click()
    expect(page.locator(".paste")).to_contain_text("coh_live_9fK2mQ7")
    command = page.locator(".paste pre").inner_text()
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout.strip() == "204", done.stderr
    (request,) = state.asked("dis", "/api/v1/write")
    assert request.headers["authorization"].startswith("Bearer coh_live_")
    assert request.headers["content-encoding"] == "snappy"
    length, runs = request.body[0], request.body[1:]
    plain = b""
    while runs:
        size = (runs[0] >> 2) + 1
        plain, runs = plain + runs[1 : 1 + size], runs[1 + size :]
    assert len(plain) == length
    assert b"hello_cloudopshub" in plain
    assert b"source" in plain


# -- the frame


def test_a_place_that_was_left_is_found_as_it_was(open_page: Open) -> None:
    """Query and range survive a look at another view; the link of the view itself starts afresh."""
    page = open_page("#/explore?q=up&from=now-6h")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    page.locator(".nav-link", has_text="Overview").click()
    page.locator("coh-stat-tile").first.wait_for()
    page.locator(".nav-link", has_text="Explore").click()
    expect(page.locator(".query-box")).to_have_value("up")
    until(page, "location.hash.includes('from=now-6h')")
    page.locator(".nav-link", has_text="Explore").click()
    expect(page.locator(".query-box")).to_have_value("")


def test_single_letters_can_be_turned_off(open_page: Open) -> None:
    """Then a spoken word changes nothing; the list of keys is still a click away (WCAG 2.1.4)."""
    page = open_page("#/overview")
    page.get_by_role("button", name="Keyboard").click()
    page.get_by_label("Single letters act").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("e")
    page.keyboard.press("-")
    assert page.evaluate("location.hash") == "#/overview"


def test_every_chart_has_a_table(open_page: Open) -> None:
    """The same values, newest first, in a dialog."""
    page = open_page("#/explore?q=node_load1")
    expect(page.locator("coh-legend tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Result as a table").click()
    assert page.locator("dialog tbody tr").count() > 50


def test_the_keyboard_goes_everywhere(open_page: Open) -> None:
    """G and a letter go, / edits, Esc leaves."""
    page = open_page("#/overview")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    for key, name in (
        ("e", "Explore"),
        ("a", "Analysis"),
        ("d", "Add data"),
        ("s", "Settings"),
        ("o", "Overview"),
        ("e", "Explore"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.get_by_role("heading", name=name, exact=True, level=1)).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("textbox", name="Query")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("textbox", name="Query")).not_to_be_focused()


def test_the_theme_does_not_flash(open_page: Open) -> None:
    """The theme is set before the first paint: with the page's modules held back, the background is
    right already.
    """
    page = open_page("#/overview", theme="dark")
    page.route("**/assets/main.*.js", lambda _: None)
    page.goto(page.url.split("#")[0], wait_until="commit")
    until(page, "document.documentElement.dataset.theme === 'dark'")
    until(page, "getComputedStyle(document.body).backgroundColor === 'rgb(11, 17, 19)'")


def test_a_chosen_theme_is_kept(open_page: Open) -> None:
    """Dark stays dark after a reload on a light system, and charts follow at once."""
    page = open_page("#/overview")
    page.locator(".account").click()
    page.get_by_role("button", name="Dark").click()
    until(page, "document.documentElement.dataset.theme === 'dark'")
    page.reload()
    until(page, "document.documentElement.dataset.theme === 'dark'")


def test_loading_moves_nothing(open_page: Open, state: State) -> None:
    """Panels have their place before their data: no shift of the layout while they fill."""
    state.query_delay_s[""] = 0.4
    page = open_page()
    page.evaluate(
        """() => {
            window.shift = 0;
            new PerformanceObserver((list) => {
                for (const { hadRecentInput, value } of list.getEntries()) if (!hadRecentInput) window.shift += value;
            }).observe({ type: "layout-shift", buffered: true });
        }"""  # noqa: E501 - one statement
    )
    page.evaluate("location.hash = '#/overview'")
    expect(page.locator("coh-panel .legend-entry").first).to_be_visible()
    page.wait_for_timeout(600)
    assert page.evaluate("window.shift") < 0.1
