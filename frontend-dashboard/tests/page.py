"""What tests of the page do with it: open it, wait for it, drag over a chart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from playwright.sync_api import Page, Route, expect

if TYPE_CHECKING:
    from contract import State

WAIT_S = 600.0  # machines that build are busy
expect.set_options(timeout=WAIT_S * 1000)
Open = Callable[..., Page]


def query_texts(state: State) -> list[str]:
    """The queries that reached das so far."""
    return [request.body.decode() for request in state.asked("das", "/api/v1/query_range")]


def wait_for(holds: Callable[[], bool], what: str) -> None:
    """`holds` becomes true in time."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def until(page: Page, expression: str) -> None:
    """`expression` becomes true in the page. Playwright's own wait evaluates strings inside of the
    page, which its policy forbids.
    """
    wait_for(lambda: bool(page.evaluate(expression)), expression)


def hold(held: list[Route]) -> Callable[[Route], None]:
    """A route's handler that keeps its requests waiting, in `held`."""

    def keep(route: Route) -> None:
        held.append(route)

    return keep


def settle(page: Page) -> None:
    """Nothing in the window is loading any more; what lies below it may wait until it is seen."""
    until(
        page,
        """![...document.querySelectorAll(".state-loading, .boot")].some((node) => {
            const box = node.getBoundingClientRect();
            return box.top < innerHeight && box.bottom > 0;
        })""",
    )


def drag(page: Page, selector: str, start: float, end: float) -> None:
    """A drag over a chart's plot from one part of its width to another."""
    box = page.locator(f"{selector} .u-over").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, y, steps=5)
    page.mouse.up()
