"""Charts and ranges: zoom, the way back, one cursor, the picker."""

from __future__ import annotations

import re

import pytest
from page import Open, drag, until
from playwright.sync_api import expect


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
