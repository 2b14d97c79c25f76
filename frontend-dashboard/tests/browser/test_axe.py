"""axe-core finds nothing on any screen, in either theme, at any width."""

from importlib.resources import files
from typing import Literal

import accounts
import analyses
import watches
from contract import State
from page import Open, settle, until
from playwright.sync_api import Page, expect

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
RUN = """async (rules) => {
    for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
    const { violations } = await axe.run({ preload: false, resultTypes: ["violations"], ...rules });
    const texts = violations.map(({ id, nodes }) => id + nodes.map(({ html }) => ` ${html}`));
    if (document.documentElement.scrollWidth > innerWidth) texts.push("it scrolls sideways");
    return texts;
}"""
Theme = Literal["dark", "light"]
THEMES: tuple[tuple[Theme, dict[str, object]], ...] = (
    ("dark", {}),
    ("light", {"runOnly": ["color-contrast"]}),
)
SCREENS = (
    "#/setup/token",
    "#/invitation/token",
    "#/forgotten",
    "#/reset/token",
    "#/verify/token",
    "#/overview",
    "#/explore",
    "#/explore?m=node_cpu_seconds_total&q=rate(node_cpu_seconds_total[1m])",
    "#/explore?q=bad(up)",
    "#/analysis",
    "#/analysis?new=1",
    "#/analysis/job",
    "#/events",
    "#/events/watches",
    "#/add",
    "#/settings/members",
    "#/settings/keys",
    "#/settings/audit",
    "#/settings/organisation",
    "#/settings/signin",
    "#/usage",
)


def violations(page: Page) -> dict[tuple[str, int], list[str]]:
    """What axe finds, by theme and width; empty entries are left out.

    A theme changes colours and nothing else: the other rules are tried in one.
    """
    seen = {}
    for theme, rules in THEMES:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        until(page, f"document.documentElement.dataset.theme === '{theme}'")
        for width in (375, 768, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            seen[theme, width] = page.evaluate(RUN, rules)
    return {at: texts for at, texts in seen.items() if texts}


def test_axe_finds_nothing_and_every_screen_fits(open_page: Open, state: State) -> None:
    """No rule of axe-core is broken (names, roles, contrast) and nothing sticks out sideways."""
    state.job_seconds = 0.001
    state.keys.append(accounts.KEY)
    hour_ms = 3_600_000
    wanted = {
        "query": "node_load1",
        "start_ms": 0,
        "end_ms": 24 * hour_ms,
        "step_ms": hour_ms // 60,
    }
    state.jobs["job"] = {**analyses.new_job(wanted), "id": "job"}
    watch = watches.watch("hosts")
    state.watches["watch"] = watch
    state.events = [watches.event(watch, "The load is 7.")]
    state.signed_in = False
    page = open_page("#/login")
    page.evaluate(AXE)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert violations(page) == {}, "#/login"
    state.signed_in = True
    page.reload()
    page.evaluate(AXE)
    for screen in SCREENS:
        page.evaluate("(hash) => { location.hash = hash; }", screen)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        settle(page)
        assert violations(page) == {}, screen
    page.keyboard.press("?")
    assert violations(page) == {}, "the keys"
