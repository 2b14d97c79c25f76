"""A person with a browser: from the set-up link to a live chart. Its pictures are the README's.

Screenshots go to .cache/screenshots, in both themes.
"""

import re
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from native_platform import ROOT
from people import PASSWORD

PICTURES = ROOT / ".cache" / "screenshots"
WAIT_MS = 600_000


@pytest.fixture(scope="module")
def page(browser, platform):
    PICTURES.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(error.stack))
    yield page
    context.close()
    assert not errors


def picture(page, name):
    """Keep what the page shows, in both themes."""
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_timeout(500)  # colours change softly
        page.screenshot(path=PICTURES / f"{name}-{theme}.png")
    page.emulate_media(color_scheme="light")


def drawing(page):
    """The pixels of the first chart in view."""
    return page.evaluate("document.querySelector('coh-panel canvas')?.toDataURL() ?? ''")


def test_the_setup_link_makes_the_owner(platform, page):
    """A fresh hub asks for the printed link, says a wrong one, and the right one leads inside."""
    page.goto(platform.url)
    page.get_by_role("heading", name="Welcome to your hub").wait_for()
    page.get_by_label("Set-up link or token").fill(f"{platform.url}/#/setup/wrong")
    page.get_by_role("button", name="Continue").click()
    page.fill("[name=organisation]", "Otter Works")
    page.fill("[name=email]", "owner@example.com")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.get_by_role("alert").filter(has_text=re.compile("set-?up", re.IGNORECASE)).wait_for()
    page.goto("about:blank")
    page.goto(platform.state["setup_link"])
    page.fill("[name=organisation]", "Otter Works")
    page.fill("[name=email]", "owner@example.com")
    page.fill("[name=password]", PASSWORD)
    picture(page, "setup")
    page.click("button[type=submit]")
    page.wait_for_url("**/#/overview*")
    assert page.get_by_text("Otter Works").first.is_visible()


def test_the_overview_is_alive(platform, page):
    """Without a touch the charts of the hub and the host move on, and everything is up."""
    page.goto(f"{platform.state['url']}/#/overview?from=now-5m&to=now&refresh=5")
    page.wait_for_selector("coh-panel canvas")
    picture(page, "overview")
    page.get_by_text("Everything is up").wait_for()
    first = drawing(page)
    deadline = time.monotonic() + WAIT_MS / 1000
    while drawing(page) == first:
        assert time.monotonic() < deadline, "the chart does not move"
        page.wait_for_timeout(250)
    picture(page, "overview")
    page.set_viewport_size({"width": 375, "height": 812})
    width = page.evaluate("document.documentElement.scrollWidth")
    picture(page, "overview-phone")
    page.set_viewport_size({"width": 1440, "height": 900})
    assert width <= 375, "the page scrolls sideways on a phone"


def test_explore_draws_a_query(page):
    """A typed query becomes a chart, and its address can be sent to somebody."""
    page.click("a[href='#/explore']")
    page.fill(".query-box", "node_memory_MemAvailable_bytes")
    run = page.get_by_role("button", name="Run", exact=True)
    deadline = time.monotonic() + WAIT_MS / 1000
    while page.locator(".explore-stage canvas").count() == 0:
        assert time.monotonic() < deadline, "no chart of the query"
        run.click()
        page.wait_for_timeout(1000)
    assert "node_memory_MemAvailable_bytes" in page.url
    picture(page, "explore")


def test_add_data_shows_the_first_sample_arriving(platform, page):
    """A key is made on the page, put into the snippet, and what it writes is seen arriving."""
    page.click("a[href='#/add']")
    page.get_by_role("button", name="Make a key").click()
    box = page.locator(".key-box coh-snippet")
    box.wait_for()
    key = next(word for word in box.inner_text().split() if word.startswith("coh_live_"))
    assert key in page.locator(".paste").inner_text()
    page.get_by_text("Waiting for the first sample").wait_for()
    stop = threading.Event()

    def write():
        labels = {"__name__": "e2e_browser_sample", "job": "otters"}
        while not stop.wait(0.5):
            platform.write(labels, [(time.time_ns() // 1_000_000, 1.0)])

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        page.get_by_text("Samples are arriving").wait_for()
        picture(page, "add-data")
    finally:
        stop.set()
        writer.join(600)


def test_the_link_works_once(platform, browser):
    """Who comes second with the same link is refused, and the set-up is over."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(platform.state["setup_link"])
    page.fill("[name=organisation]", "Thieves")
    page.fill("[name=email]", "thief@example.com")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.locator(".form-trouble").filter(has_text=re.compile(".")).wait_for()
    context.close()
    assert Path(PICTURES / "overview-dark.png").stat().st_size > 10_000


def legend(platform, page, query, length):
    """The figures of the one series of `query` over the last `length`: last, min, max, mean."""
    page.goto("about:blank")
    page.goto(
        f"{platform.state['url']}/#/explore?{urlencode({'q': query, 'from': f'now-{length}'})}"
    )
    row = page.locator("coh-legend tbody tr")
    row.wait_for()
    return row.locator("td").all_inner_texts()


def test_a_rate_of_one_reads_one_whatever_its_interval(platform, page):
    """Samples a minute apart make a rate of exactly 1 at every point, the last one too."""
    minute = int(time.time()) // 60
    samples = [(60_000 * (minute - age), 60.0 * (100 - age)) for age in range(40, -1, -1)]
    assert platform.write({"__name__": "e2e_minutes_total", "job": "slow"}, samples) == 204
    figures = legend(platform, page, "rate(e2e_minutes_total[$__rate_interval])", "15m")
    assert figures == ["1/s"] * 4


@pytest.mark.parametrize("query", ["e2e_spike", "e2e_spike * 1"])
def test_a_spike_between_two_points_is_seen(platform, page, query):
    """Half an hour of a hundred times as much, ten days ago, is there at 30 days."""
    bucket = int(time.time() - 864_000) // 7200 * 7200  # a step of 30 days is 2 h
    samples = [(1000 * (bucket + 60 * n), 100.0 if 30 <= n < 60 else 1.0) for n in range(119)]
    assert platform.write({"__name__": "e2e_spike", "job": "slow"}, samples) == 204
    assert legend(platform, page, query, "30d")[2] == "100"


def test_a_source_that_falls_silent_is_told_with_since(platform, page):
    """Its last sample said 1: it is neither up nor gone."""
    now_ms = time.time_ns() // 1_000_000
    samples = [(now_ms - 400_000 + 5000 * n, 1.0) for n in range(60)]
    assert platform.write({"__name__": "up", "job": "agent", "instance": "a"}, samples) == 204
    page.goto(f"{platform.state['url']}/#/overview?from=now-5m&to=now&refresh=5")
    page.get_by_text(re.compile(r"agent: silent since \d\d:\d\d:\d\d")).wait_for()
    page.get_by_text(re.compile(r"^Silent since")).wait_for()


def test_offline_nothing_is_claimed(page):
    """Neither Live nor a verdict outlives the answers it was made of."""
    page.context.set_offline(True)
    try:
        page.get_by_text(re.compile(r"^Not known since")).wait_for()
        page.get_by_text(re.compile(r"^Not refreshed since")).wait_for()
    finally:
        page.context.set_offline(False)
    page.get_by_text("Live", exact=True).wait_for()
