"""Explore: choices, queries, answers late and wrong, the legend, what leaves it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from page import Open, hold, query_texts, until, wait_for
from playwright.sync_api import Route, expect

if TYPE_CHECKING:
    from contract import State


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
QUERIES = re.compile("/api/v1/query_range")


@pytest.mark.parametrize("leaves", [False, True])
def test_a_choice_made_before_its_list_came_counts(open_page: Open, *, leaves: bool) -> None:
    """Enter on a list that is still loading is kept until the answer is there, also when the person
    goes on to something else.
    """
    page = open_page("#/explore?q=node_load1&m=node_load1")
    stopped: list[Route] = []
    page.route(LABELS, hold(stopped))
    by = page.get_by_role("combobox", name="Break down by")
    with page.expect_request(LABELS):
        by.fill("mode")
    by.press("Enter")
    if leaves:
        page.get_by_role("textbox", name="Query").focus()
    expect(by).to_have_value("mode")
    assert len(stopped) == 1
    stopped[0].continue_()
    expect(page.get_by_role("textbox", name="Query")).to_have_value("avg by (mode) (node_load1)")
    until(page, "location.hash.includes('by=mode')")


def test_a_list_that_comes_late_takes_nothing_back(open_page: Open) -> None:
    """What was entered on a slow list gives way to what was chosen after it."""
    page = open_page("#/explore?q=node_load1&m=node_load1")
    stopped: list[Route] = []
    page.route(LABELS, hold(stopped), times=1)
    by = page.get_by_role("combobox", name="Break down by")
    with page.expect_request(LABELS):
        by.fill("mode")
    by.press("Enter")
    page.get_by_role("button", name="Filter").click()
    by.fill("instance")
    page.get_by_role("option", name="instance").click()
    until(page, "location.hash.includes('by=instance')")
    with page.expect_response(LABELS):
        stopped[0].continue_()
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


def test_no_answer_stands_under_another_query(open_page: Open) -> None:
    """Once another query is run, the figures of the one before are gone, also while it is slow."""
    page = open_page("#/explore?q=up&refresh=0")  # nothing but what is run is asked
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    stopped: list[Route] = []
    page.route(QUERIES, hold(stopped), times=1)
    page.locator(".query-box").fill("node_load1")
    with page.expect_request(lambda one: "node_load1" in (one.post_data or "")):
        page.get_by_role("button", name="Run", exact=True).click()
    assert page.locator("coh-legend tbody tr:visible").count() == 0
    while not stopped:  # a request is told before it is held
        page.wait_for_timeout(10)
    stopped[0].continue_()
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
    """431 series are 20 rows, and 100 where asked for; a click isolates and the URL keeps it."""
    page = open_page("#/explore?q=many_series")
    rows = page.locator("coh-legend tbody tr")
    expect(rows).to_have_count(20)
    page.get_by_role("button", name="Show 100 of 431").click()
    expect(rows).to_have_count(100)
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
