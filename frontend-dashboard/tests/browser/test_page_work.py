"""What the page does not do: ask twice, ask for what is unseen, draw what is drawn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from page import WAIT_S, wait_for
from playwright.sync_api import Page, Request, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import contract
    from playwright.sync_api import Browser

STROKES = """() => {
    window.strokes = 0;
    const { stroke } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.stroke = function (...path) {
        window.strokes += 1;
        return stroke.apply(this, path);
    };
}"""


@pytest.fixture
def page(chromium: Browser, state: contract.State) -> Iterator[Page]:
    """A page of its own; a script error fails the test."""
    trouble: list[str] = []
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(WAIT_S * 1000)
    page = context.new_page()
    page.on("pageerror", lambda error: trouble.append(str(error)))
    yield page
    context.close()
    assert not trouble


def refresh(page: Page) -> list[Request]:
    """The requests to das of one refresh, until its answers are drawn."""
    sent: list[Request] = []
    page.on("request", lambda one: sent.append(one) if "/api/das/" in one.url else None)
    with page.expect_response(lambda one: "/api/das/" in one.url):
        page.keyboard.press("r")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    return sent


def open_overview(page: Page, base: str) -> None:
    """The Overview, at rest: it refreshes only when it is told to, and has learnt its windows."""
    page.goto(f"{base}/#/overview?refresh=300")
    expect(page.locator("coh-panel canvas").first).to_be_visible()
    expect(page.locator("coh-stat-tile").last).not_to_contain_text("–")
    expect(page.get_by_text("Everything is up")).to_be_visible()


def test_a_refresh_asks_nothing_twice(page: Page, base: str) -> None:
    """All that can be seen is one request, in which no question stands twice."""
    open_overview(page, base)
    (request,) = refresh(page)
    assert request.post_data is not None
    form = parse_qs(request.post_data)
    questions = list(zip(*(form[name] for name in ("query", "start", "end", "step")), strict=True))
    assert len(questions) == len(set(questions))
    assert len(questions) > 10


def test_what_cannot_be_seen_asks_nothing(page: Page, base: str) -> None:
    """At the page's end the numbers at its head are not asked for; back there, they are at once."""
    open_overview(page, base)
    page.locator("coh-panel").last.scroll_into_view_if_needed()
    expect(page.locator("coh-panel").last.locator("canvas")).to_be_visible()
    tile = "MemAvailable_bytes%7Bjob%3D%22node%22%7D+%2F+node_memory_MemTotal"
    assert not any(tile in (one.post_data or "") for one in refresh(page))
    with page.expect_request(lambda one: tile in (one.post_data or "")):
        page.locator("coh-stat-tile").first.scroll_into_view_if_needed()


def test_an_answer_that_did_not_change_draws_nothing(page: Page, base: str) -> None:
    """The same points again leave the canvas alone; other points do not."""
    now_s = int(time.time())
    fixed = f"from={(now_s - 7200) * 1000}&to={(now_s - 3600) * 1000}"
    page.goto(f"{base}/#/explore?q=node_load1&{fixed}")
    expect(page.locator("coh-legend tbody tr")).to_have_count(1)
    page.evaluate(STROKES)
    refresh(page)
    assert page.evaluate("strokes") == 0
    page.keyboard.press("-")
    wait_for(lambda: page.evaluate("strokes") > 0, "another range was not drawn")


def test_a_panel_that_waits_to_be_seen_moves_nothing(page: Page, base: str) -> None:
    """At rest no animation runs, in sight or out of it: each costs a frame every 16 ms."""
    open_overview(page, base)
    wait_for(lambda: page.evaluate("document.getAnimations().length") == 0, "something moves")


def test_forced_colours_leave_dashes(page: Page, base: str) -> None:
    """With a person's own colours every line has the same one, and another dash."""
    page.emulate_media(forced_colors="active")
    page.goto(f"{base}/#/overview?refresh=300")
    swatches = page.locator("coh-panel").nth(1).locator(".swatch")
    expect(swatches).to_have_count(4)
    grounds = swatches.evaluate_all("(all) => all.map((one) => one.style.background)")
    assert all("canvastext" in ground.lower() for ground in grounds)
    assert len(set(grounds)) == len(grounds)
