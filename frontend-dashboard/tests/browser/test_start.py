"""The page comes up: with a session that goes on or ends, and after a lost request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from page import Open, hold, until
from playwright.sync_api import Route, expect

if TYPE_CHECKING:
    from contract import State


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
    stopped: list[Route] = []
    page.clock.install()
    page.route("**/assets/elements/chart.*.js", hold(stopped))
    page.reload(wait_until="commit")
    expect(page.locator(".boot")).to_be_visible()
    page.clock.run_for(20_000)
    expect(page.get_by_role("alert")).to_contain_text("It takes very long to load")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    for route in stopped:  # the preload, and the import where it did not wait for that
        route.continue_()
    page.unroute("**/assets/elements/chart.*.js")  # what is asked for from now on comes
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
