"""The frame around the views: where one was, keys, theme, and no jump while it fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from page import Open, until
from playwright.sync_api import expect

if TYPE_CHECKING:
    from contract import State


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
    expect(page.locator("dialog tbody tr").nth(50)).to_be_attached()


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
