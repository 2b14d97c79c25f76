"""Events: the feed of what watches noticed, and the watches."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import watches
from page import until
from playwright.sync_api import expect

if TYPE_CHECKING:
    from contract import State
    from page import Open


def watched(state: State) -> None:
    """A watch that noticed two things, of which one is over."""
    one = watches.watch("hosts")
    state.watches[one["id"]] = one
    over = watches.event(one, "The load was 3.5.", kind="spike", end_ms=4_000_000_000_000)
    state.events = [over, watches.event(one, "The load is 7.")]


def test_what_lasts_comes_first_and_is_acknowledged(open_page: Open, state: State) -> None:
    """Who acknowledged it is told; Explore opens its series at its time."""
    watched(state)
    page = open_page("#/events")
    expect(page.locator(".event-text")).to_have_text(["The load is 7.", "The load was 3.5."])
    first = page.locator(".event").first
    first.get_by_role("button", name="Acknowledge").click()
    expect(first).to_contain_text("acknowledged by you")
    expect(first.get_by_role("button", name="Acknowledge")).to_have_count(0)
    first.get_by_role("link", name="Open in Explore").click()
    expect(page.get_by_label("Query")).to_have_value('node_load1{instance="a"}')


def test_an_event_is_silenced_and_the_silence_ended(open_page: Open, state: State) -> None:
    """What is silenced leaves the feed, unless it is wanted too; the silence can be ended."""
    watched(state)
    page = open_page("#/events")
    first = page.locator(".event").first
    first.get_by_role("button", name="Silence").click()
    page.get_by_role("button", name="for 8 hours").click()
    expect(page.locator(".event-text")).to_have_text(["The load was 3.5."])
    page.get_by_label("State").select_option("silenced too")
    expect(first).to_contain_text("silenced until")
    page.get_by_role("link", name="Watches").click()
    page.get_by_role("button", name="End").click()
    expect(page.get_by_text("Nothing is silenced.")).to_be_visible()
    assert state.silences == {}


def test_the_feed_is_searched_and_the_url_holds_it(open_page: Open, state: State) -> None:
    """Words and state narrow it; a reload shows the same."""
    watched(state)
    page = open_page("#/events")
    expect(page.locator(".event")).to_have_count(2)
    page.get_by_label("Find").fill("the load was")
    expect(page.locator(".event-text")).to_have_text(["The load was 3.5."])
    until(page, "location.hash.includes('text=the+load+was')")
    page.reload()
    expect(page.locator(".event-text")).to_have_text(["The load was 3.5."])
    page.get_by_label("Kind").select_option("spike")
    expect(page.locator(".event-text")).to_have_text(["The load was 3.5."])
    page.get_by_label("State").select_option("open")
    expect(page.get_by_text("No event is like this")).to_be_visible()


def test_a_watch_is_made_changed_paused_and_deleted(open_page: Open, state: State) -> None:
    """From nothing to a watch and back; it is asked before one is deleted."""
    page = open_page("#/events/watches")
    expect(page.get_by_text("No watch yet")).to_be_visible()
    page.get_by_label("Name").fill("requests")
    page.get_by_label("Query").fill("rate(http_requests_total[5m])")
    page.get_by_label("Sensitivity").fill("0.8")
    page.get_by_role("button", name="Watch", exact=True).click()
    expect(page.locator("tbody .pill")).to_have_text("watching")
    (sent,) = [one for one in state.asked("aps", "/api/v1/watches") if one.method == "POST"]
    assert json.loads(sent.body) == {
        "name": "requests",
        "query": "rate(http_requests_total[5m])",
        "step_ms": 60_000,
        "params": {"sensitivity": 0.8},
    }
    page.get_by_role("button", name="Edit requests").click()
    page.get_by_label("Query").fill("up")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("tbody code")).to_have_text("up")
    expect(page.get_by_role("button", name="Watch", exact=True)).to_be_visible()
    page.get_by_role("button", name="Pause requests").click()
    expect(page.locator("tbody .pill")).to_have_text("stopped")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No watch yet")).to_be_visible()


def test_no_events_and_no_service_are_told(open_page: Open, state: State) -> None:
    """Nothing noticed is no failure, and a failure can be tried again."""
    page = open_page("#/events")
    expect(page.get_by_text("The usual watches are made within five minutes")).to_be_visible()
    state.down.add("aps")
    page.reload()
    expect(page.get_by_text("Not reachable right now")).to_be_visible()
    state.down.clear()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Nothing noticed")).to_be_visible()
