"""The Overview: live, at rest, and when something does not answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from page import Open, query_texts, wait_for
from playwright.sync_api import Request, expect

if TYPE_CHECKING:
    from contract import State


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


QUERIES = re.compile("/api/v1/query_range")
HIDE = """(value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_hidden_page_rests(open_page: Open) -> None:
    """Nothing is asked while the tab is hidden; coming back asks at once."""
    page = open_page("#/explore?q=up&refresh=5")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    page.evaluate(HIDE, True)
    expect(page.locator(".live")).to_have_text("Paused")
    sent: list[Request] = []
    page.on("request", lambda one: sent.append(one) if "/api/das/" in one.url else None)
    page.wait_for_timeout(5500)  # longer than the refresh of 5 s: the law is that nothing happens
    assert not sent
    with page.expect_request(QUERIES):
        page.evaluate(HIDE, False)


def test_a_panel_fails_alone(open_page: Open, state: State) -> None:
    """An unreachable das is told in the panels, the frame stays, and trying again works."""
    state.down.add("das")
    page = open_page("#/overview?refresh=0")  # else a refresh may be first to try
    panel = page.locator("coh-panel").first  # others may have failed before it asked
    expect(panel.locator(".state-failed")).to_contain_text("das is down for the test")
    state.down.clear()
    panel.get_by_role("button", name="Try again").click()
    expect(panel.locator(".legend-entry").first).to_be_visible()


def test_a_failed_refresh_keeps_what_was_there(open_page: Open, state: State) -> None:
    """The lines stay and a note says that they are not fresh."""
    page = open_page("#/explore?q=up")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
    state.down.add("das")
    page.keyboard.press("r")
    expect(page.locator(".panel-note")).to_contain_text("not refreshed since")
    expect(page.locator(".live")).to_contain_text("Not refreshed since")
    expect(page.locator("coh-legend tbody tr")).to_have_count(6)
